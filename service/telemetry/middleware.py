"""Each request gets an id; when it is over, a line in the log, its place in the metrics, and its span."""

import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import respond
from service.telemetry.request import RequestNotes, begin
from service.telemetry.request_metrics import RequestMetrics
from service.telemetry.traces import Attributes

if TYPE_CHECKING:
    from service.telemetry.otlp import Tracer

log = logging.getLogger("polymerge.requests")

_HEADER = b"x-request-id"
_UNMATCHED = "(no route)"
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds, with nothing new to tell."""


class Observed:
    """Middleware, outermost but for Starlette's own; it also answers what no handler has caught."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, tracer: "Tracer | None") -> None:
        self._app, self._metrics, self._tracer = app, metrics, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        notes = begin(_sent(scope, _HEADER))
        span = None
        if self._tracer and scope["path"] not in _PROBES:
            span = self._tracer.begin(_sent(scope, b"traceparent"))
            notes.traceparent = span.traceparent
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
            # The route's template, never the path: what a client writes there is no business of ours.
            route = getattr(scope.get("route"), "path", _UNMATCHED)
            self._tell(scope, route, notes, status, time.perf_counter() - began)
            if span:
                failed = status is None or status >= 500
                span.end(f"{scope['method']} {route}", _attributes(scope, route, notes, status), failed)

    def _tell(
        self, scope: Scope, route: str, notes: RequestNotes, status: int | None, seconds: float
    ) -> None:
        self._metrics.observe(scope["method"], route, status, seconds, notes)
        if route not in _PROBES:
            _log(scope, route, notes, status, seconds)


def _sent(scope: Scope, header: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == header:
            return str(value, "latin-1")
    return None


def _attributes(scope: Scope, route: str, notes: RequestNotes, status: int | None) -> Attributes:
    """Named as OpenTelemetry's conventions have it, where they have it."""
    return {
        "http.request.method": scope["method"],
        "http.route": route,
        "http.response.status_code": status or 0,
        "polymerge.request_id": notes.id,
        "polymerge.model": notes.model or "",
        "polymerge.language": notes.language or "",
    }


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
