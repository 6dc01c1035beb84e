"""The real application over a real Redis and a real store with a few tiny models in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from rq import Queue

from service.app import create_app
from service.engines import keys
from service.jobs.queue import QUEUE, JobQueue
from service.models.registry import Registry
from service.models.store import Store
from service.settings import Settings
from tests.workers.serving.models import add_model
from workers.merge_worker import make_worker

MODELS = {
    "base": "m_00000000000000b0",
    "safety": "m_00000000000000a1",
    "general": "m_00000000000000a2",
    "wide": "m_00000000000000a3",
}
"""Alias -> id. `wide` has the tensor of the others in another shape."""


@dataclass(frozen=True)
class Gateway:
    client: TestClient
    redis: "Redis"
    settings: Settings

    @property
    def store(self) -> Store:
        return Store(self.settings.store_root)

    @property
    def registry(self) -> Registry:
        return Registry(self.store, self.redis)

    @property
    def jobs(self) -> JobQueue:
        return JobQueue(self.redis)

    @property
    def sources(self) -> Path:
        return self.settings.sources_root

    def work(self) -> None:
        """Have a worker do all that is queued."""
        make_worker(self.redis).work(burst=True, logging_level="WARNING")


@pytest.fixture
def gateway(
    redis: "Redis", redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gateway]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("POLYMERGE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("POLYMERGE_SOURCES", str(tmp_path / "sources"))
    monkeypatch.setenv("POLYMERGE_GENERATE_TIMEOUT_SECONDS", "0.2")
    settings = Settings.from_environment()
    store = Store(settings.store_root)
    registry = Registry(store, redis)
    for number, (name, ident) in enumerate(MODELS.items()):
        shape = (3, 2) if name == "wide" else (2, 3)
        tensors = {"model.layers.0.mlp.up_proj.weight": torch.full(shape, float(number))}
        registry.add(add_model(store, ident, tensors), [name])
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield Gateway(client, redis, settings)


def assert_problem(answer: Response, status: int, *pointers: str) -> dict[str, Any]:
    """Problem details with these JSON pointers; the body is returned."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"]
    assert [error["pointer"] for error in problem["errors"]] == list(pointers)
    return problem


def assert_nothing_done(gateway: Gateway) -> None:
    """Nothing is queued, recorded, asked of an engine or half-registered."""
    assert Queue(QUEUE, connection=gateway.redis, serializer="json").job_ids == []
    assert gateway.redis.keys("polymerge:job*") == []
    assert gateway.redis.keys("polymerge:making*") == []
    assert gateway.redis.exists(keys.DEMAND) == 0
    assert gateway.store.staged() == []
    assert sorted(path.name for path in (gateway.store.root / "models").iterdir()) == sorted(MODELS.values())
    assert gateway.store.annotations.aliases() == MODELS
    listed = gateway.client.get("/models").json()["items"]
    assert {model["id"]: model["aliases"] for model in listed} == {
        ident: [name] for name, ident in MODELS.items()
    }
