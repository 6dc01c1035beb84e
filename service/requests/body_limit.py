"""Middleware: the body of a request has a limit, also where its length is not said beforehand."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, respond


class BodyLimit:
    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if b"transfer-encoding" in headers:
            receive = self._counted(receive)
        # The server takes no more bytes than Content-Length says.
        elif int(headers.get(b"content-length", b"0")) > self._limit:
            await respond(scope["path"], BodyTooLarge(self._limit))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        left = self._limit

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise BodyTooLarge(self._limit)
            return message

        return counted
