"""HTTP as the SDK needs it: problems become exceptions, and GETs ride out a restart of the gateway."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

from clients.sdk.errors import ProblemError, Unreachable, read_problem

_TIMEOUT = httpx2.Timeout(30.0)
LONG = httpx2.Timeout(30.0, read=3600.0)
"""For answers that take as long as reading models through."""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_PATIENCE_AT_FIRST = 1.0
_PATIENCE_LATER = 20.0

Query = Mapping[str, str | int | float | bool | Sequence[str] | None]


class Connection:
    """A session with one gateway. Threads may share it."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self._base_url = base_url
        self._client = httpx2.Client(
            base_url=self._base_url,
            timeout=_TIMEOUT,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            # No proxy stands between us and this machine, whatever HTTP_PROXY says.
            trust_env=urlsplit(base_url).hostname not in _LOOPBACK,
        )
        self._answered = False

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, query: Query | None = None) -> httpx2.Response:
        """Repeated while nobody answers: for long if the gateway has answered before."""
        began = time.monotonic()
        pause = 0.1
        while True:
            try:
                return self.send("GET", path, query)
            except Unreachable:
                patience = _PATIENCE_LATER if self._answered else _PATIENCE_AT_FIRST
                if time.monotonic() - began + pause > patience:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: str | bytes | None = None,
        content_type: str = "application/json",
        timeout: httpx2.Timeout = _TIMEOUT,
        idempotency_key: str | None = None,
    ) -> httpx2.Response:
        """One request, never repeated. Raises ProblemError, Unreachable."""
        headers = {} if body is None else {"Content-Type": content_type}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        with self._explaining():
            answer = self._client.request(
                method,
                path,
                params=_present(query),
                content=body,
                headers=headers,
                timeout=timeout,
            )
        self._answered = True
        if answer.is_error:
            raise ProblemError(read_problem(answer.status_code, answer.text))
        return answer

    @contextmanager
    def events(
        self,
        method: str,
        path: str,
        body: str | None = None,
        last_event_id: str | None = None,
        timeout: httpx2.Timeout = _TIMEOUT,
    ) -> Iterator[httpx2.EventSource]:
        """Server-sent events, as they come. Raises ProblemError, Unreachable."""
        headers = {"Accept": "text/event-stream"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        with (
            self._explaining(),
            self._client.stream(method, path, content=body, headers=headers, timeout=timeout) as answer,
        ):
            if answer.is_error:
                raise ProblemError(read_problem(answer.status_code, answer.read().decode(errors="replace")))
            self._answered = True
            yield httpx2.EventSource(answer)

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """The body, piece by piece. Raises ProblemError, Unreachable."""
        with self._explaining(), self._client.stream("GET", path, timeout=LONG) as answer:
            if answer.is_error:
                raise ProblemError(read_problem(answer.status_code, answer.read().decode(errors="replace")))
            yield answer.iter_bytes()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            raise Unreachable(f"{self._base_url} did not answer in time ({type(error).__name__})") from error
        except httpx2.ConnectError as error:
            raise Unreachable(
                f"nobody answers at {self._base_url}: is it running? `polymerge up` starts it"
            ) from error
        except httpx2.TransportError as error:
            raise Unreachable(f"the connection to {self._base_url} broke: {error}") from error


def _present(query: Query | None) -> dict[str, Any] | None:
    return {name: value for name, value in query.items() if value is not None} if query else None
