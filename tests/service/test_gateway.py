"""`python -m service` as a process: light, followed live, and clear when it stops."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import torch
from redis import Redis

from service.contracts.job import Progress
from service.engines import keys
from service.jobs.queue import JobQueue
from service.models.registry import Registry
from service.models.store import Store
from tests.builders.gateway_process import running_gateway
from tests.workers.serving.models import add_model

MODEL = "m_00000000000000aa"


@pytest.fixture
def gateway(redis: "Redis", redis_url: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; the store has one model."""
    store = Store(tmp_path / "store")
    Registry(store, redis).add(add_model(store, MODEL, {"w": torch.zeros(2)}))
    with running_gateway(redis_url, tmp_path) as running:
        yield running


def test_it_imports_no_model_library() -> None:
    code = "import sys, service.app; print('\\n'.join(sys.modules))"

    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    loaded = {name.partition(".")[0] for name in modules.splitlines()}
    assert {"fastapi", "redis", "rq"} <= loaded
    assert not loaded & {"torch", "vllm", "transformers", "safetensors", "gguf", "workers", "clients"}


def test_events_are_streamed_while_the_job_goes_on(
    gateway: tuple[subprocess.Popen[bytes], str], redis: "Redis"
) -> None:
    jobs = JobQueue(redis)
    job = jobs.start(jobs.submit("merge", {}, model=MODEL).id, "worker")
    url = f"{gateway[1]}/jobs/{job.id}/events"
    with httpx2.stream("GET", url, headers={"accept": "text/event-stream"}, timeout=30) as answer:
        seen = []
        for line in answer.iter_lines():
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                seen.append((event["type"], event["data"].get("state") or event["data"].get("bytes_done")))
                # Each event is made only after the one before has come through.
                if seen[-1] == ("state", "running"):
                    jobs.report(job, Progress(bytes_done=5, bytes_total=10))
                elif seen[-1] == ("progress", 5):
                    jobs.finish(job, "succeeded", model=MODEL)
    assert seen == [("state", "queued"), ("state", "running"), ("progress", 5), ("state", "succeeded")]


def test_a_request_that_still_waits_when_the_service_stops_is_told_so(
    gateway: tuple[subprocess.Popen[bytes], str], redis: "Redis"
) -> None:
    process, url = gateway

    def ask() -> httpx2.Response:
        return httpx2.post(f"{url}/generate", json={"model": MODEL, "prompt": "Hello?"}, timeout=60)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        while not redis.exists(keys.DEMAND):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        answer = asked.result()

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "stopping"
    assert int(answer.headers["retry-after"]) > 0
    process.wait(30)
