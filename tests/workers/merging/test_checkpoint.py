"""Files that transformers and vLLM load: safetensors, sharded, with an index."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from service.recipes.plan import TensorRef, TensorTask
from workers.merging.checkpoint import CheckpointWriter, shards_of, write_index
from workers.merging.engine import TORCH_DTYPES
from workers.merging.weights import as_rows

TENSORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "flags": ("BOOL", (3,)),
    "model.embed_tokens.weight": ("BF16", (7, 3)),
    "model.empty": ("F32", (0, 4)),
    "model.norm.weight": ("F32", (5,)),
    "model.positions": ("I64", (1, 3)),
    "model.scale": ("F16", ()),
}


def write(folder: Path, shard_bytes: int = 10_000) -> dict[str, Tensor]:
    tasks = tuple(
        TensorTask(name=name, shape=shape, dtype=dtype, sources=(TensorRef("a", name),))
        for name, (dtype, shape) in TENSORS.items()
    )
    shards = shards_of(tasks, shard_bytes)
    write_index(folder, shards)
    writer = CheckpointWriter(folder, shards, {"polymerge_method": "linear"})
    wanted = {}
    for task in reversed(tasks):
        tensor = (torch.rand(task.shape) * 9).to(TORCH_DTYPES[task.dtype])
        writer.allocate(task).write(0, as_rows(tensor))
        wanted[task.name] = tensor
    writer.close()
    return wanted


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return set(found) == set(wanted) and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
        for name, tensor in wanted.items()
    )


def test_a_small_model_is_one_file_with_its_metadata(tmp_path: Path) -> None:
    wanted = write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert same(load_file(tmp_path / "model.safetensors"), wanted)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "polymerge_method": "linear"}


def test_a_large_model_is_split_and_indexed(tmp_path: Path) -> None:
    wanted = write(tmp_path, shard_bytes=50)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert {path.name for path in shards} == set(index["weight_map"].values())
    assert len(shards) > 1
    loaded = {path.name: load_file(path) for path in shards}
    assert same({name: loaded[file][name] for name, file in index["weight_map"].items()}, wanted)
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in wanted.values())
