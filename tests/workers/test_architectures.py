"""Merges of checkpoints as transformers writes them, of many architectures: transformers loads the result."""

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from service.contracts.job import Job
from service.jobs.queue import JobQueue
from service.models.store import Store
from service.recipes.accept import accept
from service.recipes.digest import canonical
from service.recipes.refusal import Refused
from service.settings import Settings
from tests.builders.tiny_models import ARCHITECTURES, logits, tiny, tuned
from workers.import_job import run_import
from workers.merge_job import run_merge
from workers.watch import Watch

WEIGHTS = (0.6, 0.3)
NUMBERS = count()


@dataclass(frozen=True)
class Place:
    """Imports and merges as the worker does them, in this process."""

    settings: Settings
    queue: JobQueue

    @property
    def store(self) -> Store:
        return Store(self.settings.store_root)

    def import_(self, model: Any, **saving: Any) -> str:
        folder = self.settings.sources_root / f"model-{next(NUMBERS)}"
        model.save_pretrained(folder, **saving)
        return self.import_folder(folder)

    def import_folder(self, folder: Path) -> str:
        job = self.queue.submit("import", {"source": {"folder": folder.name}})
        return run_import(job, self._staging(job), self.store, self.settings, Watch(self.queue, job)).id

    def merge(self, recipe: dict[str, Any]) -> Path:
        """The folder of the result."""
        accepted = accept(recipe, 0, lambda ref: ref, self.store)
        request = {"recipe": canonical(accepted.recipe), "seed": 0}
        job = self.queue.submit("merge", request, model=accepted.model_id)
        watch = Watch(self.queue, job)
        return self.store.path(run_merge(job, self._staging(job), self.store, self.settings, watch).id)

    def _staging(self, job: Job) -> Path:
        return self.store.stage(job.staging)


@pytest.fixture
def place(redis: "Redis", redis_url: str, tmp_path: Path) -> Place:
    settings = Settings(redis_url=redis_url, data=tmp_path, sources=tmp_path / "sources")
    return Place(settings, JobQueue(redis))


def added(base: str, *models: str) -> dict[str, Any]:
    """Task arithmetic, whose formula `blend` has."""
    return {
        "merge_method": "task_arithmetic",
        "base_model": base,
        "models": [
            {"model": model, "parameters": {"weight": weight}}
            for model, weight in zip(models, WEIGHTS, strict=True)
        ],
    }


def blend(base: Any, *models: Any) -> Any:
    """What the recipe of `added` makes, computed by transformers' names in plain torch."""
    states = [model.state_dict() for model in models]
    mixed = {
        name: tensor.float()
        + sum(w * (state[name].float() - tensor.float()) for w, state in zip(WEIGHTS, states, strict=True))
        for name, tensor in base.state_dict().items()
    }
    result = type(base)(base.config).eval()
    result.load_state_dict({name: tensor.to(base.dtype) for name, tensor in mixed.items()})
    return result.to(base.dtype)


def family(architecture: str, dtype: torch.dtype = torch.float32) -> list[Any]:
    base = tiny(architecture, dtype)
    return [base, tuned(base, 2), tuned(base, 3)]


def load(folder: Path, architecture: str) -> Any:
    """The model in the folder, which has exactly the weights that it needs."""
    model_class = ARCHITECTURES[architecture].model_class
    model, info = model_class.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def assert_same(found: Any, wanted: Any) -> None:
    """Up to the last bit of the dtype, which sums in another order may change."""
    assert found.dtype == wanted.dtype
    last_bit = max(1e-6, torch.finfo(found.dtype).eps)
    expected = wanted.state_dict()
    assert found.state_dict().keys() == expected.keys()
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=last_bit, atol=last_bit, msg=name)
    torch.testing.assert_close(logits(found), logits(wanted), rtol=0, atol=20 * last_bit)


def names(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= set(file.keys())
    return found


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES.keys() - {"gemma3-text", "smollm3"}))
def test_a_merge_of_any_architecture_is_what_its_formula_says(place: Place, architecture: str) -> None:
    models = family(architecture)
    ids = [place.import_(model) for model in models]
    made = place.merge(added(*ids))
    assert names(made) == names(place.store.path(ids[0])), "the layout is the base's"
    assert_same(load(made, architecture), blend(*models))


@pytest.mark.parametrize("architecture", ["mixtral", "qwen3-moe"])
def test_stacked_experts_stay_stacked(place: Place, architecture: str) -> None:
    models = family(architecture)
    made = place.merge(added(*(place.import_(model, save_original_format=False) for model in models)))
    assert "model.layers.0.mlp.experts.gate_up_proj" in names(made)
    assert_same(load(made, architecture), blend(*models))


def test_a_head_that_is_tied_stays_tied(place: Place) -> None:
    models = family("llama-tied")
    made = place.merge(added(*(place.import_(model) for model in models)))
    assert "lm_head.weight" not in names(made)
    loaded = load(made, "llama-tied")
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_shards_of_float16_give_float16(place: Place) -> None:
    models = family("llama", torch.float16)
    ids = [place.import_(model, max_shard_size=20_000) for model in models]
    assert len(list(place.store.path(ids[0]).glob("*.safetensors"))) > 2
    made = place.merge(added(*ids))
    assert json.loads((made / "config.json").read_text())["dtype"] == "float16"
    assert_same(load(made, "llama"), blend(*models))


