from pathlib import Path

import pytest

from service.store import Store
from tests.workers.serving.models import add_model, tied_tensors
from workers.intact import check_intact

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
