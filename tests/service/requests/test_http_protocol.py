"""Clients that send without an end get none of the gateway's memory, and its time only for a while."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.requests.http_protocol import LimitedProtocol


class Impatient(LimitedProtocol):
    receive_seconds = 1.0


async def _length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def port() -> Iterator[int]:
    app = Starlette(routes=[Route("/", _length, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Impatient, lifespan="off", log_level="error"))
    listening = server.config.bind_socket()
    listening.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


def _answer(port: int, *pieces: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"


@pytest.mark.parametrize("pieces", [[], [b"POST / HT"], [HEAD], [HEAD, b"\r\n", b"he"]])
def test_a_request_that_does_not_end_is_dropped(port: int, pieces: list[bytes]) -> None:
    assert _answer(port, *pieces) == b""


def test_a_head_without_end_is_refused(port: int) -> None:
    try:
        answer = _answer(port, HEAD + b"X: ", *[b"y" * 50_000] * 200)
    except (ConnectionResetError, BrokenPipeError):
        # It hung up while we were still sending.
        return
    assert answer.startswith(b"HTTP/1.1 400")


def test_requests_one_after_another_are_answered(port: int) -> None:
    answer = _answer(port, *[HEAD + b"\r\n" + b"hello"] * 20, HEAD + b"Connection: close\r\n\r\nhello")
    assert answer.count(b"HTTP/1.1 200") == 21
