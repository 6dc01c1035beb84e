"""A shard on record is as it was when its last tensor was finished, whatever it was before."""

from pathlib import Path

import pytest
import torch

from service.sources.files import hash_file
from workers.merging.checkpoint import CheckpointWriter, Shard, shards_of
from workers.merging.recorder import Recorder

from .models import plan_of, random_models

SHAPES = {f"model.layers.{index}.w": (700, 1024) for index in range(6)}
SHARD_BYTES = 3 * 700 * 1024 * 4


def shards() -> tuple[Shard, ...]:
    recipe = {"merge_method": "passthrough", "models": [{"model": "base"}]}
    return shards_of(plan_of(recipe, random_models(shapes=SHAPES)).tasks, SHARD_BYTES)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 0, 2]])
def test_nothing_is_read_before_it_is_finished(tmp_path: Path, order: list[int], threads: int) -> None:
    writer = CheckpointWriter(tmp_path, shards(), {})
    with Recorder(tmp_path, shards(), {}, {}, lambda: None, threads) as recorder:
        for index in order:
            name = f"model.layers.{index}.w"
            (task,) = (task for shard in shards() for task in shard.tasks if task.name == name)
            writer.allocate(task).write(0, torch.full((700, 1024), float(index)))
            recorder.finished(name)
    writer.close()
    assert {name: record.file for name, record in recorder.records.items()} == {
        shard.name: hash_file(tmp_path / shard.name) for shard in shards()
    }


def test_it_waits_for_no_tensor_that_never_comes(tmp_path: Path) -> None:
    CheckpointWriter(tmp_path, shards(), {}).close()

    def break_off() -> None:
        with Recorder(tmp_path, shards(), {}, {}, lambda: None, 1) as recorder:
            recorder.finished("model.layers.0.w")
            raise RuntimeError("the merge failed")

    with pytest.raises(RuntimeError, match="the merge failed"):
        break_off()
    assert not list(tmp_path.glob("*.finished.json"))
