"""Soak test of a desk: `python -m benchmarks.soak` measures leaks by texts, sessions and page loads.

A desk in a process of its own is used by raw clients, which send what the page sends, and by a real browser where there
is Chromium and playwright. Memory is the resident set of the desk's process, threads and open files are the system's
counts. The first tenth of each part warms up and does not count.

With --minutes, a run trains beside it, a page watches that run, and the parts are repeated in small portions until the
time is over; a row every five minutes shows what the desk uses, and its log is printed at the end.
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.visitor import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@dataclass(frozen=True)
class Growth:
    """Growth of a desk's process in a part of the soak."""

    name: str
    times: int  # that were counted
    kilobytes: float  # of memory, for each of them
    threads: int
    files: int
    seconds: float  # for each of them

    def line(self) -> str:
        """Return a row of the table."""
        return (
            f"{self.name:22} {self.times:>6,} {self.kilobytes:>9.2f} {self.threads:>+8} {self.files:>+6} "
            f"{self.seconds * 1000:>8.0f}"
        )


HEAD = f"{'what':22} {'times':>6} {'KB each':>9} {'threads':>8} {'files':>6} {'ms each':>8}"


@dataclass(frozen=True)
class RunningDesk:
    """A desk that runs: its address, process and home, and the lines that it has written since its start."""

    url: str
    process: psutil.Process
    home: str
    log: list[str]

    def usage(self) -> tuple[float, int, int]:
        """Return its memory in megabytes, its threads and its open files."""
        return self.process.memory_info().rss / 1e6, self.process.num_threads(), self.process.num_fds()


@contextmanager
def running_desk(*, host: str = "127.0.0.1", threads: int | None = 1) -> Iterator[RunningDesk]:
    """Start a desk on a temporary home for the length of the block; with None, it chooses its `threads` itself."""
    with tempfile.TemporaryDirectory() as home:
        desk = _start("--port", "0", "--no-browser", "--home", home, "--host", host, threads=threads)
        log: list[str] = []
        try:
            assert desk.stderr is not None
            ready = next((found for line in desk.stderr if (found := re.search(r"ready at (http://\S+)", line))), None)
            if ready is None:
                raise SystemExit("the desk did not start")
            threading.Thread(target=log.extend, args=(desk.stderr,), daemon=True).start()
            yield RunningDesk(ready[1], psutil.Process(desk.pid), home, log)
        finally:
            desk.send_signal(signal.SIGINT)
            desk.wait(timeout=60)
            if any("Traceback" in line for line in log):
                print("".join(log)[-2_000:])


def _start(*arguments: str, stderr: int = subprocess.PIPE, threads: int | None = 1) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "gptdesk", *arguments]
    variables = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stderr=stderr, text=True, env=os.environ | variables)


@contextmanager
def training(desk: RunningDesk, *, minutes: float) -> Iterator[None]:
    """Train a small model in the desk's home for the length of the block, which begins with its first steps."""
    options = (
        "--preset",
        "tiny",
        "--block-size",
        "32",
        "--batch-size",
        "4",
        "--log-every",
        "1",
        "--steps",
        "10000000",
        "--patience",
        "0",
    )
    home, limit = ("--home", desk.home), ("--max-minutes", str(minutes))
    run = _start("train", *home, "--data", "story-world", "--name", "soak", *options, *limit, stderr=subprocess.DEVNULL)
    try:
        while not (Path(desk.home) / "runs" / "soak" / "metrics.jsonl").exists():
            if run.poll() is not None:
                raise SystemExit("the run did not start")
            time.sleep(1)
        yield
    finally:
        run.send_signal(signal.SIGINT)
        run.wait()


