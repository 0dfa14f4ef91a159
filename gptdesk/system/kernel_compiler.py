"""Compilation of the fast kernels beside a running desk, in a process of low priority."""

import logging
import os
import subprocess
import sys
from pathlib import Path

log = logging.getLogger(__name__)


class KernelCompiler:
    """Process that compiles the step of every precision, which takes about a minute of one core, once.

    It is for the next start: a desk that has loaded a model before is run by torch's kernels to its end.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; a failure is logged, since torch can compute."""
        folder, nothing = Path(__file__).parents[2], subprocess.DEVNULL
        command = [sys.executable, "-m", "models.native"]
        try:
            if sys.platform == "win32":
                flags = subprocess.IDLE_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
                self._process = subprocess.Popen(
                    command, stdin=nothing, stdout=nothing, stderr=nothing, cwd=folder, creationflags=flags
                )
                return
            self._process = subprocess.Popen(
                command, stdin=nothing, stdout=nothing, stderr=nothing, cwd=folder, start_new_session=True
            )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, 19)
        except OSError as error:
            log.warning("the fast kernels cannot be compiled in the background: %s", error)

    def stop(self) -> None:
        """Let the process end if it is still there, once the precision at hand is compiled; the next desk goes on."""
        if self._process is not None:
            self._process.terminate()
