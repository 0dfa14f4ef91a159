"""Load test of the API: `python -m benchmarks.load` asks a desk for texts with many clients, then leaves streams.

Each client asks for one text after the other, in turn whole and as a stream, alone and several at once. Every answer is
checked: its form, its counts, and that the same request has the same text as before. An answer 429 must say when to ask
again. Then streams are left after their first chunk, all at once, and a request must be answered after them. Memory is
the resident set of the desk's process, threads and open files are the system's counts. Ends with code 1 if a goal is
missed.
"""

import argparse
import collections
import itertools
import json
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import httpx

from benchmarks.soak import RunningDesk, running_desk

MOST_KILOBYTES = 5.0  # of memory that a request may leave, after the warm-up
LONGEST_WAIT = 5.0  # seconds for a request after the streams that were left
SLOWEST_HEALTH = 1.0  # seconds
QUIET = 2.0  # seconds in which threads and connections end
BODIES: tuple[dict[str, object], ...] = (
    {"prompt": "Once upon a time", "max_tokens": 8},
    {"prompt": "The fox", "max_tokens": 8, "stream": True},
    {"prompt": ["Dear diary,", "Once"], "max_tokens": 4, "n": 2, "logprobs": 2},
    {"prompt": [1, 2, 3], "max_tokens": 4, "echo": True, "logprobs": 1},
    {"prompt": "Title:", "max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}, "logprobs": 0},
)


@dataclass
class Tally:
    """Answers so far, and faults in words; filled by all clients."""

    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    seconds: list[float] = field(default_factory=list)  # of each answer with a text
    faults: list[str] = field(default_factory=list)
    texts: dict[int, list[str]] = field(default_factory=dict)  # of each of BODIES
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, status: int, seconds: float, fault: str | None = None) -> None:
        """Count an answer."""
        with self.lock:
            self.statuses[status] += 1
            if status == 200:
                self.seconds.append(seconds)
            if fault:
                self.faults.append(fault)

    def differs(self, number: int, texts: list[str]) -> bool:
        """Return whether the request of this number had other texts before."""
        with self.lock:
            return self.texts.setdefault(number, texts) != texts


def ask(client: httpx.Client, number: int, tally: Tally) -> int:
    """Send a request and count its answer; return the status, 0 if there was none."""
    body = {"model": "starter:int8", "seed": 1} | BODIES[number]
    started = time.perf_counter()
    try:
        answer = client.post("/v1/completions", json=body)
    except httpx.HTTPError as error:
        tally.add(0, 0, f"{type(error).__name__}: {error}")
        return 0
    fault = check(answer, number, tally)
    tally.add(answer.status_code, time.perf_counter() - started, fault)
    return answer.status_code


def check(answer: httpx.Response, number: int, tally: Tally) -> str | None:
    """Return what is wrong with an answer, or None."""
    if answer.status_code == 429:
        known = answer.headers.get("retry-after", "").isdecimal() and set(answer.json()["error"]) >= {"message", "type"}
        return None if known else f"429 without Retry-After or error object: {answer.text[:200]}"
    if answer.status_code != 200:
        return f"{answer.status_code}: {answer.text[:200]}"
    body = BODIES[number]
    try:
        texts = streamed_texts(answer.text) if body.get("stream") else whole_texts(answer.json(), body)
    except (ValueError, KeyError, TypeError) as error:
        return f"not well formed ({error!r}): {answer.text[:200]}"
    return f"request {number} had another text before" if tally.differs(number, texts) else None


def whole_texts(found: dict[str, object], body: dict[str, object]) -> list[str]:
    """Return the texts of a whole answer; ValueError for what does not add up."""
    choices: list[dict[str, object]] = found["choices"]  # type: ignore[assignment]
    prompts = body["prompt"] if isinstance(body["prompt"], list) and isinstance(body["prompt"][0], str) else [0]
    usage: dict[str, int] = found["usage"]  # type: ignore[assignment]
    if [choice["index"] for choice in choices] != list(range(len(prompts) * int(str(body.get("n", 1))))):
        raise ValueError("other choices than were asked for")
    if any(choice["finish_reason"] not in ("stop", "length") for choice in choices):
        raise ValueError("a choice without its end")
    if usage["prompt_tokens"] + usage["completion_tokens"] != usage["total_tokens"]:
        raise ValueError("usage does not add up")
    if "logprobs" in body and any(len({len(row) for row in choice["logprobs"].values()}) != 1 for choice in choices):  # type: ignore[attr-defined]
        raise ValueError("lists of logprobs of unequal length")
    return [str(choice["text"]) for choice in choices]


def streamed_texts(answer: str) -> list[str]:
    """Return the texts of a stream; ValueError for what is no stream, or has not ended."""
    *frames, last, rest = answer.split("\n\n")
    if (last, rest) != ("data: [DONE]", ""):
        raise ValueError("the stream has no end")
    texts: dict[int, str] = collections.defaultdict(str)
    ends: collections.Counter[int] = collections.Counter()
    for frame in frames:
        chunk = json.loads(frame.removeprefix("data: "))
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
            ends[choice["index"]] += choice["finish_reason"] is not None
    if set(ends.values()) != {1}:
        raise ValueError("a choice has not exactly one end")
    return [texts[i] for i in sorted(texts)]


