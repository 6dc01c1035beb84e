"""The command line as a program, against a real gateway and merge worker."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from clients.sdk.readiness import ask
from clients.stack.ports import claim_port
from clients.stack.stack import GATEWAY, MERGE_WORKER, Stack

_PROGRAM = Path(sys.executable).with_name("polymerge")
_RECIPE = """
merge_method: linear
dtype: float32
models:
  - {model: one, parameters: {weight: 1}}
  - {model: two, parameters: {weight: 3}}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service that can merge; nothing in it can generate."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("REDIS_URL", raising=False)
        with Stack(tmp_path_factory.mktemp("up"), port=0, parts=(GATEWAY, MERGE_WORKER)) as stack:
            _until_it_merges(stack.url)
            yield stack


@pytest.fixture(scope="module")
def registered(stack: Stack) -> Stack:
    """With the models `one` and `two` imported by the program."""
    for name, value in (("one", 1.0), ("two", 5.0)):
        _make_checkpoint(stack.sources / name, value)
        done = _run(stack, "import", str(stack.sources / name), "--name", name, "--languages", "fr,hi")
        assert done.returncode == 0, done.stderr
    return stack


def test_importing_shows_the_model_and_its_labels(registered: Stack) -> None:
    listed = json.loads(_run(registered, "models", "--language", "hi", "--json").stdout)

    assert {name for model in listed for name in model["aliases"]} >= {"one", "two"}
    assert all(model["languages"] == ["fr", "hi"] for model in listed)


def test_importing_from_elsewhere_says_what_to_do_and_copies_when_asked(stack: Stack, tmp_path: Path) -> None:
    _make_checkpoint(tmp_path / "elsewhere", 2.0)

    refused = _run(stack, "import", str(tmp_path / "elsewhere"))
    copied = _run(stack, "import", str(tmp_path / "elsewhere"), "--copy", "--name", "copied")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--copy" in _only_line(refused.stderr)
    assert copied.returncode == 0, copied.stderr
    assert "copied" in copied.stdout


def test_submitting_plans_then_merges_then_finds_the_model_again(registered: Stack, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE)

    plan = json.loads(_run(registered, "submit", str(recipe), "--dry-run", "--json").stdout)
    first = _run(registered, "submit", str(recipe), "--name", "merged", "--json")
    again = json.loads(_run(registered, "submit", str(recipe), "--json").stdout)

    model = json.loads(first.stdout)
    assert not plan["exists"]
    assert plan["model"] == model["id"] == again["id"]
    assert again["aliases"] == ["merged"]
    assert re.search(r"^merge j_\w+ succeeded", first.stderr, re.MULTILINE)


def test_a_sweep_is_a_row_for_each_combination_and_a_virtual_model_can_be_written(
    registered: Stack, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE)
    sweep = ("--sweep", "models[0].parameters.weight=[1, 2]", "--sweep", "dtype=[bfloat16]")

    shown = _run(registered, "submit", str(recipe), "--virtual", "--name", "grid", *sweep)
    listed = json.loads(_run(registered, "submit", str(recipe), "--virtual", "--json", *sweep).stdout)
    written = json.loads(_run(registered, "materialize", "grid-2", "--json").stdout)
    refused = _run(registered, "submit", str(recipe), "--sweep", "parameters.weight=[[1], x]")

    header, first, second = shown.stdout.splitlines()
    assert header.split() == ["name", "model", "state", "models[0].parameters.weight", "dtype"]
    assert first.split() == ["grid-1", listed["items"][0]["model"], "virtual", "1", "bfloat16"]
    assert (written["id"], written["virtual"]) == (second.split()[1], False)
    assert "/sweep/parameters.weight/1" in _only_line(refused.stderr)


def test_what_a_method_has_to_say_about_tensors_is_told_and_kept(stack: Stack, tmp_path: Path) -> None:
    chance, name = numpy.random.default_rng(0), "model.layers.0.mlp.up_proj.weight"
    for role in ("origin", "tuned", "safe"):
        weights = chance.normal(size=(16, 8)).astype(numpy.float32)
        _save_checkpoint(stack.sources / role, {name: weights})
        assert _run(stack, "import", str(stack.sources / role), "--name", role).returncode == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "{merge_method: safemerge, base_model: origin, models: [{model: tuned}, {model: safe}],"
        " parameters: {threshold: 1}}"
    )

    told = _run(stack, "submit", str(recipe))
    model = json.loads(_run(stack, "submit", str(recipe), "--json").stdout)
    job = json.loads(_run(stack, "jobs", "--limit", "1", "--json").stdout)[0]

    assert list(model["remarks"]) == [name]
    assert "merged with the safe model" in model["remarks"][name]
    assert job["remarks"] == model["remarks"]
    assert f"{name}: {model['remarks'][name]}" in told.stderr.splitlines()


def test_a_job_can_be_watched_after_it_was_left_alone(registered: Stack, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE.replace("weight: 3", "weight: 4"))
    job = _run(registered, "submit", str(recipe), "--no-wait").stdout.strip()

    watched = _run(registered, "watch", job, "--json")

    events = [json.loads(line) for line in watched.stdout.splitlines()]
    states = [event["data"]["state"] for event in events if event["type"] == "state"]
    assert watched.returncode == 0, watched.stderr
    assert states == ["queued", "running", "succeeded"]
    assert job in [item["id"] for item in json.loads(_run(registered, "jobs", "--json").stdout)]


