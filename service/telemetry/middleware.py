"""Each request gets an id and, when it has been answered, a line in the log and its place in the metrics."""

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import respond
from service.telemetry.request import RequestNotes, begin
from service.telemetry.request_metrics import RequestMetrics

log = logging.getLogger("polymerge.requests")

_HEADER = b"x-request-id"
_UNMATCHED = "(no route)"
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds, with nothing new to tell."""


class Observed:
    """Middleware, outermost but for Starlette's own; it also answers what no handler has caught."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        notes = begin(_sent_id(scope))
        scope.setdefault("state", {})["request_id"] = notes.id
        status: int | None = None

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_HEADER, notes.id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, identified)
        except Exception as error:
            if status is not None:
                raise
            await respond(scope["path"], error)(scope, receive, identified)
        finally:
            self._tell(scope, notes, status, time.perf_counter() - began)

    def _tell(self, scope: Scope, notes: RequestNotes, status: int | None, seconds: float) -> None:
        # The route's template, never the path: what a client writes there is no business of ours.
        route = getattr(scope.get("route"), "path", _UNMATCHED)
        self._metrics.observe(scope["method"], route, status, seconds, notes)
        if route not in _PROBES:
            _log(scope, route, notes, status, seconds)


def _sent_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == _HEADER:
            return str(value, "latin-1")
    return None


def _log(scope: Scope, route: str, notes: RequestNotes, status: int | None, seconds: float) -> None:
    fields: dict[str, Any] = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "ms": round(1000 * seconds, 1),
        "model": notes.model,
        "language": notes.language,
        "tokens_in": notes.tokens_in or None,
        "tokens_out": notes.tokens_out or None,
        "key": getattr(scope["state"].get("key"), "id", None),
    }
    log.info(
        "request", extra={"fields": {name: value for name, value in fields.items() if value is not None}}
    )
