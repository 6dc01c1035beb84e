"""Import jobs on a real worker: what they register, and that a bad one leaves nothing behind."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from service.models.registry import Registry
from workers.merging.weights import whole_tensor
from workers.open_model import open_model

from .conftest import Service, Trained

BESIDE_WEIGHTS = {"config.json", "generation_config.json", "tokenizer_config.json"}


def test_an_adapter_gets_its_bases_config_and_tensors(service: Service) -> None:
    base = service.import_({"folder": "base"})
    adapter = service.import_({"adapter": "lora"}, base.id)
    assert set(adapter.files) == BESIDE_WEIGHTS | {"adapter_config.json", "adapter_model.safetensors"}
    assert {path.name for path in service.store.path(adapter.id).iterdir()} == {
        *adapter.files,
        "manifest.json",
    }
    assert (adapter.weights, adapter.base, adapter.tensors) == ("adapter", base.id, base.tensors)
    assert adapter.files["config.json"] == base.files["config.json"]


def test_the_same_content_with_other_labels_is_refused_and_names_the_model(service: Service) -> None:
    first = service.import_({"folder": "base"})
    again = service.run("import", {"source": {"folder": "base"}, "objective": "safety"})
    assert again.state == "failed"
    assert again.error is not None
    assert first.id in again.error.detail
    assert service.store.manifest(first.id).objective is None


def test_an_adapter_over_its_base_reads_as_peft_merges_it(service: Service, trained: Trained) -> None:
    base = service.import_({"folder": "base"})
    adapter = service.import_({"adapter": "lora"}, base.id)
    weights = open_model(service.store.path(adapter.id))
    before = load_file(trained.root / "base" / "model.safetensors")
    expected = load_file(trained.root / "merged" / "model.safetensors")
    changed = set()
    for name, tensor in expected.items():
        found = whole_tensor(weights, name, tuple(tensor.shape), torch.float32)
        torch.testing.assert_close(found, tensor, rtol=1e-5, atol=1e-5)
        if not torch.equal(found, before[name]):
            changed.add(name)
    assert changed == trained.changed


def test_an_adapter_can_give_a_merge_its_config(service: Service, trained: Trained) -> None:
    """Linear with weight 1 for the adapter and nothing else is the adapter's model, written out."""
    base = service.import_({"folder": "base"})
    adapter = service.import_({"adapter": "lora"}, base.id)
    recipe = {
        "merge_method": "linear",
        "models": [
            {"model": adapter.id, "parameters": {"weight": 1.0}},
            {"model": base.id, "parameters": {"weight": 0.0}},
        ],
        "dtype": "float32",
    }
    job = service.run("merge", {"recipe": recipe, "seed": 0})
    assert job.state == "succeeded", job.error
    folder = service.store.path(str(job.model))
    made = {"model.safetensors", "manifest.json", "README.md", "mergekit_config.yml"}
    assert {path.name for path in folder.iterdir()} == BESIDE_WEIGHTS | made
    found = load_file(folder / "model.safetensors")
    for name, tensor in load_file(trained.root / "merged" / "model.safetensors").items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5)


def test_importing_twice_gives_the_same_model(service: Service) -> None:
    base = service.import_({"folder": "base"})
    adapter = service.import_({"adapter": "lora"}, base.id)
    assert service.import_({"folder": "base"}) == base
    assert service.import_({"adapter": "lora"}, base.id) == adapter
    assert {item.id for item in service.store.manifests()} == {base.id, adapter.id}


def test_a_source_gone_bad_after_it_was_queued_leaves_nothing(
    service: Service, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMERGE_SOURCES", str(tmp_path))
    shutil.copytree(trained.root / "base", tmp_path / "model")
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    (tmp_path / "model" / "model.safetensors").write_bytes(weights[:-1])
    job = service.run("import", {"source": {"folder": "model"}})
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.type == "invalid-source"
    assert "/source/folder: model.safetensors: truncated" in job.error.detail
    store = service.store
    assert list(store.manifests()) == []
    assert Registry(store, service.redis).models() == []
    assert list((store.root / "staging").iterdir()) == []
