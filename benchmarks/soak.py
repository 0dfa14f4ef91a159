"""Soak test of a desk: `python -m benchmarks.soak` measures leaks by texts, sessions and page loads.

A desk in a process of its own is used by raw clients, which send what the page sends, and by a real browser where there
is Chromium and playwright. Memory is the resident set of the desk's process, threads and open files are the system's
counts. The first tenth of each part warms up and does not count.
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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from benchmarks.visitor import Visitor


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


@contextmanager
def running_desk(*, host: str = "127.0.0.1") -> Iterator[tuple[str, psutil.Process]]:
    """Start a desk on a temporary home for the length of the block; yield its address and process."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "gptdesk", "--port", "0", "--no-browser", "--home", home, "--host", host]
        desk = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert desk.stderr is not None
        try:
            for line in desk.stderr:
                if found := re.search(r"ready at (http://\S+)", line):
                    yield found[1], psutil.Process(desk.pid)
                    return
            raise SystemExit("the desk did not start")
        finally:
            desk.send_signal(signal.SIGINT)
            _, log = desk.communicate(timeout=30)
            if "Traceback" in log:
                print(log[-2_000:])


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
def page_loads(url: str) -> Iterator[Callable[[int], None] | None]:
    """Yield a step that opens and closes the page in a browser; None where there is no browser."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with suppress(ImportError):
        from playwright.sync_api import sync_playwright

        if program:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])

                def step(i: int) -> None:
                    context = browser.new_context()
                    page = context.new_page()
                    page.goto(url)
                    page.locator("#generate").wait_for()
                    context.close()

                yield step
                browser.close()
                return
    yield None


def main() -> None:
    """Run the parts one after the other and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=3_000)
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--abandoned", type=int, default=200)
    parser.add_argument("--loads", type=int, default=200)
    options = parser.parse_args()
    with running_desk() as (url, process):
        print(HEAD)
        print(grow("generations", generations(url), times=options.generations, process=process).line(), flush=True)
        print(grow("sessions", sessions(url), times=options.sessions, process=process).line(), flush=True)
        print(grow("abandoned texts", abandoned(url), times=options.abandoned, process=process).line(), flush=True)
        with page_loads(url) as load:
            if load:
                print(grow("page loads", load, times=options.loads, process=process).line(), flush=True)


if __name__ == "__main__":
    main()
