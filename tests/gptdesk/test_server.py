"""The end of the server: what has been asked is answered, what never ends is cut off."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from gptdesk import server


@contextmanager
def serving(app: FastAPI) -> Iterator[tuple[server._Server, int, threading.Thread]]:
    """Serve an application as the desk serves its own, in a thread, on the port given."""
    ready = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = server._Server(server._config(app, lifespan="off"), ready.set)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        assert ready.wait(10)
        yield running, listener.getsockname()[1], thread
        thread.join(10)
        assert not thread.is_alive()


def test_a_request_that_has_come_before_the_end_is_answered() -> None:
    app, asked = FastAPI(), threading.Event()

    @app.get("/slow")
    def slow() -> str:
        asked.set()
        time.sleep(0.4)
        return "done"

    with (
        serving(app) as (running, port, _),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection,
    ):
        connection.request("GET", "/slow")
        assert asked.wait(10)
        running.end()
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'"done"')


def test_streams_and_half_requests_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAST_ANSWERS", 60.0)
    app, over = FastAPI(), threading.Event()

    @app.get("/stream")
    def stream() -> StreamingResponse:
        def pieces() -> Iterator[str]:
            yield "first"
            over.wait(20)

        return StreamingResponse(pieces())

    with (
        serving(app) as (running, port, thread),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as streamed,
        socket.create_connection(("127.0.0.1", port)) as half,
    ):
        streamed.request("GET", "/stream")
        with streamed.getresponse() as answer:
            assert answer.read(5) == b"first"
            half.sendall(b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
            running.end()
            over.set()
            thread.join(10)
            assert not thread.is_alive()
