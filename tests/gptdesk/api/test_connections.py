"""Connections to a real server in this process: which are closed while they say nothing, and which are not."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gptdesk.api import connections
from gptdesk.api.connections import Connection

LIMIT = 0.3  # seconds
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, and answer when three times the limit has passed."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(3 * LIMIT if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    patch = pytest.MonkeyPatch()
    patch.setattr(connections, "HEAD_WITHIN", LIMIT)
    config = uvicorn.Config(slow_app, http=Connection, lifespan="off", log_level="error", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()
    listener.close()
    patch.undo()


@pytest.fixture
def connection(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def seconds_until_closed(connection: socket.socket) -> float:
    """Wait for the end, before which the server must say nothing."""
    begin = time.monotonic()
    assert connection.recv(1000) == b""
    return time.monotonic() - begin


def answer(connection: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\r\n\r\nok"):
        piece = connection.recv(1000)
        assert piece, "the server closed the connection"
        found += piece
    return found


def test_an_idle_connection_is_closed(connection: socket.socket) -> None:
    assert seconds_until_closed(connection) > LIMIT / 2


def test_half_a_head_is_not_waited_for(connection: socket.socket) -> None:
    connection.sendall(REQUEST[:20])
    assert seconds_until_closed(connection) > LIMIT / 2


def test_a_head_that_comes_in_drops_gains_no_time(connection: socket.socket) -> None:
    end = time.monotonic() + 20
    connection.setblocking(False)
    while time.monotonic() < end:
        try:
            connection.send(b"G")
            if connection.recv(1000) == b"":
                break
        except BlockingIOError:
            time.sleep(LIMIT / 3)
        except OSError:  # closed while a drop was on its way
            break
    assert time.monotonic() < end


def test_one_whose_answer_takes_its_time_is_not_closed(connection: socket.socket) -> None:
    connection.sendall(REQUEST.replace(b"/ ", b"/slow "))
    assert answer(connection).startswith(b"HTTP/1.1 200 OK")


def test_one_whose_body_takes_its_time_is_not_closed(connection: socket.socket) -> None:
    connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n")
    for piece in (b"on", b"ce", b" !"):
        time.sleep(LIMIT)
        connection.sendall(piece)
    assert answer(connection).startswith(b"HTTP/1.1 200 OK")


def test_one_that_is_used_again_in_time_is_not_closed(connection: socket.socket) -> None:
    for _ in range(5):
        connection.sendall(REQUEST)
        assert answer(connection)
        time.sleep(LIMIT / 3)


def test_after_an_answer_the_next_head_has_a_limit_too(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    assert answer(connection)
    connection.sendall(REQUEST[:20])
    assert LIMIT / 2 < seconds_until_closed(connection) < 15  # uvicorn's own limit ends with the first byte
