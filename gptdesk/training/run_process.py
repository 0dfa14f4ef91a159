"""Process of a run: `gptdesk train --resume NAME`, started so that it outlives the one that starts it."""

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from gptdesk.training.run_directory import RunDirectory

LOG = "log.txt"  # output of the process, in the run's folder
START_TIMEOUT = 60.0  # seconds that a process may take until it first writes its status
END_TIMEOUT = 10.0  # seconds that a process may take to end after its last status


def launch(run: RunDirectory, home: Path, *, accept_changes: bool) -> subprocess.Popen[bytes]:
    """Start the process of a run and return it once it has written its status.

    Raises ValueError with the reason if it ends before, writes nothing for START_TIMEOUT, or fails at once.
    """
    launched = time.time()
    command = [sys.executable, "-m", "gptdesk", "--home", str(home), "train", "--resume", run.name]
    command += ["--accept-changes"] if accept_changes else []
    with open(run.path / LOG, "ab") as log:
        size = log.tell()
        process = _spawn(command, log)
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie
    deadline = time.monotonic() + START_TIMEOUT
    while (status := run.status()).updated < launched:
        if process.poll() is not None:
            raise ValueError(f"the run {run.name} could not be started: {_last_line(run.path / LOG, after=size)}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise ValueError(
                f"the run {run.name} could not be started: its process did not respond within {START_TIMEOUT:.0f} s; "
                f"see {run.path / LOG}"
            )
        time.sleep(0.02)
    if status.state == "failed":
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT)  # until then it holds the lock, and the run could not be removed
        raise ValueError(f"the run {run.name} could not be started: {status.message}")
    return process


def _spawn(command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start a process that neither the end of this one nor a Ctrl-C in its terminal reaches."""
    folder, nothing = Path(__file__).parent.parent, subprocess.DEVNULL
    if sys.platform == "win32":
        apart = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, cwd=folder, creationflags=apart)
    return subprocess.Popen(command, stdin=nothing, stdout=log, stderr=log, cwd=folder, start_new_session=True)


def _last_line(log: Path, *, after: int) -> str:
    """Return the last line in a log beyond its first `after` bytes, without the name of the program."""
    with open(log, "rb") as file:
        file.seek(after)
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"{log} does not say why")
    return last.removeprefix("gptdesk: ")
