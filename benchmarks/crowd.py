"""Load test of a desk: `python -m benchmarks.crowd` measures the waits of one visitor among many.

Others join and never read, leave in the middle of a text, request texts all at once, hold idle connections or send
bodies that are too large. Meanwhile one visitor with an address of its own requests texts, and /health is requested in
short intervals. In local and in public mode. Linux only: visitors have addresses of their own in 127.0.0.0/8.
"""

import argparse
import contextlib
import math
import multiprocessing
import secrets
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.soak import running_desk
from benchmarks.visitor import Visitor

BETWEEN = 0.02  # seconds between two requests for /health
TEXTS = 5  # that are measured in each situation
MEGABYTE = 1_000_000
HEAD = f"{'':34} {'first text, s':>13} {'worst':>6} {'/health, ms':>11} {'99 %':>6} {'worst':>6}"


@dataclass(frozen=True)
class Waits:
    """Waits of one visitor, in seconds, in a situation of other visitors."""

    situation: str
    first_texts: list[float]
    health: list[float]

    def line(self) -> str:
        """Return a row of the table."""
        health = sorted(1_000 * one for one in self.health)
        return (
            f"{self.situation:34} {statistics.median(self.first_texts):>13.2f} {max(self.first_texts):>6.2f} "
            f"{statistics.median(health):>11.1f} {health[math.ceil(0.99 * len(health)) - 1]:>6.1f} {health[-1]:>6.1f}"
        )


def time_to_first_text(url: str, *, address: str) -> float:
    """Return the seconds from a visitor's click to the first piece of text on the page."""
    with contextlib.closing(Visitor(url, address=address)) as visitor:
        event = visitor.event("generate")
        values = visitor.values(event, prompt="Once upon a time", max_new_tokens=10)
        started = time.perf_counter()
        visitor.send(event, values)
        for message in visitor.messages():
            if "Once upon a time" in str(message.get("output")):
                return time.perf_counter() - started
    raise SystemExit("a visitor got no text")


@contextlib.contextmanager
def poll_health(url: str) -> Iterator[list[float]]:
    """Request /health for the length of the block, on one connection; yield the seconds that each answer took."""
    waits: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            while not ended.wait(BETWEEN):
                started = time.perf_counter()
                client.get("/health")
                waits.append(time.perf_counter() - started)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


def measure_waits(situation: str, url: str, others: "Crowd") -> Waits:
    """Let one visitor ask for TEXTS texts, each a moment after the `others` began once more."""
    first_texts = []
    with poll_health(url) as health:
        for i in range(TEXTS):
            others.begin()
            time.sleep(0.3)
            first_texts.append(time_to_first_text(url, address=f"127.0.1.{i + 1}"))
            others.wait()
    return Waits(situation, first_texts, health)


class Crowd:
    """Many visitors in a process of their own, so that they do not delay the one who measures."""

    def __init__(self, url: str, act: Callable[[list[Visitor]], object] | None, *, visitors: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._order, theirs = context.Pipe()
        self._process = context.Process(target=_crowd, args=(theirs, url, act, visitors), daemon=True)
        self._process.start()
        self._order.recv()  # all have opened the page

    def begin(self) -> None:
        """Let everybody act once."""
        self._order.send(True)

    def wait(self) -> None:
        """Wait until everybody has acted."""
        self._order.recv()

    def close(self) -> None:
        """End the process."""
        self._order.send(False)
        self._process.join()


def _crowd(order: Connection, url: str, act: Callable[[list[Visitor]], object] | None, count: int) -> None:
    visitors = [Visitor(url, address=f"127.0.0.{2 + i}") for i in range(count)]
    order.send(True)
    while order.recv():
        if act:
            act(visitors)
        order.send(True)


def join_unread(visitors: list[Visitor]) -> None:
    """Let each visitor join and never read."""
    for visitor in visitors:
        visitor.session = secrets.token_hex(6)
        event = visitor.event("generate")
        visitor.send(event, visitor.values(event, prompt="Once", max_new_tokens=1000))


def leave_texts(visitors: list[Visitor]) -> None:
    """Let each visitor leave in the middle of a text."""

    def leave(visitor: Visitor) -> None:
        visitor.session = secrets.token_hex(6)
        event = visitor.event("generate")
        visitor.send(event, visitor.values(event, prompt="Once", max_new_tokens=1000))
        messages = visitor.messages()
        next((one for one in messages if one["msg"] == "process_generating"), None)
        messages.close()  # type: ignore[attr-defined]

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(leave, 4 * visitors))


