"""Talking to one server that speaks OpenAI's API: an engine, or a judge elsewhere."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import aiohttp

from service.contracts.problem import FieldProblem, json_pointer
from service.errors import ProblemError
from service.telemetry.request import note_usage, outgoing_headers

_TOO_LONG = ("maximum context length", "max_model_len", "longer than the maximum model length")
_ABOUT_THE_REQUEST = {400, 413, 415, 422, 429, 501}


@dataclass(frozen=True)
class Address:
    """Where a model answers."""

    url: str
    """What comes before /v1."""
    served_name: str
    """What the server calls the model."""
    model: str
    """What our answers call it."""
    key: str | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)


class ServerFailed(ProblemError):
    """The server broke off or failed. `reached` says whether it may have begun with the request."""

    def __init__(self, status: int, detail: str, reached: bool = True) -> None:
        super().__init__(status, "engine-error", detail, retry_after=15)
        self.reached = reached


class ModelServer:
    """Bodies go out with the server's own name for the model; answers come back with ours."""

    def __init__(self, http: aiohttp.ClientSession, address: Address) -> None:
        self._http, self._address = http, address
        self._headers = {"Authorization": f"Bearer {address.key}"} if address.key else {}

    async def ask(self, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST, or GET without a body. Raises ServerFailed, or ProblemError with what the server refused."""
        async with self._answer(route, body) as response:
            answer = _object(await response.read())
        note_usage(answer.get("usage"))
        return answer | {"model": self._address.model} if "model" in answer else answer

    async def follow(self, route: str, body: dict[str, Any]) -> AsyncGenerator[str]:
        """The `data:` payloads of the server's event stream, without the closing [DONE]. Raises as ask()."""
        options = body.get("stream_options") or {}
        counting = {"stream": True, "stream_options": options | {"include_usage": True}}
        async with self._answer(route, body | counting) as response:
            async for line in _lines(response.content):
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    chunk = self._chunk(line.removeprefix(b"data: "))
                    usage = chunk.get("usage") if not chunk.get("choices") else None
                    note_usage(usage)
                    if not usage or options.get("include_usage"):
                        yield json.dumps(chunk)

    @asynccontextmanager
    async def _answer(self, route: str, body: dict[str, Any] | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Leaving the block before the end of the answer closes the connection, which aborts the request."""
        try:
            async with self._http.request(
                "GET" if body is None else "POST",
                self._address.url + route,
                json=None if body is None else body | {"model": self._address.served_name},
                headers=self._headers | outgoing_headers(),
                proxy=self._address.proxy,
                # The key goes to the server that was configured, and nowhere else.
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    waits = response.headers.get("Retry-After", "")
                    self._refuse(response.status, await response.read(), waits)
                yield response
        except aiohttp.ClientError as error:
            raise _broke_off(error) from error

    def _chunk(self, payload: bytes) -> dict[str, Any]:
        chunk: dict[str, Any] = json.loads(payload)
        if "error" in chunk:
            self._refuse(int(chunk["error"].get("code") or 500), payload)
        return chunk | {"model": self._address.model}

    def _refuse(self, status: int, content: bytes, waits: str = "") -> NoReturn:
        """`waits` is the server's Retry-After."""
        if status in (401, 403):
            # What a server says about a key may repeat it.
            raise ServerFailed(502, f"{self._address.model} refused the service's key")
        message, param = _error(content)
        if self._address.key:
            message = message.replace(self._address.key, "***")
        if status not in _ABOUT_THE_REQUEST:
            raise ServerFailed(502, message)
        if any(words in message for words in _TOO_LONG):
            raise ProblemError(422, "context-length-exceeded", message)
        errors = [FieldProblem(pointer=json_pointer(*_place(param)), detail=message)] if param else None
        retry_after = int(waits) if waits.isdigit() else 0
        raise ProblemError(status, "invalid-request", message, errors=errors, retry_after=retry_after)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Of any length: those with log-probabilities are longer than what StreamReader takes for a line."""
    rest = b""
    async for part in content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")


def _object(content: bytes) -> dict[str, Any]:
    """Raises ServerFailed: the judge's address may be that of something else."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServerFailed(502, "the model's server answered with something that is no JSON object")
    return answer


def _broke_off(error: aiohttp.ClientError) -> ServerFailed:
    detail = f"the model's server broke off ({type(error).__name__}); send the request again"
    unreached = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return ServerFailed(503, detail, reached=not unreached)


def _place(param: str) -> list[str]:
    """vLLM says `temperature`, but `body.messages.0.role` where a field has the wrong type."""
    return param.removeprefix("body.").split(".")


def _error(content: bytes) -> tuple[str, str | None]:
    """Message and parameter of an error in OpenAI's shape."""
    try:
        error = json.loads(content)["error"]
        return str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return content.decode(errors="replace")[:500], None