def work(url: str, tally: Tally, *, clients: int, seconds: float) -> None:
    """Let this many clients ask until the time is over."""
    until = time.monotonic() + seconds

    def one(first: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            for number in itertools.count(first):
                if time.monotonic() >= until:
                    return
                if ask(client, number % len(BODIES), tally) in (0, 429):
                    time.sleep(0.2)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))


def leave(url: str, *, streams: int) -> int:
    """Open this many streams at once and leave each after its first chunk; return how many had begun."""
    body = {"model": "starter:int8", "prompt": "Once", "max_tokens": 200, "stream": True}

    def one(_: int) -> bool:
        with (
            suppress(httpx.HTTPError),
            httpx.Client(base_url=url, trust_env=False, timeout=10) as client,
            client.stream("POST", "/v1/completions", json=body) as answer,
        ):
            return answer.status_code == 200 and bool(next(answer.iter_raw(), b""))
        return False

    with ThreadPoolExecutor(50) as pool:
        return sum(pool.map(one, range(streams)))


@contextmanager
def health(url: str) -> Iterator[list[float]]:
    """Ask for /health for the length of the block; the list has the seconds that each answer took after the block.

    In a process of its own, so that the clients do not delay it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_ask_for_health, args=(url, theirs), daemon=True)
    process.start()
    ours.recv()  # it has begun
    waits: list[float] = []
    try:
        yield waits
    finally:
        ours.send(None)
        waits.extend(ours.recv())
        process.join()


def _ask_for_health(url: str, order: Connection) -> None:
    """Ask until there is an order to end, and send the seconds of all answers."""
    waits: list[float] = []
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        client.get("/health")
        order.send(None)
        while not order.poll(0.05):
            started = time.perf_counter()
            client.get("/health")
            waits.append(time.perf_counter() - started)
    order.send(waits)


def settled(desk: RunningDesk) -> tuple[float, int, int]:
    """Return the desk's memory in MB, threads and open files when it has been quiet for a while."""
    time.sleep(QUIET)
    return desk.usage()


def report(name: str, figure: str, goal: str, met: bool) -> bool:
    """Print a row of the table, and return whether its goal was met."""
    print(f"{name:42} {figure:>24}   {goal:24} {'ok' if met else 'MISSED'}", flush=True)
    return met


def load(desk: RunningDesk, options: argparse.Namespace) -> bool:
    """Run both parts, print the figures, and return whether all goals were met."""
    warm = Tally()
    with health(desk.url):
        work(desk.url, warm, clients=options.clients, seconds=options.warm_up)
    before = settled(desk)
    tally = Tally(texts=warm.texts)
    with health(desk.url) as waits:
        work(desk.url, tally, clients=options.clients, seconds=options.seconds)
    after = settled(desk)
    requests = sum(tally.statuses.values())
    kilobytes = 1000 * (after[0] - before[0]) / max(1, requests)
    for fault in dict.fromkeys([*warm.faults, *tally.faults][:20]):
        print("  fault:", fault)
    shown = ", ".join(f"{status}: {count:,}" for status, count in sorted(tally.statuses.items()))
    seconds = statistics.median(tally.seconds) if tally.seconds else float("nan")
    rows = [
        report(f"{options.clients} clients, {options.seconds:g} s: answers", shown, "200 and 429", not tally.faults),
        report("median time of an answer", f"{seconds:.2f} s", "", bool(tally.seconds)),
        report("/health, slowest", f"{max(waits):.3f} s", f"< {SLOWEST_HEALTH:g} s", max(waits) < SLOWEST_HEALTH),
        report(
            "memory left by a request", f"{kilobytes:.2f} kB", f"< {MOST_KILOBYTES:g} kB", kilobytes < MOST_KILOBYTES
        ),
        report("threads", f"{before[1]} -> {after[1]}", "as before", after[1] <= before[1]),
        report("open files", f"{before[2]} -> {after[2]}", "as before", after[2] <= before[2]),
    ]
    begun = leave(desk.url, streams=options.streams)
    started, last = time.perf_counter(), Tally(texts=warm.texts)
    with httpx.Client(base_url=desk.url, trust_env=False, timeout=60) as client:
        answered = ask(client, 0, last) == 200 and not last.faults
    seconds = time.perf_counter() - started
    name = f"a request after {options.streams} streams were left"
    rows.append(
        report(
            name, f"{seconds:.2f} s ({begun} had begun)", f"< {LONGEST_WAIT:g} s", answered and seconds < LONGEST_WAIT
        )
    )
    ended = settled(desk)
    rows.append(
        report("threads and files after that", f"{ended[1]} and {ended[2]}", "as before", ended[1:] <= before[1:])
    )
    return all(rows)


def main() -> int:
    """Load a desk of this computer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=15, help="seconds before the measurement (default: 15)")
    parser.add_argument("--streams", type=int, default=200, help="that are left (default: 200)")
    with running_desk() as desk:
        return 0 if load(desk, parser.parse_args()) else 1


if __name__ == "__main__":
    sys.exit(main())
