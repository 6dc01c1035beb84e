"""The one door to everything that answers: an engine that has the model, or a configured judge."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp

from service.answering.judges import Judge
from service.answering.model_server import Address, ModelServer, ServerFailed
from service.engines.keys import SERVED_NAME
from service.engines.router import EngineRouter

_PAUSE_SECONDS = 0.5


class ModelAccess:
    """Models are ids, or the `judge/NAME` of a judge, which is asked once.

    An engine that dies costs the request nothing but time: while no part of the answer has gone out, the
    request is sent again once another engine has the model. It is sent to two engines at most, because it
    may be what killed the first.
    """

    def __init__(self, router: EngineRouter, judges: dict[str, Judge], timeout: float) -> None:
        self._router, self.judges = router, judges
        self._timeout = timeout
        self._http = aiohttp.ClientSession(
            # Below the 5 s after which vLLM closes an idle connection: a request must not run into that.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def ask(
        self,
        model: str,
        route: str,
        body: dict[str, Any] | None = None,
        keep_alive: float | None = None,
    ) -> dict[str, Any]:
        """POST, or GET without a body; `keep_alive` as for leases. Raises ProblemError, NoEngine."""
        retry = _Retry(self._timeout)
        while True:
            try:
                async with self._server(model, keep_alive) as server:
                    return await server.ask(route, body)
            except ServerFailed as failure:
                if model in self.judges:
                    raise
                await retry.after(failure)

    async def follow(
        self, model: str, route: str, body: dict[str, Any], keep_alive: float | None = None
    ) -> AsyncGenerator[str]:
        """The payloads of an event stream; closing it aborts the generation. Raises as ask()."""
        retry = _Retry(self._timeout)
        begun = False
        while True:
            try:
                async with (
                    self._server(model, keep_alive) as server,
                    aclosing(server.follow(route, body)) as payloads,
                ):
                    async for payload in payloads:
                        begun = True
                        yield payload
                return
            except ServerFailed as failure:
                if begun or model in self.judges:
                    raise
                await retry.after(failure)

    async def close(self) -> None:
        await self._http.close()

    @asynccontextmanager
    async def _server(self, model: str, keep_alive: float | None) -> AsyncIterator[ModelServer]:
        if model in self.judges:
            yield ModelServer(self._http, self.judges[model].address())
            return
        async with self._router.lease(model, keep_alive) as lease:
            yield ModelServer(self._http, Address(lease.url, SERVED_NAME, lease.model))


class _Retry:
    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._failures = 0

    async def after(self, failure: ServerFailed) -> None:
        """Wait before the request is sent again; raises the failure when it should not be."""
        self._failures += failure.reached
        if self._failures > 1 or time.monotonic() > self._deadline:
            raise failure
        await asyncio.sleep(_PAUSE_SECONDS)
