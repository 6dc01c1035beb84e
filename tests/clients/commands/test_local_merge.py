"""`polymerge merge` as a program: local folders, adapters and the hub's cache; broken off and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from service.sources.files import hash_file
from tests.builders.hub import READER, Hub, Repository

_PROGRAM = Path(sys.executable).with_name("polymerge")
_COMMIT = "5" * 40
_LAYERS = 8
_RECIPE = """
merge_method: linear            # a comment that stays
dtype: float32
models:
  - {model: base, parameters: {weight: 1}}
  - {model: ./lora, parameters: {weight: 2}}
  - {model: org/expert, parameters: {weight: 5}}
"""
_IN_STEPS = """
merge_method: ties
base_model: base
models:
  - {model: between, parameters: {weight: 0.5}}
  - {model: org/expert}
parameters: {weight: 1, density: 0.25, lambda: 1.5}
---
name: between
merge_method: linear
models:
  - {model: base, parameters: {weight: 1}}
  - {model: base+./lora, parameters: {weight: [{filter: norm, value: 0.5}, {value: 2}]}}
"""
_SLOW = """
merge_method: della
base_model: slow-0
models: [{model: slow-1}, {model: slow-2}, {model: slow-3}]
parameters: {weight: 0.5, density: 0.5}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a model, an adapter for it, and a hub's cache with another model."""
    place = tmp_path_factory.mktemp("place")
    _make_model(place / "base", _random({"model.up_proj.weight": (8, 4), "model.norm.weight": (4,)}, 0))
    _make_adapter(place / "lora", base="base", module="model.up_proj")
    repository = place / "hub" / "models--org--expert"
    expert = repository / "snapshots" / _COMMIT
    _make_model(expert, _random({"model.up_proj.weight": (8, 4), "model.norm.weight": (4,)}, 1))
    (expert / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Expert\n")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(_COMMIT)
    (place / "recipe.yaml").write_text(_RECIPE)
    return place


def test_a_recipe_of_folders_adapters_and_hub_ids_is_planned_then_merged(place: Path) -> None:
    planned = _run(place, "recipe.yaml", "merged", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    for told in ("linear", "./lora", "org/expert", "2, 0.0 M", "F32"):
        assert told in planned.stdout
    assert not (place / "merged").exists()

    done = _run(place, "recipe.yaml", "merged")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(place / "merged"))
    merged = place / "merged"
    torch.testing.assert_close(load_file(merged / "model.safetensors"), _wanted(place))
    assert (merged / "tokenizer.json").read_text() == '{"of": "base"}'
    assert (merged / "mergekit_config.yml").read_text() == _RECIPE
    card = yaml.safe_load((merged / "README.md").read_text().split("---\n")[1])
    assert card["base_model"] == ["base", "lora", "org/expert"]


def test_the_plan_names_ingredients_as_the_recipe_does_each_with_its_parameters(place: Path) -> None:
    (place / "steps.yaml").write_text(_IN_STEPS)

    planned = _run(place, "steps.yaml", "never", "--dry-run")

    assert planned.returncode == 0, planned.stderr
    assert [line[18:] for line in planned.stdout.splitlines()[1:9]] == [
        "base",
        "between     weight 0.5, density 0.25",
        "org/expert  weight 1, density 0.25",
        "lambda 1.5, normalize true, int8_mask false, rescale false",
        "between: linear, normalize true",
        "  base         weight 1",
        "  base+./lora  weight 0.5 to 2",
        "of base",
    ]


def test_a_model_of_the_hub_is_downloaded_once_and_no_pickle_with_it(place: Path, tmp_path: Path) -> None:
    _make_model(tmp_path / "fresh", _random({"model.up_proj.weight": (8, 4), "model.norm.weight": (4,)}, 2))
    files = {path.name: path.read_bytes() for path in (tmp_path / "fresh").iterdir()}
    hub, unwanted = Hub(), {"pytorch_model.bin": b"", "onnx/model.safetensors": b""}
    hub.repositories["org/fresh"] = Repository(False, {"main": files | unwanted | {".gitattributes": b""}})
    (place / "fresh.yaml").write_text(_RECIPE.replace("org/expert", "org/fresh"))
    with hub.running() as url:
        online = {
            "HF_ENDPOINT": url,
            "HF_TOKEN": READER,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_CACHE": str(tmp_path / "hub"),
        }
        first = _run(place, "fresh.yaml", "fresh-1", **online)
        asked = list(hub.asked)
        again = _run(place, "fresh.yaml", "fresh-2", **online)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    fetched = {line.rpartition("/")[2] for line in asked if line.startswith("GET /org/fresh/resolve/")}
    assert fetched == files.keys()
    assert hub.asked == asked
    assert (place / "fresh-2" / "model.safetensors").is_file()


def test_a_model_that_is_there_is_replaced_only_by_force_and_nothing_else_ever(place: Path) -> None:
    (place / "there").mkdir()
    (place / "there" / "thesis.tex").write_text("Chapter 1")

    for arguments in ((), ("--force",)):
        done = _run(place, "recipe.yaml", "there", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{place / 'there'} " in _only_line(done.stderr)
    assert [path.name for path in (place / "there").iterdir()] == ["thesis.tex"]

    (place / "there" / "config.json").write_text("{}")
    done = _run(place, "recipe.yaml", "there", "--force")
    assert done.returncode == 0, done.stderr
    assert (place / "there" / "model.safetensors").is_file()
    assert not (place / "there" / "thesis.tex").exists()


def test_a_lenient_merge_warns_of_unknown_keys_and_an_adapter_may_stand_behind_its_model(place: Path) -> None:
    (place / "lenient.yaml").write_text(_RECIPE.replace("./lora", "base+./lora") + "colour: blue\n")

    done = _run(place, "lenient.yaml", "lenient", "--lenient")

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Warning: /colour: unknown key 'colour'")
    torch.testing.assert_close(load_file(place / "lenient" / "model.safetensors"), _wanted(place))


def test_mergekits_command_lines_work(place: Path) -> None:
    options = "--no-cuda -j 2 --random-seed 3 --out-shard-size=1B --copy-tokenizer --lazy-unpickle --quiet"
    done = _run(place, "recipe.yaml", "new/drop-in", *options.split(), "--write-threads", "2", "-v")

    assert (done.returncode, done.stderr) == (0, "")
    torch.testing.assert_close(load_file(place / "new" / "drop-in" / "model.safetensors"), _wanted(place))
    assert "--seed 3" in (place / "new" / "drop-in" / "README.md").read_text()

    refused = _run(place, "recipe.yaml", "other", "--unsafe-truncate-embeddings")
    assert refused.returncode == 2
    assert "tokenizer: {source: base}" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("org/expert", "org/another"), "'org/another' is no folder, not whole in the Hugging Face cache"),
        (("org/expert", "./another"), "there is no folder './another'"),
        (("org/expert", "pickled"), "pytorch_model.bin is a pickle"),
        (("org/expert", "short"), "/models/2/model: 'short' does not fit 'base': it lacks 1 tensor"),
        (("weight: 5", "wight: 5"), "/models/2/parameters/wight"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(
    place: Path, change: tuple[str, str], told: str
) -> None:
    (place / "bad.yaml").write_text(_RECIPE.replace(*change))
    _make_model(place / "short", _random({"model.up_proj.weight": (8, 4)}, 1))
    _make_model(place / "pickled", {})
    (place / "pickled" / "model.safetensors").rename(place / "pickled" / "pytorch_model.bin")

    done = _run(place, "bad.yaml", "bad")

    assert (done.returncode, done.stdout) == (1, "")
    assert told in _only_line(done.stderr)
    assert not list(place.glob("*bad")) + list(place.glob(".bad*"))


def test_after_ctrl_c_and_kill_9_a_merge_goes_on_from_its_finished_files(tmp_path: Path) -> None:
    for number in range(4):
        shapes = {f"model.layers.{layer}.mlp.up_proj.weight": (256, 1024) for layer in range(_LAYERS)}
        _make_model(tmp_path / f"slow-{number}", _random(shapes, number))
    (tmp_path / "slow.yaml").write_text(_SLOW)
    staging = tmp_path / ".merged.merging"

    interrupted = _start(tmp_path, "merged")
    _until(lambda: len(_finished(staging)) >= 1, interrupted)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(60) == 130
    kept = _finished(staging)
    assert len(list(staging.iterdir())) == 2 * len(kept)

    killed = _start(tmp_path, "merged")
    _until(lambda: len(_finished(staging)) >= len(kept) + 2, killed)
    killed.kill()
    killed.wait()
    assert kept.items() <= _finished(staging).items()
    kept = _finished(staging)
    assert not (tmp_path / "merged").exists()

    assert _start(tmp_path, "merged").wait(120) == 0
    assert _start(tmp_path, "undisturbed", threads=2).wait(120) == 0

    assert {name: (tmp_path / "merged" / name).stat().st_ino for name in kept} == kept
    assert 3 <= len(kept) < _LAYERS
    merged, undisturbed = (
        {path.name: hash_file(path) for path in (tmp_path / out).iterdir()}
        for out in ("merged", "undisturbed")
    )
    assert merged == undisturbed
    assert not list(tmp_path.glob(".*.merging"))


def _wanted(place: Path) -> dict[str, Tensor]:
    """What the recipe is to give."""
    base = load_file(place / "base" / "model.safetensors")
    expert = load_file(place / "hub/models--org--expert/snapshots" / _COMMIT / "model.safetensors")
    wanted = {name: (3 * base[name] + 5 * expert[name]) / 8 for name in base}
    wanted["model.up_proj.weight"] += 2 / 8 * 4
    return wanted


def _run(place: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [_PROGRAM, "merge", *arguments],
        capture_output=True,
        text=True,
        cwd=place,
        env=_environment(place) | environment,
    )


def _start(place: Path, out: str, threads: int = 1) -> "subprocess.Popen[bytes]":
    """A slow merge with every tensor in a file of its own."""
    command = [str(_PROGRAM), "merge", "slow.yaml", out, "--threads", str(threads), "--shard-size", "1MB"]
    return subprocess.Popen(command, cwd=place, env=_environment(place))


def _environment(place: Path) -> dict[str, str]:
    hub = {"HF_HUB_CACHE": str(place / "hub"), "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(place / "cache")}
    # The checkout that is being tested, whichever is installed.
    return {**os.environ, **hub, "PYTHONPATH": str(Path(__file__).parents[3])}


def _finished(staging: Path) -> dict[str, int]:
    """Files of weights that are on record as finished, and their inodes."""
    records = staging.glob("*.finished.json")
    names = [record.name.removesuffix(".finished.json") for record in records]
    return {name: (staging / name).stat().st_ino for name in names}


def _until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "too quick to be caught"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _only_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("Error: ")
    return line


def _random(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}


def _make_model(folder: Path, tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 14}')
    (folder / "tokenizer.json").write_text(json.dumps({"of": folder.name}))


def _make_adapter(folder: Path, base: str, module: str) -> None:
    """It adds 4 to all of the module's weight, of shape (8, 4): rank 2, scaling 2."""
    folder.mkdir()
    prefix = f"base_model.model.{module}"
    factors = {f"{prefix}.lora_A.weight": torch.ones(2, 4), f"{prefix}.lora_B.weight": torch.ones(8, 2)}
    save_file(factors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(config))
