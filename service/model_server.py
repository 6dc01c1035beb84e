"""Talking to one server that speaks OpenAI's API: an engine, or a judge elsewhere."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from service.contracts.problem import FieldProblem, json_pointer
from service.errors import ProblemError

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


class ServerFailed(ProblemError):
    """The server broke off or failed. `reached` says whether it may have begun with the request."""

    def __init__(self, status: int, detail: str, reached: bool = True) -> None:
        super().__init__(status, "engine-error", detail, retry_after=15)
        self.reached = reached


class ModelServer:
    """Bodies go out with the server's own name for the model; answers come back with ours."""

    def __init__(self, http: httpx2.AsyncClient, address: Address) -> None:
        self._http, self._address = http, address
        self._headers = {"Authorization": f"Bearer {address.key}"} if address.key else {}

    async def ask(self, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST, or GET without a body. Raises ServerFailed, or ProblemError with what the server refused."""
        try:
            response = await self._http.request(
                "GET" if body is None else "POST",
                self._address.url + route,
                json=None if body is None else body | {"model": self._address.served_name},
                headers=self._headers,
            )
        except httpx2.HTTPError as error:
            raise _broke_off(error) from error
        self._raise_for(response.status_code, response.content, response.headers)
        answer: dict[str, Any] = response.json()
        return answer | {"model": self._address.model} if "model" in answer else answer

    async def follow(self, route: str, body: dict[str, Any]) -> AsyncGenerator[str]:
        """The `data:` payloads of the server's event stream, without the closing [DONE]. Raises as ask()."""
        request = body | {"model": self._address.served_name, "stream": True}
        url = self._address.url + route
        try:
            async with self._http.stream("POST", url, json=request, headers=self._headers) as response:
                if response.status_code != 200:
                    self._raise_for(response.status_code, await response.aread(), response.headers)
                async for line in response.aiter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        yield self._named(line.removeprefix("data: "))
        except httpx2.HTTPError as error:
            raise _broke_off(error) from error

    def _named(self, payload: str) -> str:
        chunk = json.loads(payload)
        if "error" in chunk:
            self._raise_for(int(chunk["error"].get("code") or 500), payload.encode(), httpx2.Headers())
        return json.dumps(chunk | {"model": self._address.model})

    def _raise_for(self, status: int, content: bytes, headers: httpx2.Headers) -> None:
        if status < 300:
            return
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
        waits = headers.get("retry-after", "")
        retry_after = int(waits) if waits.isdigit() else 0
        raise ProblemError(status, "invalid-request", message, errors=errors, retry_after=retry_after)


def _broke_off(error: httpx2.HTTPError) -> ServerFailed:
    detail = f"the model's server broke off ({type(error).__name__}); send the request again"
    return ServerFailed(503, detail, reached=not isinstance(error, httpx2.ConnectError))


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
