"""`python -m service` as a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.builders.free_port import free_port


@contextmanager
def running_gateway(
    redis_url: str, data: Path, **settings: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address. `settings` are environment variables."""
    port = free_port()
    environment = os.environ | {
        "REDIS_URL": redis_url,
        "POLYMERGE_DATA": str(data),
        "POLYMERGE_PORT": str(port),
        **settings,
    }
    with subprocess.Popen([sys.executable, "-m", "service"], env=environment) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _await_answer(url)
            yield process, url
        finally:
            process.kill()


def _await_answer(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx2.get(f"{url}/healthz", trust_env=False)
            return
        except httpx2.ConnectError:
            time.sleep(0.05)
    raise AssertionError("the gateway did not start")
