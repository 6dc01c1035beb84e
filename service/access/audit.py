"""Who did what: a line of JSON for each request that changed something, or that its key did not allow."""

import json
import logging
import os
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.contracts.access import ApiKey, AuditEntry

log = logging.getLogger("polymerge.gateway")

_AUDITED_SCOPES = {"merge", "admin"}
_MAX_BYTES = 10_000_000
_KEPT_FILES = 10
_MAX_ANSWER_BYTES = 1_000_000
_IDS = ("id", "model", "job")


class AuditLog:
    """A file, its owner's alone, that is only appended to. Full, it becomes `.1`, and `.1` becomes `.2`."""

    def __init__(self, file: Path, max_bytes: int = _MAX_BYTES, kept: int = _KEPT_FILES) -> None:
        self._handler = _File(file, maxBytes=max_bytes, backupCount=kept, encoding="utf-8", delay=True)

    def write(self, entry: AuditEntry) -> None:
        """A disk that is full costs the line, not the request."""
        self._handler.handle(logging.makeLogRecord({"msg": entry.model_dump_json()}))

    def close(self) -> None:
        self._handler.close()


class _File(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return open(self.baseFilename, "a", encoding=self.encoding, opener=partial(os.open, mode=0o600))

    def handleError(self, record: logging.LogRecord) -> None:
        log.exception("the audit log can't be written: %s", record.getMessage())


class Audited:
    """Middleware, next to the routes: writes down what needs the scope merge or admin."""

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self._app, self._audit = app, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        status: int | None = None
        answer = bytearray()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif _is_audited(scope) and len(answer) < _MAX_ANSWER_BYTES:
                answer.extend(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if _is_audited(scope):
                self._audit.write(_entry(scope, status, bytes(answer)))


def _is_audited(scope: Scope) -> bool:
    """Known when the route has been found and its scope asked for."""
    return scope["state"].get("needed_scope") in _AUDITED_SCOPES


def _entry(scope: Scope, status: int | None, answer: bytes) -> AuditEntry:
    key: ApiKey | None = scope["state"]["key"]
    client = scope.get("client")
    return AuditEntry(
        time=datetime.now(UTC),
        request_id=scope["state"].get("request_id"),
        key_id=key and key.id,
        key_name=key and key.name,
        method=scope["method"],
        path=scope["path"],
        status=status,
        concerns=_ids(answer),
        address=client[0] if client else None,
    )


def _ids(answer: bytes) -> list[str]:
    """Of the jobs and models that an answer is about: one of them, or a list under `items`."""
    try:
        document = json.loads(answer)
    except ValueError:
        return []
    if not isinstance(document, dict):
        return []
    about: list[Any] = [document, *document.get("items", [])]
    found = (item[name] for item in about if isinstance(item, dict) for name in _IDS if name in item)
    return list(dict.fromkeys(value for value in found if isinstance(value, str)))