def write_texts(visitors: list[Visitor], *, tokens: int) -> None:
    """Let all visitors ask for a text at once, and read it to its end."""

    def write(visitor: Visitor) -> None:
        visitor.session = secrets.token_hex(6)
        event = visitor.event("generate")
        visitor.run(event, visitor.values(event, prompt="Once upon a time", max_new_tokens=tokens))

    with ThreadPoolExecutor(len(visitors)) as pool:
        list(pool.map(write, visitors))


@contextlib.contextmanager
def idle_connections(url: str, number: int) -> Iterator[None]:
    """Hold connections: half of them send nothing, half have begun a request."""
    address = urlsplit(url).hostname, urlsplit(url).port
    with contextlib.ExitStack() as stack:
        for i in range(number):
            one = stack.enter_context(socket.create_connection(address, timeout=10))
            if i % 2:
                one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        yield


def refuse_body(url: str, process: psutil.Process, megabytes: int) -> str:
    """Send an event with a text of this size; return the status, the time and the memory it took."""
    with contextlib.closing(Visitor(url, address="127.0.2.1")) as visitor:
        event = visitor.event("generate")
        size = megabytes * MEGABYTE
        memory = process.memory_info().rss
        server = urlsplit(url)
        with socket.create_connection((server.hostname, server.port), timeout=60) as connection:
            started = time.perf_counter()
            connection.sendall(
                f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: {server.netloc}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode()
            )
            connection.setblocking(False)
            head = b'{"fn_index": %d, "session_hash": "large", "data": ["' % event["id"]
            sent, answer = 0, b""
            while not answer:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    sent += connection.send(head if not sent else b"a" * min(65_536, size - sent)) if sent < size else 0
                try:
                    answer = connection.recv(4096)
                except BlockingIOError:
                    time.sleep(0.0005)
        seconds = time.perf_counter() - started
        time.sleep(0.2)
        grown = (process.memory_info().rss - memory) / MEGABYTE
        status = answer.split(b" ", 2)[1].decode()
        return f"  {megabytes:>4} MB: {status} after {seconds * 1000:6.1f} ms, memory {grown:+.1f} MB"


def main() -> None:
    """Measure one mode after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=200, help="of each text when twenty write at once (default: 200)")
    options = parser.parse_args()
    for public in (False, True):
        with running_desk(host="0.0.0.0" if public else "127.0.0.1") as desk:
            url = desk.url
            print(f"{'public' if public else 'local'} desk\n{HEAD}")
            situations: dict[str, tuple[int, Callable[[list[Visitor]], object] | None]] = {
                "nobody else": (0, None),
                "50 joins, never read": (50, join_unread),
                "200 texts left in the middle": (50, leave_texts),
                "20 visitors, 10 tokens each": (20, partial(write_texts, tokens=10)),
                f"20 visitors, {options.tokens} tokens each": (20, partial(write_texts, tokens=options.tokens)),
            }
            for situation, (visitors, act) in situations.items():
                with contextlib.closing(Crowd(url, act, visitors=visitors)) as crowd:
                    print(measure_waits(situation, url, crowd).line(), flush=True)
            with idle_connections(url, 1_000), contextlib.closing(Crowd(url, None)) as crowd:
                print(measure_waits("1,000 idle connections", url, crowd).line(), flush=True)
            print("bodies that are too large, or without an event")
            for megabytes in (1, 10, 40, 400):
                print(refuse_body(url, desk.process, megabytes), flush=True)


if __name__ == "__main__":
    main()
