"""A request's id and its line in the log, through gateway, queue, worker and the servers that are asked."""

import json
import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from service.app import create_app
from service.settings import Settings
from service.telemetry.logs import JsonLine
from tests.builders.gateway_process import running_gateway
from tests.builders.merge_site import MergeSite, until
from tests.service.answering.test_judges import judges_file

ROUTE = "/v1/chat/completions"
SECRET = "sk-do-not-tell"
PROMPT = "A secret of the client's"
CHAT = {"model": "judge/strict@fr", "messages": [{"role": "user", "content": PROMPT}]}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MergeSite]:
    site = MergeSite(tmp_path)
    yield site
    site.close()


def read(capfd: pytest.CaptureFixture[str], words: str, count: int) -> str:
    """What is written from now on, until so many lines have these words."""
    log = ""

    def complete() -> bool:
        nonlocal log
        log += capfd.readouterr().err
        return sum(words in line for line in log.splitlines(keepends=True) if line.endswith("\n")) >= count

    until(complete)
    return log


def lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]


def test_every_answer_names_its_request(redis: "Redis", redis_url: str, tmp_path: Path) -> None:
    with (
        running_gateway(redis_url, tmp_path) as (_, url),
        httpx2.Client(base_url=url, trust_env=False) as client,
    ):

        def answered(sent: str, path: str = "/models") -> str:
            return client.get(path, headers={"X-Request-ID": sent}).headers["x-request-id"]

        assert answered("7d1f-A_b.c") == "7d1f-A_b.c"
        assert answered("7d1f", "/no/such/route") == "7d1f"
        assert answered("7d1f", "/models/nobody") == "7d1f"
        made = [answered(unusable) for unusable in ("", "x" * 65, "a b", "a/b", 'x"}', "../x")]
        assert len({*made, client.get("/models").headers["x-request-id"]}) == 7
        assert all(len(one) == 16 for one in made)


def test_each_request_has_one_line_and_the_server_that_is_asked_knows_its_id(
    redis: "Redis", redis_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server is another gateway, which has no such model."""
    with running_gateway(redis_url, tmp_path, POLYMERGE_LOG="json") as (_, elsewhere):
        judges = judges_file(tmp_path, url=f"{elsewhere}/v1", key_env="STRICT_KEY")
        settings = {"POLYMERGE_JUDGES": str(judges), "STRICT_KEY": SECRET, "POLYMERGE_LOG": "json"}
        with running_gateway(redis_url, tmp_path, **settings) as (_, url):
            capfd.readouterr()
            with httpx2.Client(base_url=url, trust_env=False) as client:
                answer = client.post(ROUTE, json=CHAT, headers={"X-Request-ID": "abc"})
                assert answer.status_code == 502
                assert client.get(f"/secret/{SECRET}").status_code == 404
                assert client.get("/healthz").status_code == 200
            log = read(capfd, "polymerge.requests", 3)

    requests = {(line["status"], line["route"]): line for line in lines(log)}
    assert requests.keys() == {(404, ROUTE), (502, ROUTE), (404, "(no route)")}
    assert requests[404, ROUTE]["request_id"] == "abc"
    ours = requests[502, ROUTE]
    assert ours.pop("ms") > 0
    assert ours.pop("time")
    assert ours == {
        "level": "INFO",
        "logger": "polymerge.requests",
        "message": "request",
        "method": "POST",
        "route": ROUTE,
        "status": 502,
        "model": "judge/strict",
        "language": "fr",
        "request_id": "abc",
    }
    assert PROMPT not in log
    assert SECRET not in log


def test_a_job_carries_the_id_of_its_request_into_the_worker_s_log(
    site: MergeSite, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = {"merge_method": "linear", "models": [{"model": "quick-1", "parameters": {"weight": 0.5}}]}
    with running_gateway(site.redis.url, site.data, POLYMERGE_LOG="json") as (_, url):
        headers = {"X-Request-ID": "merge-17"}
        job = httpx2.post(f"{url}/merges", json=recipe, headers=headers, trust_env=False).json()
        capfd.readouterr()
        site.start_worker(POLYMERGE_LOG="json")
        assert site.finished(site.jobs.get(job["id"])).state == "succeeded"

    assert job["request_id"] == "merge-17"
    begins, ends = [line for line in lines(read(capfd, job["id"], 2)) if job["id"] in line["message"]]
    assert begins["request_id"] == ends["request_id"] == "merge-17"


def test_a_request_that_broke_the_gateway_is_found_in_the_log_by_its_id(
    redis_url: str, tmp_path: Path
) -> None:
    def broken() -> None:
        raise RuntimeError("nobody has thought of this")

    app = create_app(Settings(redis_url=redis_url, data=tmp_path))
    app.add_api_route("/broken", broken)
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLine())
    logger = logging.getLogger("polymerge.gateway")
    logger.addHandler(handler)
    try:
        with TestClient(app) as client:
            answer = client.get("/broken", headers={"X-Request-ID": "abc"})
    finally:
        logger.removeHandler(handler)

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "abc")
    assert "nobody has thought of this" not in answer.text
    (error,) = lines(written.getvalue())
    assert (error["level"], error["request_id"]) == ("ERROR", "abc")
    assert "nobody has thought of this" in error["exception"]
