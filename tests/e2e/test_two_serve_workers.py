"""Serve workers that share Redis and the store: each has an engine, and one takes over from the other."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from clients import Polymerge
from service.contracts.engine import Engine
from service.models.store import Store
from tests.builders.gateway_process import running_gateway
from tests.builders.merge_site import until
from tests.builders.tiny_llama import add_tiny_llama

pytestmark = pytest.mark.engine

MODELS = ("m_00000000000000a1", "m_00000000000000a2")


def test_requests_go_to_the_worker_that_has_the_model_and_to_the_other_when_it_dies(
    redis: "Redis", redis_url: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    for seed, model in enumerate(MODELS):
        add_tiny_llama(store, model, seed)
    with (
        serve_worker(redis_url, store, tmp_path / "one") as one,
        serve_worker(redis_url, store, tmp_path / "two") as two,
        running_gateway(redis_url, tmp_path / "gateway", POLYMERGE_STORE=str(store.root)) as (_, url),
        Polymerge(url) as api,
        ThreadPoolExecutor(2) as clients,
    ):
        workers = {process.pid: process for process in (one, two)}
        until(lambda: len(api.serving().workers) == 2)

        def ask(model: str) -> str:
            return api.generate(model, "Once upon a time", max_tokens=12).outputs[0].text

        # Asked at once, so that both are wanted before the first one's engine could take the second one.
        own = dict(zip(MODELS, clients.map(ask, MODELS), strict=True))
        assert own[MODELS[0]] != own[MODELS[1]], "the models must differ for this to be a test"
        before = engines(api)
        assert {worker_of(engine) for engine in before.values()} == workers.keys()

        for model in MODELS * 5:
            assert ask(model) == own[model]
        for name, engine in engines(api).items():
            assert (engine.pid, engine.swaps) == (before[name].pid, 0), "each model had an engine already"

        first, second = MODELS
        workers[worker_of(before[first])].send_signal(signal.SIGKILL)
        assert ask(first) == own[first]
        after = engines(api)
        assert worker_of(after[first]) == worker_of(before[second])
        assert after[first].pid == before[second].pid, "the engine was replaced instead of swapped"
        assert ask(second) == own[second]


@contextmanager
def serve_worker(redis_url: str, store: Store, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """With room for one engine."""
    environment = os.environ | {
        "REDIS_URL": redis_url,
        "POLYMERGE_DATA": str(data),
        "POLYMERGE_STORE": str(store.root),
        "POLYMERGE_SERVE_MEMORY_BYTES": str(3_500_000_000),
        "POLYMERGE_ENGINE_MEMORY_BYTES": str(128 * 1024 * 1024),
    }
    with subprocess.Popen([sys.executable, "-m", "workers.serve_worker"], env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def engines(api: Polymerge) -> dict[str | None, Engine]:
    """By model."""
    return {engine.model: engine for engine in api.engines()}


def worker_of(engine: Engine) -> int:
    return int(engine.worker.rpartition(":")[2])
