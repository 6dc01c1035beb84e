"""POST /models over the real application: a good source is queued, a bad one is a 422 and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from service.app import create_app
from service.jobs.queue import JobQueue
from service.models.registry import Registry
from service.models.store import Store
from service.settings import Settings

from .build import BASE, LORA, adapter, checkpoint, gguf, manifest


@pytest.fixture
def client(redis: "Redis", redis_url: str, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(redis_url=redis_url, data=tmp_path / "data", sources=tmp_path / "sources")
    store = Store(settings.store_root)
    base = manifest(BASE)
    store.commit(store.stage("j_0123456789abcdef"), base)
    with TestClient(create_app(settings)) as client:
        Registry(store, redis).set_alias("base", base.id)
        yield client


def test_each_kind_of_source_is_queued(client: TestClient, tmp_path: Path, redis: "Redis") -> None:
    checkpoint(tmp_path / "sources" / "model")
    adapter(tmp_path / "sources" / "lora")
    gguf(tmp_path / "sources" / "m.gguf")
    for body in (
        {"source": {"folder": "model"}},
        {"source": {"gguf": "m.gguf"}},
        {"source": {"adapter": "lora"}, "base": "base"},
    ):
        answer = client.post("/models", json=body)
        assert answer.status_code == 202
        assert answer.json()["state"] == "queued"
    jobs, _ = JobQueue(redis).page(lambda job: job.kind == "import", None, 10)
    assert [job.request["base"] for job in jobs] == [manifest(BASE).id, None, None]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"source": {"folder": "pickled"}}, "/source/folder"),
        ({"source": {"folder": "absent"}}, "/source/folder"),
        ({"source": {"folder": "x/../../data"}}, "/source/folder"),
        ({"source": {"folder": "../data"}}, "/source/folder"),
        ({"source": {"gguf": "pickled/pytorch_model.bin"}}, "/source/gguf"),
        ({"source": {"adapter": "misfit"}, "base": "base"}, "/source/adapter"),
        ({"source": {"adapter": "misfit"}, "base": "nobody"}, "/base"),
        ({"source": {"adapter": "misfit"}}, ""),
        ({"source": {"folder": "good"}, "base": "base"}, ""),
        ({"source": {"folder": "good", "gguf": "m.gguf"}}, "/source"),
        ({"source": {"folder": "good"}, "languages": ["not a tag"]}, "/languages/0"),
        ({"source": {"folder": "good"}, "trust_remote_code": True}, "/trust_remote_code"),
    ],
)
def test_what_cannot_work_is_refused_and_not_queued(
    client: TestClient, tmp_path: Path, redis: "Redis", body: dict[str, Any], pointer: str
) -> None:
    sources = tmp_path / "sources"
    checkpoint(sources / "good")
    (checkpoint(sources / "pickled") / "model.safetensors").rename(sources / "pickled" / "pytorch_model.bin")
    adapter(sources / "misfit", LORA | {"r": 3})
    answer = client.post("/models", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [problem["pointer"] for problem in answer.json()["errors"]] == [pointer]
    assert JobQueue(redis).page(lambda job: job.kind == "import", None, 10) == ([], None)
    assert len(client.get("/models").json()["items"]) == 1