def test_people_watch_a_bar(registered: Stack, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE.replace("weight: 3", "weight: 6"))
    job = _run(registered, "submit", str(recipe), "--no-wait").stdout.strip()
    terminal, inner = pty.openpty()
    environment = os.environ | {"POLYMERGE_URL": registered.url, "TERM": "xterm", "COLUMNS": "160"}

    with subprocess.Popen([_PROGRAM, "watch", job], stdout=subprocess.DEVNULL, stderr=inner, env=environment):
        os.close(inner)
        shown = _all_of(terminal)

    assert f"merge {job} succeeded" in shown
    assert "━" in shown
    assert "256/256 bytes" in shown


def _all_of(terminal: int) -> str:
    """What is written to it, until nobody has it open any more, without colours and cursor moves."""
    written = b""
    # Linux says so with an error.
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            written += piece
    os.close(terminal)
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode())


def test_a_key_makes_submitting_safe_to_repeat_and_jobs_are_listed_by_what_they_are(
    registered: Stack, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE.replace("weight: 3", "weight: 5"))
    once = ("submit", str(recipe), "--name", "once", "--timeout", "60", "--idempotency-key", "k", "--no-wait")

    job = _run(registered, *once).stdout.strip()
    watched = _run(registered, "watch", job)
    again = _run(registered, *once).stdout.strip()

    def listed(*chosen: str) -> list[str]:
        return [item["id"] for item in json.loads(_run(registered, "jobs", "--json", *chosen).stdout)]

    assert watched.returncode == 0, watched.stderr
    assert again == job
    assert listed("--name", "once", "--state", "succeeded", "--kind", "merge") == [job]
    assert listed("--name", "once", "--state", "failed") == []
    assert listed("--since", "2999-01-01") == []
    assert f"{job} succeeded" in _run(registered, "log", job).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["submit", "missing.yaml"], "missing.yaml: No such file"),
        (["submit", "bad.yaml"], "/merge_method"),
        (["import", "not-there"], "there is no 'not-there'"),
        (["generate", "--model", "nobody", "Hello"], "no model 'nobody'"),
        (["watch", "j_0000000000000000"], "no job"),
        (["cancel", "j_0000000000000000"], "no job"),
    ],
)
def test_what_the_service_refuses_is_one_line_and_exit_code_1(
    stack: Stack, tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "bad.yaml").write_text("merge_method: sluerp\nmodels: [{model: a}]\n")

    done = _run(stack, *arguments, folder=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert told in _only_line(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "Hello"],
        ["generate", "--model", "m", "--stream", "one", "two"],
        ["generate", "--model", "m", " "],
        ["import", "x", "--name", "Not An Alias"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_code_2(stack: Stack, arguments: list[str]) -> None:
    done = _run(stack, *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    # The discard port, which nothing of today listens on.
    done = _program(["models", "--url", "http://127.0.0.1:9"], tmp_path, {})

    assert done.returncode == 1
    assert "nobody answers at http://127.0.0.1:9" in _only_line(done.stderr)


def test_gateway_and_merge_worker_run_as_parts_of_their_own(tmp_path: Path, redis_url: str) -> None:
    port = claim_port("127.0.0.1", 0)
    shared = ["--data", str(tmp_path), "--redis", redis_url]
    gateway = subprocess.Popen([_PROGRAM, "serve", "--port", str(port), *shared])
    worker = subprocess.Popen([_PROGRAM, "worker", "merge", *shared])
    try:
        _until_it_merges(f"http://127.0.0.1:{port}")
    finally:
        for part in (gateway, worker):
            part.terminate()
        for part in (gateway, worker):
            part.wait(30)


def test_methods_and_languages_are_listed_for_people_and_for_programs(stack: Stack) -> None:
    tags = [item["tag"] for item in json.loads(_run(stack, "languages", "--json").stdout)]
    names = [item["name"] for item in json.loads(_run(stack, "methods", "--json").stdout)]

    assert {"ar", "en", "es", "fr", "hi", "ru"} <= set(tags)
    assert {"linear", "slerp", "ties", "dare_ties"} <= set(names)
    table = _run(stack, "methods").stdout
    assert all(name in table for name in names)


def _until_it_merges(url: str) -> None:
    deadline = time.monotonic() + 120
    while not ((readiness := ask(url)) and readiness.merge):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _run(stack: Stack, *arguments: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {"POLYMERGE_URL": stack.url, "POLYMERGE_DATA": str(stack.data)}
    return _program([*arguments], folder or stack.data, environment)


def _program(
    arguments: list[str], folder: Path, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [_PROGRAM, *arguments], capture_output=True, text=True, cwd=folder, env={**os.environ, **environment}
    )


def _only_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("Error: ")
    return line


def _make_checkpoint(folder: Path, value: float) -> None:
    _save_checkpoint(folder, {"model.norm.weight": numpy.full((64,), value, numpy.float32)})


def _save_checkpoint(folder: Path, tensors: dict[str, NDArray[numpy.float32]]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    save_file(tensors, folder / "model.safetensors")
