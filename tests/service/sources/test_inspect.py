"""What can't be imported is refused at its place in the request, from headers alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.recipes.refusal import Refused
from service.sources.inspect import inspect_source

from .build import (
    BASE,
    CONFIG,
    LORA,
    adapter,
    checkpoint,
    gguf,
    header,
    manifest,
    pack,
    request,
    safetensors,
    sharded,
)

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TWO = {FIRST: {"a": ("F32", [2])}, SECOND: {"b": ("F32", [3])}}
INDEX = "model.safetensors.index.json"


def _placed(**tensors: object) -> str:
    return json.dumps({"weight_map": tensors})


def _write(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _linked_out(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        outside = folder.parent.parent / "outside"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_pickled, "pytorch_model.bin is a pickle: pickle runs code; convert it to safetensors"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "consolidated.00.pt"),
            "pickle runs code",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "there are no weights"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "w.safetensors"),
            "neither model.safetensors",
        ),
        (lambda folder: (folder / "config.json").unlink(), "there is no config.json"),
        (_write("config.json", "[]"), "config.json is not a JSON object"),
        (_write("config.json", "{"), "config.json is not JSON"),
        (_write("config.json", "[" * 100_000), "nested too deeply"),
        (
            _write("config.json", json.dumps(CONFIG | {"auto_map": {"AutoConfig": "x.Y"}})),
            "remote code is never run",
        ),
        (
            _write(
                "config.json", json.dumps(CONFIG | {"text_config": {"sub": [{"auto_map": {"A": "x.Y"}}]}})
            ),
            "(text_config.sub.auto_map): remote code is never run",
        ),
        (_write("generation_config.json", '{"trust_remote_code": true}'), "remote code is never run"),
        (_write("config.json", json.dumps(CONFIG | {"text_config": [1]})), "text_config is no object"),
        (
            _write("config.json", json.dumps(CONFIG | {"num_hidden_layers": 10**9})),
            "num_hidden_layers is 10000",
        ),
        (
            _write("config.json", json.dumps(CONFIG | {"text_config": {"n_positions": "9"}})),
            "text_config.n_positions is '9'",
        ),
        (_write("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["x.Y", null]}}'), "remote code"),
        (_write("model.safetensors", safetensors({"w": ("F32", [8])})[:-4]), "truncated"),
        (
            _write("model.safetensors", pack(header({"w": ("F32", [8])}) | {"v": {}}, 32)),
            "tensor 'v' must have",
        ),
        (_write("model.safetensors", safetensors({})), "no tensors"),
        (_linked_out("model.safetensors"), "'model.safetensors' leads out of the sources root"),
        (_linked_out("config.json"), "'config.json' leads out of the sources root"),
    ],
)
def test_bad_folders(tmp_path: Path, change: Callable[[Path], object], reason: str) -> None:
    change(checkpoint(tmp_path / "root" / "model"))
    _refused(tmp_path / "root", "folder", "model", reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda folder: (folder / SECOND).unlink(),
            f"shard '{SECOND}', which {INDEX} names, is missing",
        ),
        (_write(INDEX, _placed(a=FIRST, b=SECOND, c=SECOND)), "shards lack: c"),
        (_write(INDEX, _placed(a=FIRST, b=FIRST)), "shards lack: b"),
        (
            _write(SECOND, safetensors({"b": ("F32", [3]), "a": ("F32", [2])})),
            "does not place there: a",
        ),
        (_write(INDEX, _placed(a="../elsewhere.safetensors")), "no safetensors file of this folder"),
        (_write(INDEX, _placed(a="pytorch_model.bin")), "no safetensors file of this folder"),
        (_write(INDEX, _placed(a=7)), "no weight_map from tensors to shards"),
        (_write(INDEX, "{}"), "no weight_map"),
    ],
)
def test_bad_indexes(tmp_path: Path, change: Callable[[Path], object], reason: str) -> None:
    change(sharded(tmp_path / "root" / "model", TWO))
    _refused(tmp_path / "root", "folder", "model", reason)


def test_a_shard_that_the_index_does_not_name_is_no_part_of_the_model(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model", TWO)
    (folder / INDEX).write_text(_placed(a=FIRST))
    assert set(inspect_source(request(folder="model"), tmp_path, None)) == {"config.json", INDEX, FIRST}


@pytest.mark.parametrize("kind", ["folder", "gguf", "adapter"])
def test_paths_stay_under_the_root(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    checkpoint(tmp_path / "secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    _refused(root, kind, "missing", "there is no 'missing'")
    _refused(root, kind, "x/../../secret", "leads out")
    _refused(root, kind, "link", "leads out")
    _refused(root, kind, "link/config.json", "leads out")
    _refused(root, kind, "loop", "symlink to itself")
    _refused(root, kind, "x/..", "leads out")


def test_links_within_the_root_are_followed(tmp_path: Path) -> None:
    """As in a hub cache, where snapshots are links to blobs."""
    blob = checkpoint(tmp_path / "model") / "model.safetensors"
    blob.rename(tmp_path / "blob")
    blob.symlink_to("../blob")
    assert inspect_source(request(folder="model"), tmp_path, None)["model.safetensors"] == tmp_path / "blob"


def test_special_files_are_no_sources(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (checkpoint(tmp_path / "model") / "model.safetensors").unlink()
    os.mkfifo(tmp_path / "model" / "model.safetensors")
    _refused(tmp_path, "gguf", "pipe", "is not a file")
    _refused(tmp_path, "folder", "pipe", "is not a folder")
    _refused(tmp_path, "adapter", "pipe", "is not a folder")
    _refused(tmp_path, "folder", "model", "neither model.safetensors")


def test_gguf_and_adapter_problems_point_at_them(tmp_path: Path) -> None:
    gguf(tmp_path / "m.gguf")
    os.truncate(tmp_path / "m.gguf", 500)
    _refused(tmp_path, "gguf", "m.gguf", "m.gguf: truncated")
    adapter(tmp_path / "lora", LORA | {"r": 5})
    _refused(tmp_path, "adapter", "lora", "rank 5")
    adapter(tmp_path / "linked")
    (tmp_path / "linked" / "adapter_config.json").unlink()
    (tmp_path / "linked" / "adapter_config.json").symlink_to("/etc/hostname")
    _refused(tmp_path, "adapter", "linked", "'adapter_config.json' leads out of the sources root")


def test_an_adapter_needs_its_base(tmp_path: Path) -> None:
    adapter(tmp_path / "lora")
    with pytest.raises(Refused) as caught:
        inspect_source(request(adapter="lora"), tmp_path, None)
    assert [problem.pointer for problem in caught.value.problems] == ["/base"]
    assert inspect_source(request(adapter="lora"), tmp_path, manifest(BASE)).keys() == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def _refused(root: Path, kind: str, path: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        inspect_source(request(**{kind: path}), root, manifest(BASE))
    [problem] = caught.value.problems
    assert problem.pointer == f"/source/{kind}"
    assert reason in problem.detail
    assert str(root.parent) not in problem.detail
