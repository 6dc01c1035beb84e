"""Requests that are still running when the service has stopped waiting for them."""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ProblemError, respond


class RunningRequests:
    """Counts requests, so that the service closes only when each has its answer."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def finished(self, seconds: float) -> None:
        """Wait until none is running, or for so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)


class AnswerInterrupted:
    """Middleware: a request that is cancelled before its answer began gets a 503 that explains itself."""

    def __init__(self, app: ASGIApp, running: RunningRequests) -> None:
        self._app = app
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = interrupted = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            if not interrupted:
                await send(message)

        with self._running:
            # In a task of its own, because a library in there may swallow a cancellation.
            answering = asyncio.ensure_future(self._app(scope, receive, watched))
            try:
                await asyncio.shield(answering)
            except asyncio.CancelledError:
                answering.cancel()
                if begun:
                    raise
                interrupted = True
                problem = ProblemError(503, "stopping", "the service is stopping; try again", retry_after=5)
                await respond(scope["path"], problem)(scope, receive, send)
