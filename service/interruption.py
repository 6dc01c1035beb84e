"""Requests that are still running when the service has stopped waiting for them."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ProblemError, respond


class AnswerInterrupted:
    """Middleware: a request that is cancelled before its answer began gets a 503 that explains itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            if scope["type"] != "http" or begun:
                raise
            problem = ProblemError(503, "stopping", "the service is stopping; try again", retry_after=5)
            await respond(scope["path"], problem)(scope, receive, send)
