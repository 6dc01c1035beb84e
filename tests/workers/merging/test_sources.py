"""Intermediates and adapters that no file holds give what files would have given."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from service.contracts.methods import METHODS
from workers.merging.checkpoint import CheckpointWriter, shards_of
from workers.merging.engine import NotFinite, merge
from workers.merging.weights import CheckpointWeights

from .models import InMemory, merged, plan_of, random_models
from .test_engine import anonymous_bytes

SHAPES = {
    "model.embed_tokens.weight": (700, 48),
    "model.layers.0.mlp.up_proj.weight": (40, 48),
    "model.layers.1.mlp.up_proj.weight": (40, 48),
    "model.norm.weight": (48,),
}
TIES: dict[str, Any] = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": "step"}, {"model": "c"}],
    "parameters": {"weight": 0.7, "density": 0.3},
}


def recipe_of(method: str, *models: str, **more: Any) -> dict[str, Any]:
    """Any method, of as many of the models as it takes."""
    spec = METHODS[method]
    count = spec.max_models or len(models)
    listed = [{"model": model} for model in models[: count - (spec.base == "endpoint")]]
    needs = {"weight": 0.6, "density": 0.5, "t": 0.3}
    known = spec.parameters.model_fields | spec.model_parameters.model_fields
    base = {} if method == "passthrough" else {"base_model": "base"}
    if spec.base == "endpoint":
        listed.insert(0, {"model": "base"})
    parameters = {name: value for name, value in needs.items() if name in known}
    return {"merge_method": method, "models": listed, "parameters": parameters} | base | more


@pytest.mark.parametrize("method", sorted(METHODS))
def test_an_intermediate_is_what_its_file_would_be(method: str) -> None:
    models = random_models("a", "b", "c", shapes=SHAPES)
    step = recipe_of(method, "a", "b", out_dtype="bfloat16")
    options: Any = {"seed": 5, "threads": 3, "tile_elements": 5000}
    written = merged(step, models, **options)
    for last in (TIES, recipe_of("dare_linear", "step", "c"), recipe_of("slerp", "step")):
        in_two_steps = merged(last, models | {"step": written}, **options)
        streamed = merged([step | {"name": "step"}, last], models, **options)
        for name, tensor in in_two_steps.items():
            assert torch.equal(streamed[name], tensor), (last["merge_method"], name)


def test_a_module_that_an_intermediate_leaves_out_is_rounded_as_in_its_file() -> None:
    shapes = {"model.layers.0.mlp.weight": (8, 8), "vision_tower.layers.0.mlp.weight": (8, 8)}
    models = random_models("a", "b", shapes=shapes)
    decoder = {"models": [{"model": "a"}, {"model": "b"}]}
    linear = {"merge_method": "linear", "parameters": {"weight": 1}}
    step = linear | {"modules": {"text_decoder": decoder}, "out_dtype": "bfloat16"}
    last = linear | {"models": [{"model": "step"}, {"model": "b"}], "out_dtype": "float32"}
    wanted = merged(last, models | {"step": merged(step, models)})
    found = merged([step | {"name": "step"}, last], models)
    assert all(torch.equal(found[name], wanted[name]) for name in shapes)


def test_intermediates_of_intermediates_and_integers() -> None:
    models = random_models("a", "b", "c", shapes=SHAPES)
    for tensors in models.values():
        tensors["model.position_ids"] = torch.arange(7)
    first = recipe_of("dare_ties", "a", "b")
    second = recipe_of("della", "first", "c", base_model="first")
    second["models"] = second["models"][1:]
    last = recipe_of("linear", "second", "first", base_model="second")
    step = {"first": merged(first, models)}
    step["second"] = merged(second, models | step)
    wanted = merged(last, models | step)
    found = merged([second | {"name": "second"}, first | {"name": "first"}, last], models)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


def test_an_intermediate_too_large_for_its_dtype_is_found() -> None:
    models = {"a": {"model.w": torch.full((4, 4), 6e4)}}
    step = recipe_of("passthrough", "a", name="step", out_dtype="float16")
    last = recipe_of("linear", "step")
    del last["base_model"]
    with pytest.raises(NotFinite, match=r"model\.w"):
        merged([step | {"parameters": {"scale": 2}}, last | {"dtype": "float32"}], models)


def test_intermediates_take_no_memory_to_speak_of(tmp_path: Path) -> None:
    """A result of 32 MB by way of another one; anonymous memory must not even grow by half of one."""
    shapes = {f"model.layers.{index}.mlp.weight": (1024, 1024) for index in range(8)}
    models = random_models("a", "b", shapes=shapes)
    for name, tensors in models.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    step = recipe_of("ties", "a", "b", name="step")
    plan = plan_of([step, recipe_of("ties", "step", "b")], models)
    del models, tensors
    weights = {name: CheckpointWeights(tmp_path / name) for name in plan.models}
    assert weights.keys() == {"base", "a", "b"}
    (tmp_path / "out").mkdir()
    writer = CheckpointWriter(tmp_path / "out", shards_of(plan.tasks), {})
    before, peak = 0, 0
    # Twice, since the first merge also loads code.
    for _ in range(2):
        before, peak = anonymous_bytes(), 0
        for _ in merge(plan, weights, allocate=writer.allocate, threads=2):
            peak = max(peak, anonymous_bytes())
    assert peak - before < 16e6


def test_a_cancel_reaches_into_intermediates() -> None:
    models = random_models("a", "b", "c", shapes={"model.embed_tokens.weight": (2048, 2048)})
    plan = plan_of([recipe_of("ties", "a", "b", name="step"), TIES], models)
    weights = {name: InMemory(tensors) for name, tensors in models.items()}
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 10:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        list(merge(plan, weights, threads=2, tile_elements=64, between_tiles=check))
    assert looks < 30
