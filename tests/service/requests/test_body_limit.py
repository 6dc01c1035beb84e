"""No body is larger than the setting allows, whether or not it says so beforehand."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from tests.builders.gateway_process import running_gateway

LIMIT = 4096


@pytest.fixture(scope="module")
def url(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    Redis.from_url(redis_url).flushdb()
    data: Path = tmp_path_factory.mktemp("data")
    with running_gateway(redis_url, data, POLYMERGE_MAX_BODY_BYTES=str(LIMIT)) as (_, url):
        yield url


def _pieces(size: int) -> Iterator[bytes]:
    """Sent without a length."""
    for _ in range(size // 1024):
        yield b" " * 1024


@pytest.mark.parametrize("path", ["/generate", "/models", "/merges", "/v1/completions", "/models/x/tokenize"])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_larger_is_413(url: str, path: str, chunked: bool) -> None:
    for size, refused in ((LIMIT, False), (2 * LIMIT, True)):
        content = _pieces(size) if chunked else b" " * size
        answer = httpx2.post(url + path, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code == 413) == refused, answer.text
        if not refused:
            continue
        if "v1" in path or "tokenize" in path:
            assert answer.json()["error"]["code"] == "too-large"
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "too-large"
        assert str(LIMIT) in answer.text