def test_gpt2_as_its_hub_repository_has_it_merges_with_its_fine_tunes(place: Place) -> None:
    """Without `transformer.` in its names, and with the causal masks that its fine-tunes lack."""
    models = family("gpt2")
    ids = [place.import_(model) for model in models]
    source = place.store.path(ids[0])
    old = place.settings.sources_root / "old"
    old.mkdir()
    tensors = {
        name.removeprefix("transformer."): tensor
        for name, tensor in load_file(source / "model.safetensors").items()
    }
    mask = torch.tril(torch.ones(64, 64)).reshape(1, 1, 64, 64)
    tensors |= {f"h.{layer}.attn.bias": mask.clone() for layer in range(3)}
    save_file(tensors, old / "model.safetensors", metadata={"format": "pt"})
    (old / "config.json").write_bytes((source / "config.json").read_bytes())

    made = place.merge(added(place.import_folder(old), *ids[1:]))

    assert names(made) == set(tensors)
    assert torch.equal(load_file(made / "model.safetensors")["h.1.attn.bias"], mask)
    assert_same(load(made, "gpt2"), blend(*models))


STACK = [0, 1, 1, 2]
LISTS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "smollm3": {"no_rope_layers": [1, 0, 0, 1]},
    "gemma3-text": {"layer_types": [f"{kind}_attention" for kind in ("sliding", "full", "full", "sliding")]},
    "qwen3-moe": {"mlp_only_layers": [1, 2]},
}


@pytest.mark.parametrize("architecture", sorted(LISTS))
def test_slices_take_the_config_of_each_layer_along(place: Place, architecture: str) -> None:
    """Layer 1 twice, as a model of four layers that transformers builds from the right config."""
    model = tiny(architecture)
    source = place.import_(model)
    ranges = ([0, 2], [1, 3])
    slices = [{"sources": [{"model": source, "layer_range": span}]} for span in ranges]
    made = place.merge({"merge_method": "passthrough", "slices": slices})

    loaded = load(made, architecture)
    assert loaded.config.num_hidden_layers == len(STACK)
    for key, values in LISTS[architecture].items():
        assert getattr(loaded.config, key) == values
    assert_same(loaded, restacked(model, loaded.config))


def restacked(model: Any, config: Any) -> Any:
    """The layers of STACK in a model of that config."""
    taller = type(model)(config).eval()
    state = model.state_dict()
    taller.load_state_dict({name: state[in_stack(name)] for name in taller.state_dict()})
    return taller


def in_stack(name: str) -> str:
    parts = name.split(".")
    return ".".join(
        str(STACK[int(part)]) if part.isdigit() and index == 2 else part for index, part in enumerate(parts)
    )


@pytest.mark.parametrize(("architecture", "stacks"), [("t5", 2), ("llava", 2)])
def test_slices_of_a_model_with_several_stacks_are_refused(
    place: Place, architecture: str, stacks: int
) -> None:
    source = place.import_(tiny(architecture))
    slices = [{"sources": [{"model": source, "layer_range": [0, 2]}]}]
    with pytest.raises(Refused, match=f"one stack of layers; .* has {stacks}"):
        place.merge({"merge_method": "passthrough", "slices": slices})


def test_the_text_decoder_of_a_vision_language_model_may_come_in_slices(place: Place) -> None:
    """Layer 1 twice; transformers builds the taller decoder from the config, all else is the base's."""
    model = tiny("llava")
    source = place.import_(model)
    slices = [{"sources": [{"model": source, "layer_range": span}]} for span in ([0, 2], [1, 3])]
    made = place.merge({"merge_method": "passthrough", "modules": {"text_decoder": {"slices": slices}}})

    loaded = load(made, "llava")
    assert loaded.config.text_config.num_hidden_layers == len(STACK)
    depth = model.config.vision_config.num_hidden_layers
    assert loaded.config.vision_config.num_hidden_layers == depth
    state = model.state_dict()
    for name, tensor in loaded.state_dict().items():
        stack, layers, rest = name.partition("language_model.layers.")
        number, _, part = rest.partition(".")
        origin = f"{stack}{layers}{STACK[int(number)]}.{part}" if layers else name
        assert torch.equal(tensor, state[origin]), name


def test_everything_beside_the_weights_comes_from_the_base(place: Place) -> None:
    """But for config.json, of which the other tests are, and for code and pickles, which nothing needs."""
    beside = {
        "generation_config.json": '{"temperature": 0.3}',
        "tokenizer.json": "{}",
        "tokenizer_config.json": '{"model_max_length": 64}',
        "special_tokens_map.json": "{}",
        "added_tokens.json": "{}",
        "vocab.json": "{}",
        "merges.txt": "a b\n",
        "tokenizer.model": "\0\1",
        "chat_template.jinja": "{{ messages }}",
        "preprocessor_config.json": '{"size": 28}',
        "processor_config.json": "{}",
        "video_preprocessor_config.json": "{}",
    }
    models = family("llama")
    folders = [place.settings.sources_root / name for name in ("base", "a", "b")]
    for number, (folder, model) in enumerate(zip(folders, models, strict=True)):
        model.save_pretrained(folder)
        for name, text in beside.items():
            (folder / name).write_text(text + " " * number)
        (folder / "modeling_own.py").write_text("raise SystemExit")
        (folder / "training_args.bin").write_bytes(b"\x80\x02.")
    made = place.merge(added(*(place.import_folder(folder) for folder in folders)))
    carried = {path.name: path.read_text() for path in made.iterdir() if path.name in beside}
    assert carried == beside
    assert not list(made.glob("*.py")) + list(made.glob("*.bin"))
