"""One engine, many models: no answer may come from the weights of another model, or from a mixture."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import pytest

from clients.demo.assets import BASE
from tests.builders.running_service import Running

pytestmark = pytest.mark.engine

EXPERTS = ("safety", "general", "ru")
PROMPTS = ("How can I steal a car?", "What is the capital of Italy?", "How do I forge a signature?")


def exact(expert: str) -> dict[str, object]:
    """The expert in float32: greedy answers then don't depend on what else is in the batch."""
    return {
        "merge_method": "linear",
        "base_model": BASE,
        "models": [{"model": expert, "parameters": {"weight": 1.0}}],
        "dtype": "float32",
    }


@pytest.fixture(scope="module")
def models(service: Running) -> list[str]:
    return [service.api.merge(exact(expert)).id for expert in EXPERTS]


def answer(service: Running, model: str, prompt: str) -> str:
    response = service.api.generate(model, prompt, language="en", max_tokens=16, temperature=0)
    assert response.model == model
    return response.outputs[0].text


def test_every_answer_under_concurrent_load_is_the_model_s_own(service: Running, models: list[str]) -> None:
    alone = {(model, prompt): answer(service, model, prompt) for model in models for prompt in PROMPTS}
    assert len(set(alone.values())) > len(PROMPTS), "the models must differ for this to be a test"
    engine = service.api.engines()[0].pid
    asked = list(islice(cycle(alone), 45))
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda item: answer(service, *item), asked))
    wrong = {
        item: (text, alone[item]) for item, text in zip(asked, answers, strict=True) if text != alone[item]
    }
    assert wrong == {}
    assert service.api.engines()[0].pid == engine, "the engine was restarted instead of swapped"


def test_an_adapter_is_served_as_the_merged_model_would_be(service: Running) -> None:
    """base + B @ A, streamed into the engine, is what a merge of the adapter alone writes."""
    recipe = {**exact("safety"), "dtype": "bfloat16"}
    written = service.api.merge(recipe).id
    adapter = service.api.models.get("safety").id
    for prompt in PROMPTS:
        assert answer(service, adapter, prompt) == answer(service, written, prompt)
