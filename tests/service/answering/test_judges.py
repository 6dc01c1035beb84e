"""Judges elsewhere: which may be configured, and that their keys never come out."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest
from pydantic import ValidationError
from redis import Redis

from service.answering.judges import read_judges
from tests.builders.gateway_process import running_gateway

SECRET = "sk-do-not-tell"
CHAT = {"model": "judge/strict", "messages": [{"role": "user", "content": "Is this safe?"}]}


def judges_file(folder: Path, **fields: str) -> Path:
    judge = {"name": "strict", "url": "https://judge.example/v1", "model": "guard", **fields}
    path = folder / "judges.yaml"
    path.write_text("- " + "\n  ".join(f"{name}: {value}" for name, value in judge.items()))
    return path


@contextmanager
def web_page() -> Iterator[str]:
    """The address of a server that answers everything with one."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html>")

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://user:password@judge.example/v1"},
        {"url": "https://judge.example/v1?key=x"},
        {"url": "https://judge.example/"},
        {"url": "file:///v1"},
        {"key_env": "sk-the-key-itself"},
        {"key": "sk-the-key-itself"},
        {"name": "../strict"},
    ],
)
def test_a_judge_that_could_leak_or_lead_elsewhere_is_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        read_judges(judges_file(tmp_path, **fields))


def test_a_judge_is_a_model_and_its_key_stays_inside(redis: "Redis", redis_url: str, tmp_path: Path) -> None:
    """The judge is another gateway, which says in its refusal what it was asked for: here, the key."""
    with running_gateway(redis_url, tmp_path) as (_, elsewhere):
        path = judges_file(tmp_path, url=f"{elsewhere}/v1", model=SECRET, key_env="STRICT_KEY")
        settings = {"POLYMERGE_JUDGES": str(path), "STRICT_KEY": SECRET}
        with (
            running_gateway(redis_url, tmp_path, **settings) as (_, url),
            httpx2.Client(base_url=url, trust_env=False) as client,
        ):
            listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
            openai = client.post("/v1/chat/completions", json=CHAT)
            own = client.post("/generate", json={"model": "judge/strict", "prompt": "Is this safe?"})
            tokens = client.post("/tokenize", json={"model": "judge/strict", "prompt": "x"})
    assert listed == ["judge/strict"]
    for answer in (openai, own):
        assert answer.status_code == 502
        assert SECRET not in answer.text
        assert "***" in answer.text
    assert tokens.status_code == 400


def test_a_judge_that_answers_with_a_web_page_has_failed(
    redis: "Redis", redis_url: str, tmp_path: Path
) -> None:
    with web_page() as elsewhere:
        path = judges_file(tmp_path, url=f"{elsewhere}/v1")
        with running_gateway(redis_url, tmp_path, POLYMERGE_JUDGES=str(path)) as (_, url):
            answer = httpx2.post(f"{url}/v1/chat/completions", json=CHAT, trust_env=False)
    assert answer.status_code == 502
    assert "no JSON object" in answer.json()["error"]["message"]


def test_without_its_key_a_judge_is_not_asked(redis: "Redis", redis_url: str, tmp_path: Path) -> None:
    path = judges_file(tmp_path, key_env="STRICT_KEY")
    with running_gateway(redis_url, tmp_path, POLYMERGE_JUDGES=str(path)) as (_, url):
        answer = httpx2.post(f"{url}/v1/chat/completions", json=CHAT, trust_env=False)
    assert answer.status_code == 503
    assert "STRICT_KEY" in answer.json()["error"]["message"]
