"""What staging holds after a folder has been copied: the model's files, whole, and no others."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.contracts.model import ImportRequest
from service.recipes.refusal import Refused
from service.sources.files import hash_file
from workers.importing.stage import Staged, stage_source

from .conftest import Trained

CARRIED = {"config.json", "generation_config.json", "tokenizer_config.json", "model.safetensors"}


def stage(
    source: Path, staging: Path, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Staged:
    staging.mkdir()
    request = ImportRequest.model_validate({"source": {"folder": source.name}})
    return stage_source(request, source.parent, None, None, staging, progress)


def test_a_folder_is_copied_without_code_and_pickles(trained: Trained, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    staged = stage(trained.root / "base", tmp_path / "staging", lambda *counts: heard.append(counts))
    assert {path.name for path in (tmp_path / "staging").iterdir()} == set(staged.files) == CARRIED
    for name, entry in staged.files.items():
        assert entry == hash_file(trained.root / "base" / name) == hash_file(tmp_path / "staging" / name)
    assert staged.weights == "checkpoint"
    assert staged.tensors["model.layers.1.mlp.down_proj.weight"].shape == [32, 48]
    total = sum(entry.size for entry in staged.files.values())
    assert heard == sorted(heard)
    assert heard[-1] == (total, total)


def test_the_same_content_has_the_same_digest_wherever_it_lies(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.root / "base", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "notes.txt").write_text("not part of the model")
    one = stage(trained.root / "base", tmp_path / "one")
    assert one == stage(tmp_path / "elsewhere", tmp_path / "two")
    config = tmp_path / "elsewhere" / "config.json"
    config.write_text(config.read_text().replace("32", "33"))
    assert stage(tmp_path / "elsewhere", tmp_path / "three").content_digest != one.content_digest


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_source_that_changes_while_it_is_copied_is_refused(
    trained: Trained, tmp_path: Path, name: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(trained.root / "base", source)

    def rewrite(done: int, total: int) -> None:
        raw = (source / name).read_bytes()
        (source / name).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        os.utime(source / name, ns=(0, 0))

    with pytest.raises(Refused, match=f"'{name}' changed while it was copied"):
        stage(source, tmp_path / "staging", rewrite)
