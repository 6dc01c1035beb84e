"""A gateway that is full says so, and a client that hangs up makes room."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import torch
from redis import Redis

from service.engines import keys
from service.models.registry import Registry
from service.models.store import Store
from tests.builders.gateway_process import running_gateway
from tests.workers.serving.models import add_model

MODEL = "m_00000000000000aa"
BODIES = {
    "/generate": '{"model": "%s", "prompt": "Hello?"}',
    "/v1/chat/completions": '{"model": "%s", "messages": [{"role": "user", "content": "Hello?"}]}',
    "/v1/completions": '{"model": "%s", "prompt": "Hello?", "stream": true}',
}


def test_over_the_limit_is_429_until_a_client_hangs_up(
    redis: "Redis", redis_url: str, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    Registry(store, redis).add(add_model(store, MODEL, {"w": torch.zeros(2)}))
    limits = {"POLYMERGE_MAX_REQUESTS": "1", "POLYMERGE_RETRY_AFTER_SECONDS": "7"}
    with running_gateway(redis_url, tmp_path, **limits) as (_, url), httpx2.Client(trust_env=False) as client:
        for path in BODIES:
            # No engine will ever come: the request waits for as long as its client does.
            with waiting_client(url, path):
                until(lambda: redis.exists(keys.waiting(MODEL)))
                refusal = client.post(f"{url}/v1/completions", json={"model": MODEL, "prompt": "x"})
                assert (refusal.status_code, refusal.headers["retry-after"]) == (429, "7")
                assert refusal.json()["error"]["code"] == "rate_limit_exceeded"
            # Gone with its client: what names no model that exists gets past the limit to its own refusal.
            until(lambda: client.get(f"{url}/models/nobody/tokenizer_info").status_code == 404)
            redis.delete(keys.waiting(MODEL))


@contextmanager
def waiting_client(url: str, path: str) -> Iterator[None]:
    """A request that was sent; its connection is closed at the end of the block."""
    address, body = urlsplit(url), BODIES[path] % MODEL
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        yield


def until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