def grow(name: str, step: Callable[[int], None], *, times: int, process: psutil.Process) -> Growth:
    """Return the growth of a process by `step`, repeated this many times."""
    warm_up = max(1, times // 10)
    for i in range(warm_up):
        step(i)
    memory, threads, files = process.memory_info().rss, process.num_threads(), process.num_fds()
    started = time.perf_counter()
    for i in range(warm_up, times):
        step(i)
    seconds, counted = time.perf_counter() - started, times - warm_up
    time.sleep(1)  # threads that are about to end
    grown = process.memory_info().rss - memory
    changed = process.num_threads() - threads, process.num_fds() - files
    return Growth(name, counted, grown / counted / 1024, *changed, seconds / counted)


def generations(url: str) -> Callable[[int], None]:
    """Return a step that generates ten tokens in one session."""
    visitor = Visitor(url)
    event = visitor.event("generate")
    values = visitor.values(event, prompt="Once upon a time", max_new_tokens=10)

    def step(i: int) -> None:
        visitor.run(event, values)
        visitor.received.clear()

    return step


def sessions(url: str) -> Callable[[int], None]:
    """Return a step that opens a session and ends it after one light event."""
    visitor = Visitor(url)
    event = visitor.event("prompt", "change")
    values = visitor.values(event)

    def step(i: int) -> None:
        visitor.session = secrets.token_hex(6)
        with visitor.client.stream("GET", f"/gradio_api/heartbeat/{visitor.session}"):
            visitor.send(event, values)
        visitor.received.clear()

    return step


def abandoned(url: str) -> Callable[[int], None]:
    """Return a step that leaves a text in the middle."""
    visitor = Visitor(url)
    event = visitor.event("generate")
    values = visitor.values(event, prompt="Once upon a time", max_new_tokens=1000)

    def step(i: int) -> None:
        visitor.session = secrets.token_hex(6)
        visitor.send(event, values)
        messages = visitor.messages()
        next(message for message in messages if message["msg"] == "process_generating")
        messages.close()  # type: ignore[attr-defined]
        visitor.received.clear()

    return step


@contextmanager
def browser() -> Iterator["Browser | None"]:
    """Yield a browser; None where there is no Chromium or playwright."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with suppress(ImportError):
        from playwright.sync_api import sync_playwright

        if program:
            with sync_playwright() as playwright:
                yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            return
    yield None


def page_loads(url: str, chromium: "Browser") -> Callable[[int], None]:
    """Return a step that opens and closes the page in a browser."""

    def step(i: int) -> None:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(url)
        page.locator("#generate").wait_for()
        context.close()

    return step


def soak(desk: RunningDesk, options: argparse.Namespace) -> None:
    """Run the parts one after the other and print a row for each."""
    print(HEAD)
    for name, step, times in (
        ("generations", generations, options.generations),
        ("sessions", sessions, options.sessions),
        ("abandoned texts", abandoned, options.abandoned),
    ):
        print(grow(name, step(desk.url), times=times, process=desk.process).line(), flush=True)
    with browser() as chromium:
        if chromium:
            load = page_loads(desk.url, chromium)
            print(grow("page loads", load, times=options.loads, process=desk.process).line(), flush=True)


def together(desk: RunningDesk, minutes: float) -> None:
    """Do everything at once for so many minutes, and print what the desk uses."""
    until = time.monotonic() + 60 * minutes
    with training(desk, minutes=minutes), browser() as chromium:
        steps = [*(part(desk.url) for part in (generations, sessions, abandoned))]
        page = None
        if chromium:
            steps.append(page_loads(desk.url, chromium))
            page = chromium.new_page()
            page.goto(desk.url)
            page.get_by_role("tab", name="Train").click()
            page.locator("#run-losses figure").wait_for(timeout=120_000)
        print(f"{'minute':>6} {'MB':>8} {'threads':>8} {'files':>6} {'of each':>8} {'step of the run':>16}", flush=True)
        started, row, repeats = time.monotonic(), 0.0, 0
        while time.monotonic() < until:
            for step, times in zip(steps, (10, 5, 2, 1), strict=False):
                for i in range(times):
                    step(i)
            repeats += 1
            if time.monotonic() >= row:
                row = time.monotonic() + min(300, 60 * minutes / 4)
                megabytes, threads, files = desk.usage()
                shown = page.locator("#run-tiles b").first.inner_text() if page else ""
                minute = (time.monotonic() - started) / 60
                print(f"{minute:>6.0f} {megabytes:>8.1f} {threads:>8} {files:>6} {repeats:>8} {shown:>16}", flush=True)
    print("log:", "".join(desk.log).strip() or "empty")


def main() -> None:
    """Measure a desk on this computer alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=3_000)
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--abandoned", type=int, default=200)
    parser.add_argument("--loads", type=int, default=200)
    parser.add_argument("--minutes", type=float, help="of everything together, in place of the parts")
    options = parser.parse_args()
    with running_desk() as desk:
        if options.minutes:
            together(desk, options.minutes)
        else:
            soak(desk, options)


if __name__ == "__main__":
    main()
