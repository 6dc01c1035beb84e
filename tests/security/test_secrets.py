"""API keys, passwords and tokens are in no log, no answer and no list of processes, whatever goes wrong."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from clients.keys import create_key
from clients.sdk.readiness import ask as readiness_of
from clients.stack.stack import GATEWAY, MERGE_WORKER, Stack

_JUDGE_KEY, _HUB_TOKEN = "jk-0f1e2d3c4b5a69788796", "hf_abcdefghijklmnopqrstuvwxyz01234567"
_PROGRAM = Path(sys.executable).with_name("polymerge")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stack, str]]:
    """A service that asks for keys, and the secret of one that may do everything."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    judges = tmp_path / "judges.yaml"
    # Nobody listens at port 9.
    judges.write_text("[{name: j, url: 'http://127.0.0.1:9/v1', model: guard, key_env: JUDGE_KEY}]")
    monkeypatch.setenv("POLYMERGE_JUDGES", str(judges))
    monkeypatch.setenv("JUDGE_KEY", _JUDGE_KEY)
    monkeypatch.setenv("HF_TOKEN", _HUB_TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("POLYMERGE_HUB_PUSH", "1")
    _, secret = create_key(tmp_path / "keys.json", "me", ["admin"], requests_per_minute=1000)
    with Stack(tmp_path, port=0, parts=(GATEWAY, MERGE_WORKER), report=lambda _: None) as stack:
        yield stack, secret


def test_secrets_stay_secret(stack: tuple[Stack, str]) -> None:
    running, secret = stack
    wrong = f"{secret[:-4]}0000"
    answers = []

    def ask(method: str, path: str, key: str, **more: str) -> None:
        try:
            answer = httpx2.request(
                method,
                running.url + path,
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
                trust_env=False,
                **more,  # type: ignore[arg-type]
            )
            answers.append(f"{answer.headers} {answer.text}")
        except httpx2.TransportError as error:
            answers.append(str(error))

    deadline = time.monotonic() + 120
    while not ((readiness := readiness_of(running.url)) and readiness.merge):
        running.check()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    redis_url = psutil.Process(running.pids()["gateway"]).environ()["REDIS_URL"]
    password = urlsplit(redis_url).password
    assert password
    for key in (secret, wrong):
        ask("GET", "/models", key)
        ask("POST", "/merges", key, content="merge_method: [")
        ask("POST", "/v1/completions", key, content="{")
        ask("POST", "/store/gc", key)
        ask("POST", "/v1/completions", key, content='{"model": "judge/j", "prompt": "x"}')
        ask("POST", "/generate", key, content='{"model": "judge/j", "prompt": "x"}')
        ask("GET", "/metrics", key)
        ask("GET", f"/models/{key}", key)
        ask("GET", f"/models?key={key}", key)
    printed = _command("models", "--url", running.url, POLYMERGE_API_KEY=wrong)
    assert "the API key is wrong, expired or revoked" in printed
    psutil.Process(running.pids()["redis"]).kill()
    ask("GET", "/jobs", secret)
    command_lines = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    running.stop()

    logs = [file.read_text(errors="replace") for file in running.logs.iterdir()]
    kept = [file.read_text() for file in running.data.glob("audit.jsonl*")]
    assert len(logs) >= 4
    assert kept
    # What a client writes into an address or a body comes back to it, and to nobody else.
    told = [answer for answer in answers if "no model" not in answer]
    for hidden in (secret, wrong, password, _JUDGE_KEY, _HUB_TOKEN):
        assert not [text for text in (*logs, *kept, *command_lines, *told, printed) if hidden in text]


def _command(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [_PROGRAM, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr
