"""The whole service as `polymerge up` starts it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from clients import Polymerge
from tests.builders.free_port import free_port

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
