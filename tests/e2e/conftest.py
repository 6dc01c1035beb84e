"""The whole service as `polymerge up` starts it, with the demo's models and a real vLLM."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from clients import Polymerge
from clients.demo.assets import BASE, EXPERTS, Assets
from clients.demo.register import register_base, register_expert
from clients.demo.steps import Step
from tests.conftest import free_port

_READY_SECONDS = 120
_STOP_SECONDS = 15


@dataclass
class Running:
    """A `polymerge up` of ours."""

    process: subprocess.Popen[bytes]
    data: Path
    api: Polymerge

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, words: str) -> psutil.Process:
        """The one descendant whose command line contains `words`."""
        found = [process for process in self.descendants() if words in " ".join(process.cmdline())]
        assert len(found) == 1, f"{words}: {found}"
        return found[0]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Started once, with base model and experts registered; its end is a test of its own."""
    running = start(tmp_path_factory.mktemp("data"))
    try:
        step = Step("register")
        register_base(running.api, running.data / "sources", Assets(), step)
        for expert in EXPERTS:
            register_expert(running.api, running.data / "sources", Assets(), expert)
        yield running
        stop(running, signal.SIGTERM)
    finally:
        running.process.kill()
        running.api.close()


def start(data: Path) -> Running:
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("polymerge")),
        "up",
        "--data",
        str(data),
        "--port",
        str(port),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    with (data / "output.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    running = Running(process, data, Polymerge(f"http://127.0.0.1:{port}"))
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        readiness = running.api.ready()
        if readiness and readiness.merge and readiness.generate:
            return running
        assert process.poll() is None, (data / "output.log").read_text()
        assert time.monotonic() < deadline, readiness
        time.sleep(0.2)


def stop(running: Running, number: signal.Signals) -> None:
    """As Ctrl-C or a service manager does it: everything is gone within 15 s, with exit code 0."""
    descendants = running.descendants()
    running.process.send_signal(number)
    code = running.process.wait(_STOP_SECONDS)
    remaining = [process for process in descendants if process.is_running()]
    assert (code, remaining) == (0, [])


__all__ = ["BASE", "Running", "service", "start", "stop"]
