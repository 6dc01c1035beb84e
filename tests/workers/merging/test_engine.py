"""How a merge runs: order, progress, cancelling, memory."""

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workers.merging.checkpoint import CheckpointWriter, shards_of
from workers.merging.engine import NotFinite, merge
from workers.merging.weights import CheckpointWeights

from .models import InMemory, merged, plan_of, random_models

RECIPE = {
    "merge_method": "ties",
    "base_model": "base",
    "models": [{"model": name, "parameters": {"weight": 1, "density": 0.5}} for name in ("a", "b")],
}
SHAPES = {f"model.layers.{index}.mlp.weight": (64, 64) for index in range(40)}


class Enough(Exception):
    pass


def test_tensors_come_in_the_plans_order_and_progress_adds_up_to_the_plan() -> None:
    models = random_models("a", "b", shapes=SHAPES)
    plan, done, lock = plan_of(RECIPE, models), [], threading.Lock()

    def add(count: int) -> None:
        with lock:
            done.append(count)

    weights = {name: InMemory(tensors) for name, tensors in models.items()}
    names = [name for name, _ in merge(plan, weights, threads=3, tile_elements=1000, done=add)]
    assert names == list(SHAPES)
    assert sum(done) == plan.bytes_written
    assert len(done) > len(SHAPES)


@pytest.mark.parametrize("shapes", [SHAPES, {"model.embed_tokens.weight": (2048, 2048)}])
def test_a_cancel_stops_all_threads_between_tiles(shapes: dict[str, tuple[int, ...]]) -> None:
    models = random_models("a", "b", shapes=shapes)
    weights = {name: InMemory(tensors) for name, tensors in models.items()}
    reads = 0

    def check() -> None:
        nonlocal reads
        reads += 1
        if reads == 10:
            raise Enough

    with pytest.raises(Enough):
        list(merge(plan_of(RECIPE, models), weights, threads=2, tile_elements=64, between_tiles=check))
    assert reads < 30


def test_a_consumer_may_leave_early() -> None:
    models = random_models("a", "b", shapes=SHAPES)
    weights = {name: InMemory(tensors) for name, tensors in models.items()}
    before = threading.active_count()
    results = merge(plan_of(RECIPE, models), weights, threads=2)
    assert next(results)[0] == "model.layers.0.mlp.weight"
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_result_too_large_for_its_dtype_is_found() -> None:
    models = {"a": {"model.w": torch.full((4, 4), 6e4)}}
    recipe = {
        "merge_method": "passthrough",
        "models": [{"model": "a", "parameters": {"scale": 2}}],
        "out_dtype": "float16",
    }
    with pytest.raises(NotFinite, match=r"model\.w"):
        merged(recipe, models)
    assert torch.equal(
        merged(recipe | {"out_dtype": "bfloat16"}, models)["model.w"].float().mean(), torch.tensor(119808.0)
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_tensor_that_is_only_copied_has_to_be_finite_too(dtype: str) -> None:
    """A module that the recipe leaves out: with a NaN, or too large for the result's dtype."""
    bad, mask = "vision_tower.layers.0.w", "model.layers.0.attn.bias"
    models = {"a": {"model.layers.0.w": torch.ones(4, 4), bad: torch.full((4, 4), 1e5)}}
    models["a"][mask] = torch.full((1, 1, 4, 4), float("-inf"))
    decoder = {"models": [{"model": "a", "parameters": {"weight": 1}}]}
    recipe = {"merge_method": "linear", "modules": {"text_decoder": decoder}, "out_dtype": dtype}
    if dtype == "float32":
        assert torch.equal(merged(recipe, models)[mask], models["a"][mask])
        models["a"][bad][1, 2] = float("nan")
    with pytest.raises(NotFinite, match=r"vision_tower\.layers\.0\.w"):
        merged(recipe, models)


def test_sources_are_rounded_to_dtype_first() -> None:
    models = random_models("a", shapes={"model.w": (8, 8)})
    recipe = {
        "merge_method": "passthrough",
        "models": [{"model": "a"}],
        "dtype": "bfloat16",
        "out_dtype": "float32",
    }
    assert torch.equal(merged(recipe, models)["model.w"], models["a"]["model.w"].bfloat16().float())


def test_integers_are_copied() -> None:
    models = random_models("a", "b", shapes={"model.w": (8, 8)})
    models["base"]["model.position_ids"] = torch.arange(9).reshape(1, 9)
    found = merged(RECIPE | {"dtype": "bfloat16"}, models)["model.position_ids"]
    assert torch.equal(found, models["base"]["model.position_ids"])


def test_a_merge_to_disk_takes_no_memory_to_speak_of(tmp_path: Path) -> None:
    """Two checkpoints of 128 MB; anonymous memory must not even grow by half of one."""
    shapes = {f"model.layers.{index}.mlp.weight": (4096, 1024) for index in range(8)}
    models = random_models("a", "b", shapes=shapes)
    for name, tensors in models.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    plan = plan_of(RECIPE, models)
    del models, tensors
    weights = {name: CheckpointWeights(tmp_path / name) for name in ("base", "a", "b")}
    (tmp_path / "out").mkdir()
    writer = CheckpointWriter(tmp_path / "out", shards_of(plan.tasks), {})
    before, peak = anonymous_bytes(), 0
    for _ in merge(plan, weights, allocate=writer.allocate, threads=2):
        peak = max(peak, anonymous_bytes())
    assert peak - before < 64e6
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == set(shapes)


def anonymous_bytes() -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")
    )
    return int(line.split()[1]) * 1024
