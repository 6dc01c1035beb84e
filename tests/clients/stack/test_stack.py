"""Starting, restarting and ending the processes of a stack: real ones, with children that try to get away."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from redis import Redis

from clients.stack.stack import Stack
from clients.stack.start_error import StartError
from tests.clients.stack.run_stack import TEMPERS, make_part, note

GONE_SECONDS = 15.0
"""In which everything that a stack started has to be gone."""


@dataclass(frozen=True)
class StandIn:
    pids: list[int]
    redis: str


@pytest.fixture(autouse=True)
def _no_redis_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A stack that is up, in a process of its own; its stand-ins write about themselves into tmp_path."""
    script = str(Path(__file__).with_name("run_stack.py"))
    process = subprocess.Popen([sys.executable, script, str(tmp_path)])
    yield process
    process.kill()
    process.wait()
    for temper in TEMPERS:
        with suppress(FileNotFoundError):
            _end(StandIn(**json.loads(note(tmp_path, temper).read_text())).pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_every_process(
    supervisor: "subprocess.Popen[bytes]", tmp_path: Path, number: signal.Signals
) -> None:
    processes = _all_processes(supervisor, tmp_path)

    supervisor.send_signal(number)

    assert supervisor.wait(GONE_SECONDS) == 0
    assert not _alive(processes)


def test_a_second_signal_does_not_wait_for_stubborn_parts(
    supervisor: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    processes = _all_processes(supervisor, tmp_path)
    gentle = _read(tmp_path, "gentle").pids[:1]

    supervisor.send_signal(signal.SIGINT)
    _until(lambda: not _alive(gentle))
    supervisor.send_signal(signal.SIGINT)

    assert supervisor.wait(GONE_SECONDS) == 0
    assert not _alive(processes)


def test_nothing_outlives_a_killed_supervisor(supervisor: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    processes = _all_processes(supervisor, tmp_path)

    supervisor.kill()

    _until(lambda: not _alive(processes))


def test_a_folder_in_use_is_refused_and_free_again_after_a_kill(
    supervisor: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    _all_processes(supervisor, tmp_path)
    second = Stack(tmp_path, port=0, parts=())

    with pytest.raises(StartError, match=rf"in use by another `polymerge up` \(pid {supervisor.pid}\)"):
        second.start()
    supervisor.kill()
    supervisor.wait()

    with second:
        assert set(second.pids()) <= {"redis"}


def test_a_killed_part_is_restarted_and_its_children_are_ended(tmp_path: Path) -> None:
    news: list[str] = []
    parts = [make_part(tmp_path, temper) for temper in TEMPERS]
    with Stack(tmp_path, port=0, parts=parts, report=news.append) as stack:
        bystander = _read(tmp_path, "gentle")
        first = _read(tmp_path, "stubborn")
        note(tmp_path, "stubborn").unlink()

        os.kill(first.pids[0], signal.SIGKILL)

        second = _read(tmp_path, "stubborn")
        assert stack.pids()["stubborn"] == second.pids[0] != first.pids[0]
        _until(lambda: "stubborn died (signal 9); restarted" in news)
        _until(lambda: not _alive(first.pids))
        assert _alive(bystander.pids) == bystander.pids
    assert "stubborn died (signal 9); restarted" in (stack.logs / "up.log").read_text()
    assert not _alive(second.pids)


def test_redis_survives_a_kill_and_keeps_its_data_between_runs(tmp_path: Path) -> None:
    with Stack(tmp_path, port=0, parts=[make_part(tmp_path, "gentle")]) as stack:
        url = _read(tmp_path, "gentle").redis
        Redis.from_url(url).set("job", "done")

        os.kill(stack.pids()["redis"], signal.SIGKILL)

        _until(lambda: _value(url) == b"done")
        note(tmp_path, "gentle").unlink()
    with Stack(tmp_path, port=0, parts=[make_part(tmp_path, "gentle")]):
        assert _value(_read(tmp_path, "gentle").redis) == b"done"


def test_redis_asks_for_a_password_that_no_process_list_shows(tmp_path: Path) -> None:
    with Stack(tmp_path, port=0, parts=[make_part(tmp_path, "gentle")]) as stack:
        url = _read(tmp_path, "gentle").redis
        server = psutil.Process(stack.pids()["redis"])
        password, _, address = url.removeprefix("redis://:").partition("@")

        assert _value(f"redis://{address}") is None
        assert password not in " ".join(server.cmdline())


def test_a_redis_of_the_users_is_used_instead_of_an_own(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    with Stack(tmp_path, port=0, parts=[make_part(tmp_path, "gentle")]) as stack:
        assert _read(tmp_path, "gentle").redis == redis_url
        assert "redis" not in stack.pids()


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stack = Stack(tmp_path, port=taken.getsockname()[1], parts=[make_part(tmp_path, "gentle")])
        with pytest.raises(StartError, match=r"is taken: choose another with --port"):
            stack.start()
        assert stack.pids() == {}


def _all_processes(supervisor: "subprocess.Popen[bytes]", data: Path) -> list[int]:
    """Once they are all there: stand-ins, their descendants, Redis and the guardian."""
    own = [pid for temper in TEMPERS for pid in _read(data, temper).pids]
    started = [process.pid for process in psutil.Process(supervisor.pid).children(recursive=True)]
    assert len(started) == len(own) + 2
    assert set(own) < set(started)
    return started


def _read(data: Path, temper: str) -> StandIn:
    path = note(data, temper)
    _until(path.exists)
    return StandIn(**json.loads(path.read_text()))


def _alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def _value(url: str) -> bytes | None:
    try:
        value = Redis.from_url(url).get("job")
    except Exception:
        return None
    assert value is None or isinstance(value, bytes)
    return value


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _end(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
