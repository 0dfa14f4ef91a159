"""Standard streams that may be closed or full, and the signals that end a command.

Imported first, so it uses only a few modules of the standard library.
"""

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers

HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
ENDING = tuple(number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None)


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP as an exception, like KeyboardInterrupt for Ctrl-C; `code` is the exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class ReaderGone(BrokenPipeError):
    """Closed reader of the pipe that the standard output is, as with `head`."""


class OutputFault(OSError):
    """Error of the standard output for another reason: it is closed, or the disk is full."""

    def __str__(self) -> str:
        return f"the standard output cannot be written ({self.strerror}); send it elsewhere"


def prepare() -> None:
    """Prepare streams and signals of this process, before anything else in a program.

    From here on SIGINT, SIGTERM and SIGHUP end the process at once, also during imports; code with something to clean
    up runs inside `interruptible`.
    """
    _install(_exit)
    closed = _occupy_descriptors()
    if not _is_readable(0):
        sys.stdin = sys.__stdin__ = None  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _protected(sys.stdout, 1, closed=1 in closed)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _protected(sys.stderr, 2, closed=2 in closed)  # type: ignore[misc]


def has_folder() -> bool:
    """Return whether the current folder exists."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


# Signals


def hold_signals() -> None:
    """Block the signals that end a command, also across an exec, until `release_signals`."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def release_signals() -> None:
    """Unblock the signals that end a command, and deliver those that came meanwhile."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt or Ended for a signal while the block runs, so that it can clean up.

    A second one ends the process at once: the first may be lost in code that cannot raise, such as `__del__`.
    """
    seen = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if not seen:
            seen = True
            raise_for(number)
        if number != HANGUP:  # which comes twice when a terminal is closed: from the system and from the shell
            _exit(number, frame)

    with handling(interrupt):
        yield


@contextlib.contextmanager
def exiting(clean_up: Callable[[], object]) -> Iterator[None]:
    """Call `clean_up` and end the process at once for a signal while the block runs.

    It is for imports, during which an exception can get lost.
    """

    def end(number: int, frame: FrameType | None) -> None:
        try:
            clean_up()
        finally:
            _exit(number, frame)

    with handling(end):
        yield


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Install `handler` for the signals that end a command while the block runs."""
    before = _install(handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def raise_for(number: int) -> None:
    """Raise KeyboardInterrupt for Ctrl-C, Ended for the other signals."""
    raise KeyboardInterrupt if number == signal.SIGINT else Ended(number)


def _install(handler: Handler) -> dict[int, Handler | int | None]:
    """Install the handler of ENDING and return the previous ones. Under nohup SIGHUP stays ignored."""
    obeyed = [number for number in ENDING if number != HANGUP or signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in obeyed}


def _exit(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


# Streams


def go_on_without_output() -> None:
    """Ignore errors of the standard output from now on, as those of the standard error always are."""
    if (output := _output(sys.stdout)) is not None:
        output.ignored = True


def flush_output() -> None:
    """Flush the standard output; raises ReaderGone or OutputFault if anything was lost, unless that is ignored."""
    fault, output = output_fault(), _output(sys.stdout)
    if fault is not None and output is not None and not output.ignored:
        raise fault  # argparse drops what its own printing raises


def output_fault() -> ReaderGone | OutputFault | None:
    """Flush the standard output and return the error by which any of it was lost, or None."""
    sys.stdout.flush()
    output = _output(sys.stdout)
    return None if output is None else output.fault


def readable(text: str) -> str:
    """Return the text with a question mark for each undecodable byte, as file names and arguments may hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


class _Output(io.FileIO):
    """Raw standard output or error; a failed write is ignored, or raised once, after which writes do nothing."""

    def __init__(self, descriptor: int, *, ignored: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.ignored = ignored
        self.fault: ReaderGone | OutputFault | None = None

    def write(self, data: object, /) -> int:
        """Write bytes and return their number; raises ReaderGone or OutputFault unless errors are ignored."""
        view = memoryview(data)  # type: ignore[arg-type]
        if self.fault is not None and not self.ignored:
            return view.nbytes
        try:
            written = super().write(view)
        except OSError as error:
            self.fault = _explained(error)
            if self.ignored:
                return view.nbytes
            raise self.fault from error
        if written is None and self.ignored:  # full, and another program has made it non-blocking
            return view.nbytes
        return written


def _explained(error: OSError) -> ReaderGone | OutputFault:
    if isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL):
        return ReaderGone(error.errno, error.strerror)
    return OutputFault(error.errno, "it is closed" if error.errno == errno.EBADF else error.strerror)


def _output(stream: object) -> _Output | None:
    """Return the raw stream below one of ours."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw if isinstance(raw, _Output) else None


def _occupy_descriptors() -> list[int]:
    """Open the null device for each closed descriptor among 0, 1 and 2, and return those.

    Otherwise the next opened file would get its number, and what is printed. Standard input is opened for writing and
    output for reading, so that using them remains an error.
    """
    closed = []
    for descriptor, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)
            os.set_inheritable(opened, True)
            closed.append(descriptor)
    return closed


def _is_readable(descriptor: int) -> bool:
    """Return whether a descriptor is open for reading; on Windows always True."""
    if sys.platform == "win32":
        return True
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


def _protected(stream: object, descriptor: int, *, closed: bool) -> io.TextIOWrapper:
    """Return the same stream, which replaces characters its encoding lacks and, as standard error, ignores errors."""
    errors = "backslashreplace" if descriptor == 2 else "replace"
    raw = _Output(descriptor, ignored=descriptor == 2)
    if closed or not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors, line_buffering=descriptor == 2)
    is_unbuffered = isinstance(stream.buffer, io.FileIO)  # as `python -u` makes it
    if type(getattr(stream.buffer, "raw", stream.buffer)) is not io.FileIO:  # a Windows console
        stream.reconfigure(errors=errors)
        return stream
    return io.TextIOWrapper(
        raw if is_unbuffered else io.BufferedWriter(raw),
        stream.encoding,
        errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
