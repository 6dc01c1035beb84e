"""Sources on disk: checkpoints in one file or several, and adapters over them."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from service.sources.adapter import Adapter
from workers.merging.weights import AdapterWeights, CheckpointWeights, as_rows, whole_tensor

TENSORS = {
    "model.embed_tokens.weight": (30, 8),
    "model.layers.0.q_proj.weight": (12, 8),
    "model.norm.weight": (8,),
    "model.experts": (3, 4, 5),
    "model.scale": (),
    "model.empty": (0, 8),
}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=rng).bfloat16() for name, shape in TENSORS.items()}


@pytest.fixture
def folder(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    """In two shards."""
    names = list(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:3], "model-00002-of-00002.safetensors": names[3:]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, tmp_path / file)
    placed = {name: file for file, held in shards.items() for name in held}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return tmp_path


def test_a_sharded_checkpoint_is_read_by_rows(folder: Path, tensors: dict[str, Tensor]) -> None:
    weights = CheckpointWeights(folder)
    assert set(weights.names()) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(whole_tensor(weights, name, tuple(tensor.shape), tensor.dtype), tensor)
    assert torch.equal(weights.read("model.experts", 5, 9), tensors["model.experts"].reshape(12, 5)[5:9])
    assert weights.read("model.norm.weight", 0, 1).shape == (1, 8)


def test_many_threads_read_the_same(folder: Path, tensors: dict[str, Tensor]) -> None:
    weights = CheckpointWeights(folder)

    def read(number: int) -> bool:
        name = list(tensors)[number % len(tensors)]
        rows = as_rows(tensors[name])
        start = number % max(1, len(rows))
        return torch.equal(weights.read(name, start, start + 2), rows[start : start + 2])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(500)))


def test_an_adapter_adds_its_product_to_the_rows_asked_for(
    tmp_path: Path, folder: Path, tensors: dict[str, Tensor]
) -> None:
    a, b = torch.randn(4, 8).bfloat16(), torch.randn(12, 4).bfloat16()
    (tmp_path / "adapter").mkdir()
    save_file({"A": a, "B": b}, tmp_path / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.q_proj.weight"
    adapter = Adapter(folder=tmp_path / "adapter", pairs={name: ("A", "B", 2.5)})
    weights = AdapterWeights(CheckpointWeights(folder), adapter)
    wanted = tensors[name].double() + 2.5 * b.double() @ a.double()
    torch.testing.assert_close(weights.read(name, 3, 9).double(), wanted[3:9], rtol=1e-5, atol=1e-5)
    untouched = "model.embed_tokens.weight"
    assert torch.equal(weights.read(untouched, 0, 30), tensors[untouched])
