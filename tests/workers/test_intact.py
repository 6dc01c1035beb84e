from pathlib import Path

import pytest

from service.store import Store
from tests.workers.serving.models import add_adapter, add_model, tied_tensors
from workers.intact import check_intact, check_whole

ID = "m_000000000000000a"


def test_a_file_that_is_missing_or_shorter_than_recorded_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    manifest = add_model(store, ID, tied_tensors(1))
    check_intact(manifest, store.path(ID))
    weights = store.path(ID) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors has \d+ bytes"):
        check_intact(manifest, store.path(ID))
    weights.unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        check_intact(manifest, store.path(ID))


def test_an_adapter_is_as_whole_as_its_base(tmp_path: Path) -> None:
    store = Store(tmp_path)
    base = add_model(store, ID, tied_tensors(1))
    adapter = add_adapter(store, "m_000000000000000b", base, "model.layers.3.self_attn.q_proj")
    check_whole(store, adapter.id)
    store.path(ID).rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"model {ID} is gone"):
        check_whole(store, adapter.id)
