"""Which path `polymerge import` sends, and what it does with one that the service cannot read."""

from pathlib import Path

import pytest

from clients.sources import SourceError, describe_source, find_in_sources
from service.contracts.model import ImportSource


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    return folder


def _make_folder(path: Path, file: str) -> Path:
    path.mkdir(parents=True)
    (path / file).write_text("{}")
    return path


def test_a_path_into_the_sources_folder_is_sent_relative_to_it(root: Path) -> None:
    folder = _make_folder(root / "team" / "model", "config.json")

    assert find_in_sources(str(folder), root) == "team/model"


def test_a_path_that_is_not_here_is_the_services_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)

    assert find_in_sources("on-another-machine", root) == "on-another-machine"


def test_a_path_elsewhere_is_refused_with_what_to_do(root: Path, tmp_path: Path) -> None:
    folder = _make_folder(tmp_path / "elsewhere" / "model", "config.json")

    with pytest.raises(SourceError, match=r"not in the service's sources folder.*--copy.*--sources"):
        find_in_sources(str(folder), root)
    assert list(root.iterdir()) == []


def test_copying_takes_links_for_what_they_lead_to(root: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"weights")
    folder = _make_folder(tmp_path / "cache" / "model", "config.json")
    (folder / "model.safetensors").symlink_to(blob)

    assert find_in_sources(str(folder), root, copy=True) == "model"

    placed = root / "model" / "model.safetensors"
    assert not placed.is_symlink()
    assert placed.read_bytes() == b"weights"
    assert find_in_sources(str(folder), root, copy=True) == "model"


def test_copying_overwrites_nothing(root: Path, tmp_path: Path) -> None:
    _make_folder(root / "model", "config.json")
    other = _make_folder(tmp_path / "elsewhere" / "model", "other.json")

    with pytest.raises(SourceError, match="is something else"):
        find_in_sources(str(other), root, copy=True)


def test_the_kind_follows_from_what_the_path_is(root: Path) -> None:
    _make_folder(root / "checkpoint", "config.json")
    _make_folder(root / "lora", "adapter_config.json")

    assert describe_source("checkpoint", root, None) == ImportSource(folder="checkpoint")
    assert describe_source("lora", root, "base") == ImportSource(adapter="lora")
    assert describe_source("small.gguf", root, None) == ImportSource(gguf="small.gguf")
    assert describe_source("not-here", root, "base") == ImportSource(adapter="not-here")
    with pytest.raises(SourceError, match="give --base"):
        describe_source("lora", root, None)
