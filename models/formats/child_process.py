"""Process that converts a foreign file, apart from the desk, with a deadline."""

import json
import logging
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.formats.converting import size_of
from models.formats.options import ImportOptions
from models.pickles.archive import ZIP

log = logging.getLogger(__name__)

POLL = 0.1  # seconds between two looks whether to stop
SECONDS = 120  # that any file is given
CHECK_SECONDS = 30  # for an archive's pickle alone
BYTES_A_SECOND = 4_000_000  # of a slow disk; a larger file is given more time
ROOT = Path(__file__).parent.parent.parent


class ImportStopped(Exception):
    """End of an import that was told to stop."""


@dataclass(frozen=True)
class Answer:
    """Answer of the process: what became of the file, whose checkpoint is in the folder now."""

    kind: str
    missing: tuple[str, ...]  # options that are guesses
    remarks: tuple[str, ...]
    gpt2: bool  # the tokenizer is GPT-2's own, and not in the folder


def convert_apart(
    file: Path,
    folder: Path,
    options: ImportOptions,
    *,
    seconds: int | None = None,
    stop: threading.Event | None = None,
) -> Answer:
    """Convert `file` into `folder` in a process of its own; ValueError if that refuses, dies or is not done in time.

    An archive by torch.save is checked before by a process that needs neither torch nor memory. Raises ImportStopped,
    with the process ended, once `stop` is set.
    """
    patience = SECONDS + size_of(file) // BYTES_A_SECOND if seconds is None else seconds
    if _is_archive(file):
        _answer("models.pickles", [str(file.absolute())], min(patience, CHECK_SECONDS), stop)
    words = [str(file.absolute()), str(folder), json.dumps(asdict(options))]
    answer = _answer("models.formats", words, patience, stop)
    return Answer(answer["kind"], tuple(answer["missing"]), tuple(answer["remarks"]), answer["gpt2"])


def _is_archive(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(len(ZIP)) == ZIP


def _answer(module: str, words: list[str], seconds: int, stop: threading.Event | None) -> dict[str, Any]:
    """Return the answer of a module's process; ValueError if it refuses, dies or is not done in time."""
    deadline = time.monotonic() + seconds
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words, str(max(1, seconds))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        while True:
            try:
                # called again after a timeout, it loses no output
                output, errors = process.communicate(timeout=POLL if stop else seconds)
                break
            except subprocess.TimeoutExpired as error:
                if stop and stop.is_set():
                    raise ImportStopped from error
                if time.monotonic() >= deadline:
                    raise ValueError(
                        f"it was not read within {seconds} seconds, so it is damaged or made to take long"
                    ) from error
    finally:
        process.kill()
        process.communicate()
    if process.returncode:
        log.debug("%s", errors.decode("utf-8", "replace"))
        raise ValueError(f"it is damaged: reading it failed (exit code {process.returncode})")
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    if reason := answer.get("refused"):
        raise ValueError(reason)
    return answer
