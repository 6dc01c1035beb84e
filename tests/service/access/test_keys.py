"""Keys as an operator knows them: made and revoked while the gateway runs, and never open by mistake."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from clients.keys import KeysError, create_key, read_keys, revoke_key
from clients.stack.stack import GATEWAY, Stack
from clients.stack.start_error import StartError
from service.access.key_ring import BadKeyFile
from service.app import create_app
from service.settings import Settings
from tests.builders.api_keys import bearer


def ask(settings: Settings, headers: dict[str, str]) -> int:
    """The status of a request that a client with these headers may or may not make."""
    with TestClient(create_app(settings)) as client:
        return client.get("/models", headers=headers).status_code


def until(status: int, asking: Callable[[], int]) -> None:
    deadline = time.monotonic() + 30
    while asking() != status:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_gateway_that_runs_takes_up_keys_and_never_opens_again(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_url, data=tmp_path)
    file = settings.keys_path
    with TestClient(create_app(settings)) as client:
        assert client.get("/models").status_code == 200

        me = bearer(file, "me", ["read"])
        until(401, lambda: client.get("/models").status_code)
        assert client.get("/models", headers=me).status_code == 200

        file.write_text("{")
        time.sleep(1.1)
        assert client.get("/models", headers=me).status_code == 200
        assert client.get("/models").status_code == 401

        file.unlink()
        until(401, lambda: client.get("/models", headers=me).status_code)

        again = bearer(file, "me", ["read"])
        until(200, lambda: client.get("/models", headers=again).status_code)
        revoke_key(file, "me")
        until(401, lambda: client.get("/models", headers=again).status_code)


@pytest.mark.parametrize(
    ("host", "auth", "with_keys", "status"),
    [
        ("127.0.0.1", "auto", False, 200),
        ("127.8.8.8", "auto", False, 200),
        ("::1", "auto", False, 200),
        ("localhost", "auto", False, 200),
        ("127.0.0.1", "auto", True, 401),
        ("0.0.0.0", "auto", False, 401),
        ("::", "auto", False, 401),
        ("10.0.0.1", "auto", False, 401),
        ("localhost.example.org", "auto", False, 401),
        ("127.0.0.1", "on", False, 401),
        ("0.0.0.0", "off", True, 200),
    ],
)
def test_who_needs_a_key(
    redis_url: str, tmp_path: Path, host: str, auth: Any, with_keys: bool, status: int
) -> None:
    settings = Settings(redis_url=redis_url, data=tmp_path, host=host, auth=auth)
    if with_keys:
        create_key(settings.keys_path, "me", ["read"])
    assert ask(settings, {}) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 422),
        ("http://localhost:3000", 422),
        ("http://[::1]:8000", 422),
        ("https://example.org", 403),
        ("http://localhost.example.org:8000", 403),
        ("http://[", 403),
        ("null", 403),
    ],
)
def test_a_page_from_elsewhere_may_not_use_a_gateway_without_keys(
    redis_url: str, tmp_path: Path, origin: str, status: int
) -> None:
    # A browser sends this from any page, without asking the gateway first.
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    with TestClient(create_app(Settings(redis_url=redis_url, data=tmp_path))) as client:
        assert client.post("/merges", content="merge_method: [", headers=headers).status_code == status
    # With a key the page can't ask, and something else may guard the gateway.
    guarded = Settings(redis_url=redis_url, data=tmp_path, auth="off")
    with TestClient(create_app(guarded)) as client:
        assert client.post("/merges", content="merge_method: [", headers=headers).status_code == 422


def test_keys_may_come_from_a_file_that_is_mounted(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "secret" / "keys.json"
    headers = bearer(file, "me", ["read"])
    file.chmod(0o444)
    file.parent.chmod(0o555)
    settings = Settings(redis_url=redis_url, data=tmp_path, keys_file=file)

    assert (ask(settings, headers), ask(settings, {})) == (200, 401)


def test_the_gateway_does_not_listen_beyond_loopback_without_a_key(redis_url: str, tmp_path: Path) -> None:
    create_key(tmp_path / "keys.json", "gone", ["admin"])
    revoke_key(tmp_path / "keys.json", "gone")
    environment = os.environ | {
        "POLYMERGE_HOST": "0.0.0.0",
        "POLYMERGE_PORT": "0",
        "POLYMERGE_DATA": str(tmp_path),
        "REDIS_URL": redis_url,
    }

    done = subprocess.run(
        [sys.executable, "-m", "service"], env=environment, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == os.EX_CONFIG
    assert f"{tmp_path}/keys.json has none that is valid" in done.stderr
    assert "polymerge keys create" in done.stderr


def test_a_stack_that_can_never_start_says_why_at_once(redis_url: str, tmp_path: Path) -> None:
    stack = Stack(tmp_path, host="0.0.0.0", port=0, parts=[GATEWAY], report=lambda _: None)
    try:
        stack.start()
        with pytest.raises(StartError, match=r"gateway: requests to 0\.0\.0\.0 need an API key"):
            stack.wait_ready(60)
    finally:
        stack.stop()


def test_a_file_that_is_none_of_ours_stops_the_start_without_being_quoted(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    settings.keys_path.write_text('{"keys": [{"id": "pm_secret"}]}')
    with pytest.raises(BadKeyFile, match=r"keys.json: /keys/0/id: ") as caught:
        create_app(settings)
    assert "pm_secret" not in str(caught.value)


def test_the_file_holds_no_secret_and_is_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    _, secret = create_key(file, "me", ["read"])
    assert secret.split("_", 2)[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_name_is_one_valid_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    first, _ = create_key(file, "me", ["read"])
    with pytest.raises(KeysError, match="there is a key 'me' already"):
        create_key(file, "me", ["admin"])
    revoke_key(file, "me")
    second, _ = create_key(file, "me", ["read"])

    assert [key.id for key in read_keys(file)] == [first.id, second.id]
    assert revoke_key(file, "me").id == second.id
    with pytest.raises(KeysError, match="no key 'me'"):
        revoke_key(file, "me")
