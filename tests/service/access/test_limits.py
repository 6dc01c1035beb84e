"""What a key may ask, over all gateways and at a time."""

import asyncio
import time
from pathlib import Path

import httpx2
from fastapi.testclient import TestClient
from redis import Redis

from service.access.rates import Rates, Taken
from service.app import create_app
from service.connection import connect_async
from service.jobs.queue import JobQueue
from service.settings import Settings
from tests.builders.api_keys import bearer
from tests.builders.gateway_process import running_gateway


def test_gateways_count_a_keys_minute_together(redis: "Redis", redis_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_url, data=tmp_path)
    limited = bearer(settings.keys_path, "limited", ["read"], requests_per_minute=4)
    other = bearer(settings.keys_path, "other", ["read"])
    with TestClient(create_app(settings)) as first, TestClient(create_app(settings)) as second:
        granted = [client.get("/models", headers=limited) for client in (first, second, first, second)]
        refused = first.get("/models", headers=limited)
        openai = second.get("/v1/models", headers=limited)
        others = [first.get("/models", headers=other) for _ in range(8)]
        assert first.get("/healthz", headers=limited).status_code == 200

    assert [answer.status_code for answer in granted] == [200] * 4
    assert granted[0].headers["ratelimit-policy"] == '"minute";q=4;w=60'
    assert granted[0].headers["ratelimit"] == '"minute";r=3'
    assert refused.status_code == 429
    assert refused.json()["type"] == "rate-limited"
    assert 0 < int(refused.headers["retry-after"]) <= 15
    assert openai.json()["error"]["code"] == "rate_limit_exceeded"
    assert {answer.status_code for answer in others} == {200}
    assert "ratelimit" not in others[0].headers
    assert all(redis.ttl(name) > 0 for name in redis.scan_iter("polymerge:rate:*"))


def test_a_bucket_empties_at_once_and_fills_as_it_says(redis: "Redis", redis_url: str) -> None:
    async def drain() -> tuple[int, Taken, Taken]:
        connection = connect_async(redis_url)
        rates = Rates(connection)
        granted = 0
        while not (refused := await rates.take("key", 120)).wait_ms:
            granted += 1
        await asyncio.sleep(refused.wait_ms / 1000)
        after = await rates.take("key", 120)
        await connection.aclose()
        return granted, refused, after

    granted, refused, after = asyncio.run(drain())

    assert granted >= 120
    assert 0 < refused.wait_ms <= 500
    assert after.wait_ms == 0


def test_a_stream_counts_until_it_ends(redis: "Redis", redis_url: str, tmp_path: Path) -> None:
    limited = bearer(tmp_path / "keys.json", "limited", ["read"], concurrent_requests=1)
    job = JobQueue(redis).submit("merge", {})
    with (
        running_gateway(redis_url, tmp_path) as (_, url),
        httpx2.Client(base_url=url, headers=limited, trust_env=False) as client,
    ):
        following = {"accept": "text/event-stream"}
        with client.stream("GET", f"/jobs/{job.id}/events", headers=following) as stream:
            assert stream.status_code == 200
            refused = client.get("/models")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        deadline = time.monotonic() + 30
        while client.get("/models").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
