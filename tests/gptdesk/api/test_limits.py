"""Requests that are too slow or too large, at a real server of a public desk that answers others meanwhile."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from api_checks import served

from gptdesk.api import body, connections, openai
from gptdesk.api.openai import work
from gptdesk.desk import Desk
from gptdesk.settings import load_settings

LARGE = 10_000_000  # bytes
LIMIT = 1.0  # seconds for a head and for a body here
PATIENCE = 5.0  # seconds for /health, which takes some milliseconds, on a busy machine
PATHS = ["/v1/completions", "/gradio_api/queue/join", "/gradio_api/run/predict"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, in_event_loop: Callable) -> Iterator[str]:
    desk = Desk(load_settings({"home": str(tmp_path_factory.mktemp("home")), "host": "0.0.0.0"}))
    with pytest.MonkeyPatch.context() as patch, served(desk, in_event_loop) as url:
        patch.setattr(connections, "HEAD_WITHIN", LIMIT)
        patch.setattr(body, "SLOWEST", LIMIT)
        yield url


@pytest.fixture
def health(url: str) -> Iterator[None]:
    """Ask for /health all the time while the test runs; every answer comes at once."""
    waits: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            while True:
                started = time.perf_counter()
                assert client.get("/health").status_code == 200
                waits.append(time.perf_counter() - started)
                if ended.wait(0.02):
                    return

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    ended.set()
    thread.join()
    assert waits
    assert max(waits) < PATIENCE


def connected(url: str, *, to: ExitStack) -> socket.socket:
    server = urlsplit(url)
    assert server.hostname
    return to.enter_context(socket.create_connection((server.hostname, server.port or 80), timeout=20))


def head(path: str, **headers: object) -> bytes:
    given = {"Host": "desk", "Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status(connection: socket.socket) -> int:
    """Return the status of the answer, which may have come before all was sent."""
    found = connection.recv(4096)
    assert found.startswith(b"HTTP/1.1 "), found
    return int(found.split(b" ", 2)[1])


@pytest.mark.usefixtures("health")
def test_slow_heads_and_bodies_are_given_up(url: str) -> None:
    with ExitStack() as stack:
        heads = [connected(url, to=stack) for _ in range(60)]
        bodies = [(connected(url, to=stack), path) for path in PATHS for _ in range(20)]
        for one in heads:
            one.sendall(b"GET /health HTTP/1.1\r\nHost: desk\r\nX-Slow: ")
        for one, path in bodies:
            one.sendall(head(path, Content_Length=1000) + b'{"')
        for one in heads:
            assert one.recv(100) == b""
        assert {status(one) for one, _ in bodies} == {408}


@pytest.mark.usefixtures("health")
@pytest.mark.parametrize("path", PATHS)
def test_a_large_body_is_refused_before_it_is_read(url: str, path: str) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            one = connected(url, to=stack)
            one.sendall(head(path, Content_Length=LARGE) + b'{"prompt": "')
            assert status(one) == 413


@pytest.mark.usefixtures("health")
@pytest.mark.parametrize("path", PATHS)
def test_a_large_body_of_unknown_length_is_cut_off(url: str, path: str) -> None:
    with ExitStack() as stack:
        one = connected(url, to=stack)
        one.sendall(head(path, Transfer_Encoding="chunked"))
        chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
        try:
            for _ in range(LARGE // 65_536):
                one.sendall(chunk)
        except OSError:  # it has closed the connection on us
            return
        assert status(one) == 413


@pytest.mark.usefixtures("health")
def test_large_and_many_headers_are_refused(url: str) -> None:
    for headers in ({"X-Large": "a" * 200_000}, {f"X-{i}": "a" * 1000 for i in range(200)}):
        with ExitStack() as stack:
            one = connected(url, to=stack)
            try:
                one.sendall(head("/v1/completions", **headers))
                assert status(one) in (400, 413, 431)
            except ConnectionError:  # it has answered, and we were not done
                pass


def test_long_prompts_are_read_outside_the_event_loop(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizing a megabyte takes a part of a second; many such requests would keep /health waiting."""
    threads: list[str] = []

    def observed(*given: object) -> object:
        threads.append(threading.current_thread().name)
        return work.check_work(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(openai, "check_work", observed)
    content = json.dumps({"model": "starter", "prompt": "☃ and the fox " * 60_000}, ensure_ascii=False).encode()
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        headers = {"content-type": "application/json"}
        assert client.post("/v1/completions", content=content, headers=headers).status_code == 400
    assert [name.startswith("checks") for name in threads] == [True]
