"""The file of API keys: making and revoking them, on the machine that has it. The gateway reads it."""

import fcntl
import getpass
import hashlib
import os
import platform
import secrets
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from clients.told import Told
from service.contracts.access import ApiKey, KeyFile, Scope


class KeysError(Told):
    """The file can't be used, or there is no such key; the text is for people."""


def create_key(
    file: Path,
    name: str,
    scopes: Collection[Scope],
    *,
    requests_per_minute: int | None = None,
    concurrent_requests: int | None = None,
    lifetime: timedelta | None = None,
) -> tuple[ApiKey, str]:
    """The key and its secret, which is nowhere else. Raises KeysError, OSError, ValidationError."""
    now = datetime.now(UTC)
    ident = secrets.token_hex(4)
    secret = f"pm_{ident}_{secrets.token_urlsafe(32)}"
    key = ApiKey(
        id=ident,
        name=name,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        scopes=frozenset(scopes),
        requests_per_minute=requests_per_minute,
        concurrent_requests=concurrent_requests,
        created_at=now,
        created_by=_who(),
        expires_at=now + lifetime if lifetime else None,
    )
    with _changing(file) as keys:
        if any(other.name == name and other.valid(now) for other in keys):
            raise KeysError(f"there is a key '{name}' already: revoke it first, or choose another name")
        keys.append(key)
    return key, secret


def revoke_key(file: Path, which: str) -> ApiKey:
    """By id, or by the name of one that is valid. Raises KeysError, OSError."""
    now = datetime.now(UTC)
    with _changing(file) as keys:
        for place, key in enumerate(keys):
            if key.revoked_at is None and (key.id == which or (key.name == which and key.valid(now))):
                keys[place] = key.model_copy(update={"revoked_at": now, "revoked_by": _who()})
                return keys[place]
        raise KeysError(f"{file} has no key '{which}' that could be revoked")


def read_keys(file: Path) -> list[ApiKey]:
    """Revoked and expired ones too, oldest first. Raises KeysError, OSError."""
    try:
        return KeyFile.model_validate_json(file.read_bytes()).keys
    except FileNotFoundError:
        return []
    except ValidationError:
        raise KeysError(f"{file} is not a file of API keys") from None


@contextmanager
def _changing(file: Path) -> Iterator[list[ApiKey]]:
    """The keys, to be changed in place; written if nothing is raised. One process at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = read_keys(file)
        yield keys
        _write(file, KeyFile(keys=keys))
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(file: Path, content: KeyFile) -> None:
    """In one step; for its owner's eyes only."""
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".keys-")
    with os.fdopen(handle, "w") as stream:
        stream.write(content.model_dump_json(indent=1))
        stream.flush()
        os.fsync(stream.fileno())
    if os.geteuid() == 0:
        # The gateway, which has to read it, may be another user's.
        owner = (file if file.exists() else file.parent).stat()
        os.chown(temporary, owner.st_uid, owner.st_gid)
    os.replace(temporary, file)


def _who() -> str:
    return f"{getpass.getuser()}@{platform.node()}"
