"""Public link to a page of this computer: its client process, its state, and why it ended.

A share server passes on to the page what it is asked under an address of its own. The client that is connected to it
runs in a process of its own, `gptdesk.page.tunnel`, which ends with this one, however that ends.
"""

import contextlib
import io
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

log = logging.getLogger(__name__)

PROGRAM = "gptdesk.page.tunnel"
PATIENCE = 180.0  # seconds for a link: the client, 11 MB, may have to be downloaded first
GOODBYE = 4.0  # seconds for the client to end; then it is killed
AGAIN = "switch Share on again"

Phase = Literal["off", "starting", "on"]


@dataclass(frozen=True)
class LinkState:
    """State of the link: `url` while the link is on; `fault`, a sentence, if that is why it is off."""

    phase: Phase = "off"
    url: str = ""
    fault: str = ""


class ShareLink:
    """One link at a time, switched on and off from any thread.

    `open_page` serves the page that the link leads to for the length of its block, and gives its port on 127.0.0.1.
    `folder` is where the client may leave a file.
    """

    def __init__(
        self, open_page: Callable[[], AbstractContextManager[int]], *, folder: Path, patience: float = PATIENCE
    ) -> None:
        self._open_page = open_page
        self._folder = folder
        self._patience = patience
        self._changed = threading.Condition()
        self._state = LinkState()
        self._attempt: _Attempt | None = None  # the one that is starting or on
        self._thread: threading.Thread | None = None  # of the last attempt

    @property
    def state(self) -> LinkState:
        """State of the link now."""
        return self._state

    def turn_on(self) -> None:
        """Begin to make a link, and return at once; if there is one, or it is on its way, do nothing."""
        with self._changed:
            if self._attempt is not None:
                return
            attempt = self._attempt = _Attempt(before=self._thread)
            self._set(LinkState("starting"))
            self._thread = threading.Thread(target=self._run, args=(attempt,), name="share link", daemon=True)
            self._thread.start()

    def turn_off(self) -> None:
        """End the link, or the attempt to make one; return when nothing leads to the page any more."""
        with self._changed:
            attempt, thread, self._attempt = self._attempt, self._thread, None
            self._set(LinkState())
        if attempt is not None and thread is not None:
            attempt.end()
            thread.join(2 * GOODBYE)

    def wait(self) -> LinkState:
        """Return the state once it is known whether there is a link."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.phase != "starting")
            return self._state

    def _run(self, attempt: "_Attempt") -> None:
        if attempt.before is not None:
            attempt.before.join()
        fault = ""
        try:
            with self._open_page() as port:
                if not attempt.is_over:
                    with _client(port, self._folder, attempt):
                        self._follow(attempt)
        except (ValueError, OSError) as error:
            fault = str(error)
        except Exception:  # a fault of ours: the desk goes on, and the details must be found
            log.exception("the public page failed")
            fault = "the link could not be made, by a fault of the desk; the terminal has the details"
        self._ended(attempt, fault)

    def _follow(self, attempt: "_Attempt") -> None:
        """Go through what the client says, until the attempt is to end; ValueError if there is no link (any more)."""
        end: float | None = time.monotonic() + self._patience
        while (line := attempt.next(end)) is not None:
            url, fault = _understood(line)
            if fault:
                raise ValueError(fault)
            end = None
            with self._changed:
                if self._attempt is attempt:
                    self._set(LinkState("on", url=url))
                    log.info("Anyone can use this desk at %s  (for a week at most, and no longer than it runs)", url)

    def _ended(self, attempt: "_Attempt", fault: str) -> None:
        with self._changed:
            if self._attempt is not attempt:  # it was switched off, and its last words are no news
                return
            self._attempt = None
            self._set(LinkState(fault=fault))
        log.warning("%s", fault)

    def _set(self, state: LinkState) -> None:
        """Change the state; the lock must be held."""
        self._state = state
        self._changed.notify_all()


def terminal_code(url: str, terminal: TextIO) -> str:
    """Return an address as a QR code of block characters; empty if this is no terminal, or one that lacks them."""
    import segno  # few starts need it

    try:
        "█▀▄".encode(terminal.encoding or "ascii")
        if not terminal.isatty():
            return ""
    except (ValueError, LookupError):  # also a stream that is closed
        return ""
    code = io.StringIO()
    segno.make(url, error="m", micro=False).terminal(code, border=2, compact=True)
    return code.getvalue().rstrip("\n")


def svg_code(url: str) -> str:
    """Return an address as a QR code in SVG, black on white, that fills the width it is given."""
    import segno

    return segno.make(url, error="m", micro=False).svg_inline(
        border=2, light="#fff", omitsize=True, svgclass=None, lineclass=None, title="QR code of the link"
    )


class _Attempt:
    """A link from the time it is asked for; `before` is the thread of the one before, which must have ended."""

    def __init__(self, *, before: threading.Thread | None) -> None:
        self.before = before
        self.is_over = False
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: it is to end

    def end(self) -> None:
        self.is_over = True
        self._lines.put(None)

    def read(self, lines: Iterator[str]) -> None:
        """Take the lines that the client writes; after the last comes an empty one."""
        for line in lines:
            self._lines.put(line)
        self._lines.put("")

    def next(self, end: float | None) -> str | None:
        """Return the next line, or None if the attempt is to end; ValueError if there is none until `end`."""
        try:
            return self._lines.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise ValueError(
                f"the link could not be made: there was no answer for too long; check the connection, then {AGAIN}"
            ) from None


@contextlib.contextmanager
def _client(port: int, folder: Path, attempt: _Attempt) -> Iterator[None]:
    """Run the client for the length of the block; the attempt reads what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", PROGRAM, str(port), str(folder.resolve())]
    # A Ctrl-C in the terminal is for the desk, which then ends the client by closing its standard input.
    apart = {"creationflags": _WINDOWS} if sys.platform == "win32" else {"start_new_session": True}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        **apart,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    reader = threading.Thread(target=attempt.read, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        if sys.platform != "win32":  # where it would take no time to end its own program
            process.terminate()
        try:
            process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            _kill(process)
        reader.join(GOODBYE)
        if not reader.is_alive():
            process.stdout.close()


_WINDOWS = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)


def _kill(process: "subprocess.Popen[str]") -> None:
    """End a process that does not end by itself, and what it has started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _understood(line: str) -> tuple[str, str]:
    """Return the address or the fault that a line of the client tells."""
    try:
        said = json.loads(line)
        url, fault = str(said.get("url", "")), str(said.get("fault", ""))
    except (ValueError, AttributeError):
        url = fault = ""
    if not url and not fault:
        fault = f"the link has ended, for its client process has; {AGAIN}"
    return url, fault
