"""uvicorn's HTTP, with limits where it has none: how long a request may take to come in, and how long its
head may be. Without them a handful of clients that send a byte a minute, or one header without an end, hold
connections and memory for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEAD_BYTES = 64 * 1024
_RECEIVE_SECONDS = 60.0


class LimitedProtocol(HttpToolsProtocol):
    receive_seconds = _RECEIVE_SECONDS
    """From a connection's beginning, or a later request's, to the request's last byte."""

    _head_bytes = 0
    """Of the request that comes in; -1 once its head is complete."""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes > _MAX_HEAD_BYTES:
            self.send_400_response(f"The head of a request has at most {_MAX_HEAD_BYTES} bytes.")
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_end()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_bytes = -1

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0
        self._expect_nothing()

    def _expect_end(self) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(self.receive_seconds, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
