from pathlib import Path

import pytest

from service.models.intact import check_contents, check_sizes, check_whole
from service.models.store import Store
from tests.workers.serving.models import add_adapter, add_model, tied_tensors

ID = "m_000000000000000a"


def test_a_file_that_is_missing_or_shorter_than_recorded_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = add_model(store, ID, tied_tensors(1))
    check_sizes(manifest, store.path(ID))
    weights = store.path(ID) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors has \d+ bytes"):
        check_sizes(manifest, store.path(ID))
    weights.unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        check_sizes(manifest, store.path(ID))


def test_an_adapter_is_as_whole_as_its_base(tmp_path: Path) -> None:
    store = Store(tmp_path)
    base = add_model(store, ID, tied_tensors(1))
    adapter = add_adapter(store, "m_000000000000000b", base, "model.layers.3.self_attn.q_proj")
    check_whole(store, adapter.id, check_sizes)
    store.path(ID).rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"model {ID} is gone"):
        check_whole(store, adapter.id, check_sizes)


def test_a_file_with_other_bytes_is_named_and_one_that_is_put_right_is_taken(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = add_model(store, ID, tied_tensors(1))
    check_contents(manifest, store.path(ID))
    weights = store.path(ID) / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    check_sizes(manifest, store.path(ID))
    with pytest.raises(ValueError, match=r"model\.safetensors has other bytes"):
        check_contents(manifest, store.path(ID))
    weights.write_bytes(good)
    check_contents(manifest, store.path(ID))
