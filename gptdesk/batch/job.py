"""Folder of a batch: plan, prompts, rows, failures, and orders to the process that runs it."""

import itertools
import json
import logging
import os
import re
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptdesk.batch.plan import BatchPlan
from models import storage
from models.file_lock import locked
from models.json_values import parse_json

log = logging.getLogger(__name__)
PLAN, PROMPTS, ROWS, FAILURES, LOCK, ORDER, STOPPED = (
    *("plan.json", "prompts.jsonl", "rows.jsonl", "failures.jsonl", "lock", "order", "stopped"),
)
LARGEST_PLAN = 10_000_000  # bytes
IDENT = re.compile(r"[0-9a-z-]{1,40}")
RECENT, RECENT_BYTES = 20, 1 << 18  # rows that the time left is estimated from, and the end of a file they are in
BLOCK = 1 << 20
State = Literal["running", "paused", "stopped", "finished"]
Order = Literal["pause", "stop"]


@dataclass(frozen=True)
class BatchStatus:
    """State of a batch, read from its folder."""

    state: State
    done: int  # rows with texts
    failed: int
    total: int
    seconds_left: float | None  # None: not known yet, or nothing is left


class BatchJob:
    """Batch in a folder. Raises ValueError if it holds none."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ident = folder, folder.name
        data = storage.read_json(folder / PLAN, limit=LARGEST_PLAN)
        self.plan = BatchPlan.from_data(_object(data.get("plan")))
        self.name, count, created = str(data.get("name")), data.get("prompts"), data.get("created")
        if not isinstance(count, int) or not isinstance(created, int | float):
            raise ValueError(f"the plan of the batch {self.ident} is damaged; delete {folder}")
        self.prompt_count, self.created = count, float(created)
        self.total = self.plan.rows(count)

    def prompts(self) -> list[str]:
        """Return all prompts; ValueError if the file is damaged."""
        found = [_parsed(line) for line in storage.read_lines(self.folder / PROMPTS)]
        texts = [one for one in found if isinstance(one, str)]
        if len(texts) != self.prompt_count:
            raise ValueError(f"the prompts of the batch {self.ident} are damaged; start it anew")
        return texts

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows that have texts, in the order in which they were finished."""
        return _records(self.folder / ROWS)

    def failures(self) -> Iterator[dict[str, object]]:
        """Yield the rows that failed, each with a sentence as `error`."""
        return _records(self.folder / FAILURES)

    def last_rows(self, count: int) -> list[dict[str, object]]:
        """Return the last `count` rows that have texts, as far as they fit RECENT_BYTES; the newest last."""
        lines = storage.read_lines(self.folder / ROWS, last_bytes=RECENT_BYTES)[-count:]
        return [value for value in map(_parsed, lines) if isinstance(value, dict)]

    def append(self, record: dict[str, object]) -> None:
        """Append a finished row, or one that failed to the failures; OSError if the disk refuses."""
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
        storage.append_line(self.folder / (FAILURES if "error" in record else ROWS), line)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the batch while it runs; ValueError if another process or thread runs it."""
        busy = f"the batch {self.ident} is running already; pause it there first"
        return locked(self.folder / LOCK, busy=busy, patience=1.0)

    def repair(self) -> set[int]:
        """Cut off a line that a killed process left unfinished, and return the numbers of the rows that are done."""
        for name in (ROWS, FAILURES):
            _cut_unfinished(self.folder / name)
        done = {record["row"] for record in (*self.rows(), *self.failures())}
        return {row for row in done if isinstance(row, int)}

    def status(self) -> BatchStatus:
        """Return the state of the batch; the time left is estimated from its last rows."""
        done, failed = _line_count(self.folder / ROWS), _line_count(self.folder / FAILURES)
        rest = self.total - done - failed
        left = _interval(self.last_rows(RECENT)) if rest else None
        state: State = "running" if self.is_running else "stopped" if (self.folder / STOPPED).exists() else "paused"
        if state != "running" and rest <= 0:
            state = "finished"
        return BatchStatus(state, done, failed, self.total, None if left is None else left * rest)

    def give_order(self, order: Order) -> None:
        """Ask the process that runs the batch to pause or to stop; without one, a stop takes effect at once."""
        if self.is_running:
            storage.write_file(self.folder / ORDER, order.encode())
        elif order == "stop":
            (self.folder / STOPPED).touch()

    def check_deletable(self) -> None:
        """Raise ValueError while the batch runs."""
        if self.is_running:
            raise ValueError(f"the batch {self.name[:60]!r} is running; stop it first, then delete it")

    def begin(self) -> None:
        """Forget earlier orders, for a run that begins."""
        for name in (ORDER, STOPPED):
            (self.folder / name).unlink(missing_ok=True)

    def obey(self) -> bool:
        """Return whether there is an order to end the run; note that it was to stop."""
        try:
            order = (self.folder / ORDER).read_bytes()
        except FileNotFoundError:
            return False
        if order == b"stop":
            (self.folder / STOPPED).touch()
        return True

    @property
    def is_running(self) -> bool:
        """True while a process or thread runs the batch."""
        if not (self.folder / LOCK).exists():  # it never ran; `locked` would make the file, and a deleted folder
            return False
        try:
            with locked(self.folder / LOCK, busy="", patience=0.0):
                return False
        except ValueError:
            return True
        except OSError:  # in a home that cannot be written nothing runs
            return False


def delete_job(job: BatchJob) -> None:
    """Delete a batch with its prompts and texts; ValueError while it runs, or if the disk refuses."""
    job.check_deletable()
    try:
        storage.remove_folder(job.folder)
    except OSError as error:
        raise ValueError(f"the batch {job.name[:60]!r} cannot be deleted: {error.strerror or error}") from error


def create_job(batches: Path, plan: BatchPlan, prompts: list[str], *, name: str, ident: str = "") -> BatchJob:
    """Write the folder of a new batch and return it; FileExistsError if there is one of this `ident`."""
    ident = ident or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    facts = {"name": name, "created": time.time(), "prompts": len(prompts), "plan": plan.to_data()}
    with storage.new_folder(batches / ident, replace=False) as folder:
        storage.write_file(folder / PLAN, storage.json_bytes(facts, errors="backslashreplace"))
        with (folder / PROMPTS).open("wb") as file:
            file.writelines(json.dumps(prompt).encode() + b"\n" for prompt in prompts)
    return BatchJob(batches / ident)


def open_job(batches: Path, ident: str) -> BatchJob:
    """Return the batch of this id; ValueError if there is none."""
    if not IDENT.fullmatch(ident) or not (batches / ident / PLAN).is_file():
        raise ValueError(f"there is no batch {ident!r:.60}; `gptdesk batch --list` lists them")
    return BatchJob(batches / ident)


def list_jobs(batches: Path) -> list[BatchJob]:
    """Return all batches, the newest first; damaged ones are named in the log and left out."""
    jobs = []
    for folder in storage.folders(batches) if batches.is_dir() else []:
        try:
            jobs.append(BatchJob(folder))
        except ValueError as error:
            log.warning("the batch %s cannot be read: %s", folder.name, error)
    return sorted(jobs, key=lambda job: job.created, reverse=True)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("the plan of the batch is damaged")
    return value


def _parsed(line: bytes) -> object:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _records(path: Path) -> Iterator[dict[str, object]]:
    """Yield the finished lines of a file one after the other, each row once."""
    seen: set[object] = set()
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            value = _parsed(line) if line.endswith(b"\n") else None
            if isinstance(value, dict) and isinstance(row := value.get("row"), int) and row not in seen:
                seen.add(row)
                yield value


def _cut_unfinished(path: Path) -> None:
    """Truncate a file after its last line end."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = keep = file.seek(0, os.SEEK_END)
        while keep > 0:
            start = max(0, keep - BLOCK)
            file.seek(start)
            place = file.read(keep - start).rfind(b"\n")
            keep = start + place + 1 if place >= 0 else start
            if place >= 0:
                break
        if keep != end:
            file.truncate(keep)


def _line_count(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))


def _interval(rows: list[dict[str, object]]) -> float | None:
    """Return the median seconds between the ends of rows, which a pause among them does not change."""
    ends = [float(end) for row in rows if isinstance(end := row.get("ended"), int | float)]
    return statistics.median(b - a for a, b in itertools.pairwise(ends)) if len(ends) > 1 else None
