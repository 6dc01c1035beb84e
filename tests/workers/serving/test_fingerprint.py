from pathlib import Path

import pytest
import torch

from service.models.store import Store
from tests.workers.serving.models import add_adapter, add_model, tied_tensors
from workers.serving.fingerprint import fingerprint

A, B = "m_000000000000000a", "m_000000000000000b"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_models_that_differ_in_their_weights_only_share_an_engine(store: Store) -> None:
    one = add_model(store, A, tied_tensors(1), {"_name_or_path": "one"})
    other = add_model(store, B, tied_tensors(2), {"transformers_version": "5.0"})
    assert fingerprint(one, store.path(A)) == fingerprint(other, store.path(B))


def test_an_adapter_shares_the_engine_of_its_base(store: Store) -> None:
    base = add_model(store, A, tied_tensors(1))
    adapter = add_adapter(store, B, base, "model.layers.3.self_attn.q_proj")
    assert fingerprint(base, store.path(A)) == fingerprint(adapter, store.path(B))


@pytest.mark.parametrize("config", [{"rope_theta": 5.0}, {"dtype": "bfloat16"}])
def test_another_configuration_or_dtype_needs_another_engine(store: Store, config: dict[str, object]) -> None:
    one = add_model(store, A, tied_tensors(1))
    other = add_model(store, B, tied_tensors(1), config)
    assert fingerprint(one, store.path(A)) != fingerprint(other, store.path(B))


def test_another_vocabulary_needs_another_engine(store: Store) -> None:
    one = add_model(store, A, tied_tensors(1))
    other = add_model(store, B, tied_tensors(1) | {"model.embed_tokens.weight": torch.zeros(17, 8)})
    assert fingerprint(one, store.path(A)) != fingerprint(other, store.path(B))
