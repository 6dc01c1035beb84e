"""What the service says of itself, and that it says so with Redis away."""

from pathlib import Path

from fastapi.testclient import TestClient

from service.app import create_app
from service.readiness import announce_merge_worker, announce_serve_worker, withdraw_merge_worker
from service.settings import Settings
from tests.builders.redis_server import RedisServer

from .conftest import Gateway, assert_problem


def test_the_service_is_ready_once_it_can_merge_and_generate(gateway: Gateway) -> None:
    assert gateway.client.get("/healthz").json() == {"status": "ok"}
    answer = gateway.client.get("/readyz")
    assert (answer.status_code, answer.json()["merge"], answer.json()["generate"]) == (503, False, False)
    assert len(answer.json()["detail"]) == 2

    announce_merge_worker(gateway.redis, "w1")
    announce_serve_worker(gateway.redis, "w2")
    answer = gateway.client.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (200, [])

    withdraw_merge_worker(gateway.redis, "w1")
    answer = gateway.client.get("/readyz")
    assert (answer.status_code, answer.json()["merge"], answer.json()["generate"]) == (503, False, True)


def test_a_worker_is_gone_with_its_last_announcement(gateway: Gateway) -> None:
    announce_merge_worker(gateway.redis, "w1")
    for key in gateway.redis.keys("polymerge:alive:*"):
        assert gateway.redis.ttl(key) > 0
        gateway.redis.zadd(key, {"w1": 1.0})

    assert gateway.client.get("/readyz").json()["merge"] is False


def test_with_redis_away_requests_get_a_503_and_with_redis_back_an_answer(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    settings = Settings(redis_url=server.url, data=tmp_path / "data")
    try:
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            server.kill()
            readiness = client.get("/readyz")
            assert (readiness.status_code, readiness.json()["redis"]) == (503, False)
            assert assert_problem(client.get("/models"), 503)["type"] == "redis-away"
            assert client.get("/healthz").status_code == 200
            server.start()
            assert client.get("/models").json()["items"] == []
    finally:
        server.kill()
