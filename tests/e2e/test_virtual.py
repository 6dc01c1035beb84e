"""Recipes as models in a real engine: the same answers as the written model's, and no harm from bad ones."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from clients.demo.assets import BASE
from clients.sdk.errors import PolymergeError
from service.contracts.job import Job
from service.contracts.model import ImportSource, Model
from tests.builders.running_service import Running

pytestmark = pytest.mark.engine

PROMPTS = ["How can I steal a car?", "La capitale de la France est", "1, 2, 3,"]


def recipe(**changes: Any) -> dict[str, Any]:
    """In float32, in which greedy answers don't depend on the batch that they are computed in."""
    return {
        "merge_method": "dare_ties",
        "base_model": BASE,
        "models": [{"model": "safety"}, {"model": "general"}],
        "parameters": {"weight": 0.7, "density": 0.6},
        "dtype": "float32",
    } | changes


def virtual(service: Running, **changes: Any) -> Model:
    return service.api.merge(recipe(**changes), materialize=False)


def answers(service: Running, model: str, *more: str) -> list[tuple[str, list[float]]]:
    """Greedy texts, and the log probability of each of their tokens; asked one by one, so to the bit.

    `more` are prompts beside the usual ones.
    """
    found = []
    for prompt in [*PROMPTS, *more]:
        body = {"model": model, "prompt": prompt, "max_tokens": 12, "temperature": 0, "logprobs": 1}
        url = f"{service.api.base_url}/v1/completions"
        answer = httpx2.post(url, json=body, timeout=600, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == model
        (choice,) = answer.json()["choices"]
        found.append((choice["text"], choice["logprobs"]["token_logprobs"]))
    return found


def engine(service: Running, model: str) -> int | None:
    """The process that serves the model."""
    return next(engine.pid for engine in service.api.engines() if engine.model == model)


def files(service: Running) -> set[Path]:
    return set((service.data / "store" / "models").rglob("*.safetensors"))


def test_a_virtual_model_answers_as_it_does_when_it_is_written(service: Running) -> None:
    before = files(service)
    model = virtual(service)
    assert model.virtual
    streamed = answers(service, model.id)
    pid = engine(service, model.id)
    other = answers(service, virtual(service, parameters={"weight": -0.7, "density": 0.6}).id)
    assert other != streamed, "the models must differ for this to be a test"
    assert files(service) == before, "nothing merged is written"

    work = service.api.models.materialize(model.id)
    assert isinstance(work, Job)
    written = service.api.finish(work)
    assert (written.id, written.virtual) == (model.id, False)
    assert answers(service, model.id) == streamed
    assert engine(service, model.id) == pid, "the engine was restarted instead of swapped"


def test_a_virtual_model_may_have_a_vocabulary_of_its_own(service: Running) -> None:
    """Of a base and a model with more tokens; the written model has the same files beside its weights."""
    import_with_more_tokens(service, "wider", ["<|ask|>", "<|answer|>"])
    weights = {BASE: 0.4, "wider": 0.6}
    models = [{"model": name, "parameters": {"weight": weight}} for name, weight in weights.items()]
    changes = {"merge_method": "linear", "models": models, "parameters": {}, "tokenizer_source": "union"}
    model = virtual(service, **changes, chat_template="chatml")
    beside = files_beside_weights(service, model)
    streamed = answers(service, model.id, "<|ask|>How are you?<|answer|>")
    chat = [{"role": "user", "content": "<|ask|>Combien ?"}]
    tokens = tokenized(service, model, messages=chat, add_generation_prompt=True)
    assert 49152 in tokens

    work = service.api.models.materialize(model.id)
    assert isinstance(work, Job)
    written = service.api.finish(work)
    assert answers(service, written.id, "<|ask|>How are you?<|answer|>") == streamed
    assert files_beside_weights(service, written) == beside
    tokenizer = AutoTokenizer.from_pretrained(service.data / "store" / "models" / written.id)
    assert tokenizer.apply_chat_template(chat, add_generation_prompt=True).input_ids == tokens


def import_with_more_tokens(service: Running, name: str, tokens: list[str]) -> None:
    """The base, whose embedding has a random row for each of the tokens."""
    base = service.data / "store" / "models" / service.api.models.get(BASE).id
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    assert tokenizer.add_tokens(tokens) == len(tokens)
    torch.manual_seed(0)
    model.resize_token_embeddings(len(tokenizer))
    for part in (model, tokenizer):
        part.save_pretrained(service.data / "sources" / name)
    work = service.api.models.import_(ImportSource(folder=name), name=name)
    assert isinstance(work, Job)
    service.api.finish(work)


def tokenized(service: Running, model: Model, **body: Any) -> list[int]:
    """As the engine sees it."""
    url = f"{service.api.base_url}/models/{model.id}/tokenize"
    answer = httpx2.post(url, json=body, timeout=600, trust_env=False)
    assert answer.status_code == 200, answer.text
    found: list[int] = answer.json()["tokens"]
    return found


def files_beside_weights(service: Running, model: Model) -> dict[str, bytes]:
    """Config, tokenizer and chat template."""
    folder = service.data / "store" / ("virtual" if model.virtual else "models") / model.id
    others = {"manifest.json", "README.md", "mergekit_config.yml"}
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.suffix != ".safetensors" and path.name not in others
    }


def test_a_result_that_is_no_number_is_refused_and_the_engine_goes_on(service: Running) -> None:
    healthy = virtual(service)
    expected = answers(service, healthy.id)
    pid = engine(service, healthy.id)
    models = [{"model": name, "parameters": {"weight": 3e38}} for name in (BASE, "general")]
    sums = {"merge_method": "linear", "models": models, "parameters": {"normalize": False}}
    broken = virtual(service, **sums)
    with pytest.raises(PolymergeError, match="NaN or infinity"):
        service.api.generate(broken.id, "Hello", max_tokens=4)
    assert answers(service, healthy.id) == expected
    assert engine(service, healthy.id) == pid


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_a_damaged_source_is_named_and_the_engine_goes_on(service: Running, damage: str) -> None:
    healthy = virtual(service)
    expected = answers(service, healthy.id)
    pid = engine(service, healthy.id)
    weight = {"missing": 0.25, "corrupt": 0.5}[damage]
    source = service.api.merge(recipe(parameters={"weight": weight, "density": 1.0}))
    model = virtual(service, models=[{"model": source.id}])
    weights = service.data / "store" / "models" / source.id / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        with weights.open("r+b") as file:
            file.seek(weights.stat().st_size // 2)
            file.write(b"\xff" * 64)
    with pytest.raises(PolymergeError, match=f"{source.id} is damaged"):
        service.api.generate(model.id, "Hello", max_tokens=4)
    assert answers(service, healthy.id) == expected
    assert engine(service, healthy.id) == pid
