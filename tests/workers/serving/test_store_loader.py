import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
import torch

from service.models.store import Store
from tests.workers.serving.models import LAYERS, add_adapter, add_model, tied_tensors
from workers.serving.store_loader import stream

A, B = "m_000000000000000a", "m_000000000000000b"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_every_tensor_comes_once_and_layer_by_layer(store: Store) -> None:
    tensors = tied_tensors(1)
    add_model(store, A, tensors)
    streamed = list(stream(store.path(A), torch.float32, tied=False))
    assert sorted(name for name, _ in streamed) == sorted(tensors)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in streamed)
    numbers = [match.group(1) for name, _ in streamed if (match := re.search(r"layers\.(\d+)", name))]
    assert [number for number, _ in groupby(numbers)] == [str(layer) for layer in range(LAYERS)]


def test_a_tied_head_is_named_beside_its_embedding(store: Store) -> None:
    add_model(store, A, tied_tensors(1))
    streamed = dict(stream(store.path(A), torch.float32, tied=True))
    assert torch.equal(streamed["lm_head.weight"], streamed["model.embed_tokens.weight"])


def test_a_head_of_its_own_is_not_replaced_by_the_embedding(store: Store) -> None:
    head = torch.ones(16, 8)
    add_model(store, A, tied_tensors(1) | {"lm_head.weight": head})
    names = [name for name, _ in stream(store.path(A), torch.float32, tied=True)]
    assert names.count("lm_head.weight") == 1
    assert torch.equal(dict(stream(store.path(A), torch.float32, tied=True))["lm_head.weight"], head)


def test_a_tied_head_whose_embedding_is_not_known_is_refused(store: Store) -> None:
    add_model(store, A, {"mystery.weight": torch.ones(2, 2)})
    with pytest.raises(ValueError, match="lm_head is tied"):
        list(stream(store.path(A), torch.float32, tied=True))


def test_an_adapter_streams_its_base_with_the_product_added(store: Store) -> None:
    tensors = tied_tensors(1)
    base = add_model(store, A, tensors)
    changed = "model.layers.3.self_attn.q_proj"
    add_adapter(store, B, base, changed)
    streamed = dict(stream(store.path(B), torch.float32, tied=False))
    # scaling 2 times ones(8, 2) @ ones(2, 8)
    assert torch.allclose(streamed[f"{changed}.weight"], tensors[f"{changed}.weight"] + 4)
    same = [name for name in tensors if name != f"{changed}.weight"]
    assert all(torch.equal(streamed[name], tensors[name]) for name in same)


def test_the_load_format_brings_no_compiler_into_vllm() -> None:
    """vLLM 0.32 stops, when it starts, at an object of numba's that it finds among the loaded modules."""
    program = "import sys, workers.serving.store_loader; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
