"""`polymerge keys`, and the other commands with what it made."""

import json
import os
import subprocess
import sys
from pathlib import Path

from clients import Polymerge
from tests.builders.gateway_process import running_gateway

_PROGRAM = Path(sys.executable).with_name("polymerge")


def _run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [_PROGRAM, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )


def test_a_key_is_made_used_listed_and_revoked(redis_url: str, tmp_path: Path) -> None:
    folder = {"POLYMERGE_DATA": str(tmp_path)}
    made = _run("keys", "create", "me", "--scopes", "read, merge", "--days", "2", "--at-once", "3", **folder)
    secret = made.stdout.strip()
    with running_gateway(redis_url, tmp_path) as (_, url):
        folder["POLYMERGE_URL"] = url
        assert json.loads(_run("models", "--json", POLYMERGE_API_KEY=secret, **folder).stdout) == []
        with Polymerge(url, secret) as service:
            assert service.models.page().items == []
        keyless = _run("models", **folder)
        assert keyless.returncode == 1
        assert "POLYMERGE_API_KEY" in keyless.stderr
        lacking = _run("reindex", POLYMERGE_API_KEY=secret, **folder)
        assert lacking.returncode == 1
        assert "needs the scope 'admin', and the key 'me' has merge, read" in lacking.stderr
    assert _run("keys", "revoke", "me", **folder).returncode == 0

    listed = _run("keys", "list", "--json", **folder).stdout
    (key,) = json.loads(listed)
    assert secret not in listed
    assert key["revoked_at"]
    assert key["concurrent_requests"] == 3
    assert _run("keys", "create", "x", "--scopes", "all", **folder).returncode == 2
    assert _run("keys", "revoke", "x", **folder).returncode == 1
