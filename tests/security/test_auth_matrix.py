"""Every operation of the OpenAPI document, asked with every kind of key."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from clients.keys import revoke_key
from service.access.authentication import OPEN_PATHS
from service.app import create_app
from service.contracts.access import SCOPES
from service.errors import is_openai
from service.settings import Settings
from tests.builders.api_keys import bearer

_DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = [
    pytest.param(method, path, operation, id=f"{method.upper()} {path}")
    for path, methods in _DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


@dataclass(frozen=True)
class Callers:
    client: TestClient
    keys: dict[str, dict[str, str]]
    """Headers by the key's only scope."""
    strangers: dict[str, dict[str, str]]
    """Headers that are worth nothing, by what is wrong with them."""


@pytest.fixture(scope="module")
def callers(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    settings = Settings(redis_url=redis_url, data=tmp_path_factory.mktemp("data"), host="0.0.0.0")
    file = settings.keys_path
    keys: dict[str, dict[str, str]] = {scope: bearer(file, scope, [scope]) for scope in SCOPES}
    secret = keys["admin"]["Authorization"].removeprefix("Bearer ")
    strangers = {
        "no key": {},
        "no scheme": {"Authorization": secret},
        "another scheme": {"Authorization": f"Basic {secret}"},
        "an empty key": {"Authorization": "Bearer "},
        "not a key": {"Authorization": "Bearer sk-0123456789"},
        "another secret": {"Authorization": f"Bearer {secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}"},
        "the hash": {"Authorization": f"Bearer {_hash_of(file, 'admin')}"},
        "expired": bearer(file, "expired", SCOPES, lifetime=timedelta(microseconds=1)),
        "revoked": bearer(file, "revoked", SCOPES),
    }
    revoke_key(file, "revoked")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield Callers(client, keys, strangers)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_each_key_gets_what_the_document_says(
    callers: Callers, method: str, path: str, operation: dict[str, Any]
) -> None:
    url = re.sub(r"{\w+}", "unknown", path)

    def ask(headers: dict[str, str]) -> Response:
        return callers.client.request(method, url, headers=headers)

    if path in OPEN_PATHS:
        assert "security" not in operation
        assert all(ask(headers).status_code != 401 for headers in callers.strangers.values())
        return
    ((needed,),) = [requirement["API key"] for requirement in operation["security"]]
    for wrong, headers in callers.strangers.items():
        _assert_refused(ask(headers), path, 401, "invalid_api_key", wrong)
    for scope, headers in callers.keys.items():
        answer = ask(headers)
        if scope in (needed, "admin"):
            assert answer.status_code not in (401, 403), (scope, answer.text)
        else:
            _assert_refused(answer, path, 403, "insufficient_scope", scope)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_a_key_that_reads_changes_nothing(method: str, path: str, operation: dict[str, Any]) -> None:
    if path not in OPEN_PATHS and method != "get":
        assert operation["security"] != [{"API key": ["read"]}]


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/healthz/", "//healthz", "/healthz/../models", "/metrics"]
)
def test_what_is_no_operation_is_closed_too(callers: Callers, path: str) -> None:
    assert callers.client.get(path, follow_redirects=False).status_code == 401


def _assert_refused(answer: Response, path: str, status: int, code: str, whose: str) -> None:
    assert answer.status_code == status, (whose, answer.text)
    assert answer.headers["www-authenticate"].startswith('Bearer realm="polymerge"')
    if is_openai(path):
        assert answer.json()["error"]["code"] == code
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


def _hash_of(file: Path, name: str) -> str:
    found = re.search(rf'"name": "{name}",\s+"sha256": "(\w+)"', file.read_text())
    assert found
    return found[1]
