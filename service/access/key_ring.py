"""The keys of the gateway: those that the key file has now."""

import hashlib
import hmac
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from service.contracts.access import ApiKey, KeyFile
from service.contracts.problem import json_pointer

log = logging.getLogger("polymerge.gateway")

_LOOK_SECONDS = 1.0
"""How long a change of the file may go unnoticed."""

Stamp = tuple[int, int, int] | None


class BadKeyFile(Exception):
    """The file is there, and can't be read or is not a key file."""


class KeyRing:
    def __init__(self, file: Path) -> None:
        """Raises BadKeyFile."""
        self._file = file
        self._looked = time.monotonic()
        self._stamp = _stamp(file)
        self._keys = _read(file)
        self._used = bool(self._keys)

    @property
    def used(self) -> bool:
        """Whether keys were ever made. It stays so when the file is lost: that must not open the service."""
        self._look()
        return self._used

    def any_valid(self) -> bool:
        self._look()
        now = datetime.now(UTC)
        return any(key.valid(now) for key in self._keys.values())

    def find(self, secret: str) -> ApiKey | None:
        """The valid key with this secret."""
        self._look()
        key = self._keys.get(secret.split("_", 2)[1]) if secret.count("_") >= 2 else None
        digest = hashlib.sha256(secret.encode(errors="replace")).hexdigest()
        if key is None or not hmac.compare_digest(digest, key.sha256):
            return None
        return key if key.valid(datetime.now(UTC)) else None

    def _look(self) -> None:
        """Read the file again if it is another one. What can't be read leaves the keys as they were."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = _read(self._file)
            self._used = self._used or bool(self._keys)
        except BadKeyFile as error:
            self._used = True
            log.error("the keys stay as they were: %s", error)


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(file: Path) -> dict[str, ApiKey]:
    """By id. Without a file there are no keys."""
    try:
        content = KeyFile.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadKeyFile(f"{file}: {error.strerror}") from None
    except ValidationError as error:
        # Not the error's own text, which quotes the file.
        places = (f"{json_pointer(*item['loc'])}: {item['msg']}" for item in error.errors())
        raise BadKeyFile(f"{file}: {'; '.join(places)}") from None
    return {key.id: key for key in content.keys}
