"""Talking to a leased engine: vLLM's OpenAI routes, its errors turned into ours."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2

from service.engines.keys import SERVED_NAME
from service.engines.router import Lease
from service.errors import ProblemError

_TOO_LONG = ("maximum context length", "max_model_len", "longer than the maximum model length")


class EngineClient:
    """`body` goes out with the engine's own model name; answers come back with the id of the leased model."""

    def __init__(self, http: httpx2.AsyncClient, lease: Lease) -> None:
        self._http, self._lease = http, lease

    async def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises ProblemError: 4xx as the engine gave it, 502 or 503 where the engine failed."""
        try:
            response = await self._http.post(self._lease.url + route, json=body | {"model": SERVED_NAME})
        except httpx2.HTTPError as error:
            raise _gone(error) from error
        _raise_for(response.status_code, response.content)
        answer: dict[str, Any] = response.json()
        return answer | {"model": self._lease.model}

    async def stream(self, route: str, body: dict[str, Any]) -> AsyncGenerator[str]:
        """The `data:` payloads of the engine's event stream, without the closing [DONE]."""
        request = body | {"model": SERVED_NAME, "stream": True}
        try:
            async with self._http.stream("POST", self._lease.url + route, json=request) as response:
                if response.status_code != 200:
                    _raise_for(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        yield self._named(line.removeprefix("data: "))
        except httpx2.HTTPError as error:
            raise _gone(error) from error

    def _named(self, payload: str) -> str:
        chunk = json.loads(payload)
        if "error" in chunk:
            raise ProblemError(502, "engine-error", str(chunk["error"].get("message", chunk["error"])))
        return json.dumps(chunk | {"model": self._lease.model})


def _gone(error: Exception) -> ProblemError:
    detail = f"the engine broke off ({type(error).__name__}); it is restarted, send the request again"
    return ProblemError(503, "engine-error", detail, retry_after=15)


def _raise_for(status: int, content: bytes) -> None:
    if status < 400:
        return
    message = _message(content)
    if status >= 500:
        raise ProblemError(502, "engine-error", message)
    if any(words in message for words in _TOO_LONG):
        raise ProblemError(422, "context-length-exceeded", message)
    raise ProblemError(status, "invalid-request", message)


def _message(content: bytes) -> str:
    try:
        found = json.loads(content)
        return str(found.get("error", {}).get("message") or found)
    except (ValueError, AttributeError):
        return content.decode(errors="replace")[:500]
