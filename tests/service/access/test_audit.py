"""The audit log: what is in it, what must never be, and how it stays small."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from clients.cli import app as program
from service.access.audit import AuditLog
from service.app import create_app
from service.contracts.access import SCOPES, AuditEntry
from service.settings import Settings
from tests.builders.api_keys import bearer
from tests.service.routes.conftest import MODELS, Gateway, gateway

__all__ = ["gateway"]

_RECIPE = {"merge_method": "linear", "models": [{"model": name} for name in ("safety", "general")]}
_VIRTUAL = {**_RECIPE, "materialize": False, "parameters": {"weight": 1}}


def lines(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "audit.jsonl").read_text().splitlines()]


def test_it_says_who_changed_what_and_never_what_was_said(gateway: Gateway) -> None:
    client, data = gateway.client, gateway.settings.data
    made = client.post("/merges", json=_VIRTUAL, headers={"X-Request-ID": "r-1"})
    assert made.status_code == 200, made.text
    queued = client.post(
        "/merges?name=secret-name", json={**_VIRTUAL, "materialize": True, "dtype": "float32"}
    )
    assert queued.status_code == 202, queued.text
    assert client.patch("/models/safety", json={"notes": "for-nobody"}).status_code == 200
    assert client.delete("/aliases/wide").status_code == 204
    assert client.post("/merges", content="merge_method: [").status_code == 422
    client.get("/models")
    client.post("/generate", json={"model": "safety", "prompt": "for-nobody"})

    found = lines(data)

    job = queued.json()
    assert [(line["method"], line["path"], line["status"], line["concerns"]) for line in found] == [
        ("POST", "/merges", 200, [made.json()["id"]]),
        ("POST", "/merges", 202, [job["id"], job["model"]]),
        ("PATCH", "/models/safety", 200, [MODELS["safety"]]),
        ("DELETE", "/aliases/wide", 204, []),
        ("POST", "/merges", 422, []),
    ]
    assert found[0]["request_id"] == "r-1"
    assert {line["key_id"] for line in found} == {None}
    assert {line["address"] for line in found} == {"testclient"}
    text = (data / "audit.jsonl").read_text()
    assert "for-nobody" not in text
    assert "secret-name" not in text
    assert stat.S_IMODE((data / "audit.jsonl").stat().st_mode) == 0o600


def test_it_names_the_key_and_what_was_not_allowed(
    redis: "Redis", redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(redis_url=redis_url, data=tmp_path)
    callers = {scope: bearer(settings.keys_path, scope, [scope]) for scope in SCOPES}
    with TestClient(create_app(settings)) as client:
        for headers in [*callers.values(), {}, {"Authorization": "Bearer pm_00000000_wrong"}]:
            client.post("/store/gc", headers=headers)

    found = lines(tmp_path)
    assert [(line["key_name"], line["status"]) for line in found] == [
        ("read", 403),
        ("generate", 403),
        ("merge", 403),
        ("admin", 200),
    ]
    program(["audit", "--data", str(tmp_path), "--key", "merge", "--json"], standalone_mode=False)
    (shown,) = capsys.readouterr().out.splitlines()
    assert json.loads(shown) == found[2]


def test_full_files_are_kept_up_to_a_number_and_read_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=1000, kept=11)
    for number in range(100):
        log.write(_entry(number))
    log.close()
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"time": "2026-')

    files = [file for file in tmp_path.iterdir() if file.name.startswith("audit.jsonl")]
    assert len(files) == 12
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert all(file.stat().st_size <= 1000 for file in files if file.suffix != ".jsonl")
    program(["audit", "--data", str(tmp_path), "--last", "40", "--json"], standalone_mode=False)
    shown = capsys.readouterr()
    paths = [json.loads(line)["path"] for line in shown.out.splitlines()]
    kept = len(paths)
    assert kept > 20
    assert paths == [f"/models/{number}" for number in range(100 - kept, 100)]
    assert "not an entry" in shown.err


def _entry(number: int) -> AuditEntry:
    return AuditEntry(
        time=datetime.now(UTC),
        request_id=None,
        key_id=None,
        key_name=None,
        method="DELETE",
        path=f"/models/{number}",
        status=204,
        concerns=[],
        address=None,
    )
