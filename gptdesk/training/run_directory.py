"""Folder of a training run: its plan, status, metrics, samples and checkpoints, as a viewer reads them.

plan.json        options that the user chose            metrics.jsonl   a line for each logged step
resolved.json    what was measured before the start     samples.jsonl   texts written at the evaluations
status.json      state and progress                     control         order to the run: run, pause or stop
held_out.txt     validation split as text               step-NNNNNNNN/  checkpoints
queued           time since which it waits to start
"""

import json
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gptdesk.stored_values import LARGEST, fitting, warn_once
from gptdesk.training.lines import objects, step_of, valid_metrics
from gptdesk.training.plan import RunPlan, upgrade
from gptdesk.training.states import StoredState
from gptdesk.training.steps import TrainingStep
from models import storage
from models.checkpoint import HELD_OUT

log = logging.getLogger(__name__)

Order = Literal["resume", "pause", "stop"]

PLAN, RESOLVED, STATUS = "plan.json", "resolved.json", "status.json"
METRICS, SAMPLES, CONTROL = "metrics.jsonl", "samples.jsonl", "control"
QUEUED = "queued"
STORED_ORDERS: dict[str, Order] = {"run": "resume", "pause": "pause", "stop": "stop"}  # as the file `control` has them
LIMIT = 4_000_000  # bytes of a JSON file here
ACCEPT_CHANGES = "accept_changes"  # question to the user: resume although the text has changed?
NAME_IN_USE = "there is a run {} already; resume it, or choose another name"
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Size = Annotated[int, Field(ge=1, le=LARGEST)]
Loss = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]  # nats


@dataclass(frozen=True)
class Resolved:
    """Facts that are measured before the first step and hold for the whole run."""

    digest: str  # of the text
    split: str
    tokenizer: str
    parameters: Size
    block_size: Size
    bfloat16: bool
    steps: Size  # within the budgets
    tokens: Count  # in the training text
    validation_tokens: Count
    tokens_per_second: Annotated[float, Field(gt=0, le=LARGEST)]  # of the probe
    memory_bytes: Count
    chance: Loss | None = None  # losses of baselines on the validation split, see `Baselines`
    unigram: Loss | None = None
    bigram: Loss | None = None


@dataclass(frozen=True)
class RunStatus:
    """State and progress as the run's process wrote them last, which a killed one leaves: see `control.info`."""

    state: StoredState = "new"
    message: str = ""  # for the user, in a sentence
    step: Count = 0
    steps: Count = 0
    saved_step: Count = 0
    best_step: Count = 0
    best_loss: Loss | None = None
    progress: Annotated[float, Field(ge=0, le=1)] = 0.0  # of the preparation, from 0 to 1
    model: str = ""  # made at its end
    asks: str = ""  # question to the user before it is resumed: ACCEPT_CHANGES, or none
    updated: Annotated[float, Field(ge=0, le=LARGEST)] = 0.0  # seconds since 1970
    closest: str = ""  # model of the last step, made beside `model`, where it suits a short text better


@dataclass(frozen=True)
class QueuedStart:
    """Options of the start of a run that waits: the second line of the file `queued`."""

    accept_changes: bool = False  # of its text
    more_steps: Count = 0  # of a run that has ended; 0: those that its plan has


@dataclass(frozen=True)
class Sample:
    """Text that the model wrote after a step."""

    step: Count
    prompt: str
    text: str


@dataclass(frozen=True)
class RunDirectory:
    """Folder of one run, whose files are written atomically."""

    path: Path

    @classmethod
    def create(cls, path: Path, plan: RunPlan) -> "RunDirectory":
        """Make the folder of a new run; ValueError if there is one of that name."""
        try:
            with storage.new_folder(path, replace=False) as folder:
                cls(folder).write_plan(plan)
        except FileExistsError:
            raise ValueError(NAME_IN_USE.format(path.name)) from None
        return cls(path)

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    def plan(self) -> RunPlan:
        """Return what the user chose; ValueError if the folder holds no run that can be understood."""
        data = storage.read_json(self.path / PLAN, limit=LIMIT, file_names=True)
        try:
            return RunPlan(**upgrade(data))
        except ValueError as error:
            raise ValueError(f"{PLAN} cannot be understood: {error}; mend it, or delete the run {self.name}") from None

    def write_plan(self, plan: RunPlan) -> None:
        """Write what the user chose."""
        storage.write_file(
            self.path / PLAN, storage.json_bytes(plan.model_dump(mode="json"), errors="backslashreplace")
        )

    def resolved(self) -> Resolved | None:
        """Return what was measured, or None before the first step; ValueError if that cannot be understood."""
        if not (self.path / RESOLVED).exists():
            return None
        try:
            resolved, bad = fitting(Resolved, storage.read_json(self.path / RESOLVED, limit=LIMIT))
            if bad:
                raise ValueError(f"it has no usable {bad[0]}")
        except ValueError as error:
            raise ValueError(
                f"{RESOLVED} cannot be understood: {error}; mend it, or delete the run {self.name}"
            ) from None
        return resolved

    def write_resolved(self, resolved: Resolved) -> None:
        """Write what was measured before the first step."""
        storage.write_file(self.path / RESOLVED, storage.json_bytes(asdict(resolved)))

    def remove_resolved(self) -> None:
        """Remove it, so that the next start measures again."""
        (self.path / RESOLVED).unlink(missing_ok=True)

    def status(self) -> RunStatus:
        """Return the status that was written last; damaged values in it are those of a new run."""
        file = self.path / STATUS
        try:
            data = storage.read_json(file, limit=LIMIT)
        except ValueError as error:
            if file.exists():
                warn_once(f"{error}, so the state of the run {self.name} is not known: {file}")
            return RunStatus()
        status, bad = fitting(RunStatus, data)
        if bad:
            warn_once(f"{', '.join(bad)} in {file} cannot be understood and is taken as not known")
        return status

    def write_status(self, status: RunStatus) -> None:
        """Write the status, with the time of now."""
        data = asdict(status) | {"updated": time.time()}
        storage.write_file(self.path / STATUS, storage.json_bytes(data))

    def order(self) -> Order:
        """Return the order to the run; "resume" if there is none, or none that can be understood."""
        try:
            with open(self.path / CONTROL, "rb") as file:
                text = file.read(100).decode("utf-8", "replace").strip()
        except OSError:
            return "resume"
        return STORED_ORDERS.get(text, "resume")

    def write_order(self, order: Order) -> None:
        """Write an order, which the run's process reads between two steps."""
        stored = next(text for text, known in STORED_ORDERS.items() if known == order)
        storage.write_file(self.path / CONTROL, stored.encode())

    def queued_since(self) -> float | None:
        """Return since when the run waits in the queue, in seconds since 1970; None if it does not."""
        lines = self._queued_lines()
        if lines is None:
            return None
        try:
            since = float(lines[0])
        except ValueError:
            return 0.0  # damaged, but it waits
        return since if math.isfinite(since) else 0.0

    def queued_start(self) -> QueuedStart:
        """Return how a run that waits is to be started; the usual way if that is not known."""
        lines = self._queued_lines() or [b""]
        parsed = objects(lines[1:2])
        return fitting(QueuedStart, parsed[0])[0] if parsed else QueuedStart()

    def write_queued(self, start: QueuedStart | None = None) -> None:
        """Put the run at the end of the queue."""
        more = b"" if start is None else b"\n" + json.dumps(asdict(start)).encode()
        storage.write_file(self.path / QUEUED, repr(time.time()).encode() + more)

    def _queued_lines(self) -> list[bytes] | None:
        """Return the lines of the file `queued`, at least one; None if there is none."""
        try:
            with open(self.path / QUEUED, "rb") as file:
                return file.read(1000).split(b"\n")
        except OSError:
            return None

    def remove_queued(self) -> None:
        """Take the run out of the queue, if it waits there."""
        (self.path / QUEUED).unlink(missing_ok=True)

    def log_step(self, step: TrainingStep) -> None:
        """Add a line to the metrics."""
        data: dict[str, object] = {
            "step": step.step,
            "train_loss": step.train_loss,
            "val_loss": step.validation_loss,
            "learning_rate": step.learning_rate,
            "grad_norm": step.grad_norm,
            "tokens_per_second": round(step.tokens_per_second, 1),
            "seconds": round(step.seconds, 3),
            "tokens": step.tokens,
            "epoch": round(step.epoch, 4),
            "best": step.best,
        }
        if step.steps is not None:
            data["steps"] = step.steps
        storage.append_line(self.path / METRICS, json.dumps(data, allow_nan=False).encode())

    def log_samples(self, samples: list[Sample]) -> None:
        """Add a line for each text."""
        for sample in samples:
            line = json.dumps(asdict(sample), ensure_ascii=False).encode("utf-8")
            storage.append_line(self.path / SAMPLES, line)

    def metrics(self, *, last_bytes: int | None = None) -> list[dict[str, object]]:
        """Return the logged steps, or those in the last bytes of metrics.jsonl, oldest first, by the names there.

        Each has its step; values that are no numbers, and lines without a step, are left out.
        """
        return metrics_of(storage.read_lines(self.path / METRICS, last_bytes=last_bytes), self.path / METRICS)

    def last_metrics(self) -> dict[str, object]:
        """Return the last logged step; empty if there is none."""
        last = self.metrics(last_bytes=4096)
        return last[-1] if last else {}

    def samples(self) -> list[Sample]:
        """Return the texts written so far, oldest first; lines that cannot be understood are left out."""
        lines, samples = storage.read_lines(self.path / SAMPLES), []
        for data in objects(lines):
            with suppress(ValueError):
                samples.append(fitting(Sample, data)[0])
        if len(samples) < len(lines):
            warn_once(f"{self.path / SAMPLES} has lines that cannot be understood; they are left out")
        return samples

    def remove_lines_after(self, step: int) -> None:
        """Remove lines about later steps: a run that is resumed from `step` writes them again."""
        for name in (METRICS, SAMPLES):
            if (self.path / name).exists():
                kept = [line for line in storage.read_lines(self.path / name) if step_of(line) <= step]
                storage.write_file(self.path / name, b"".join(line + b"\n" for line in kept))

    def write_held_out(self, text: str) -> None:
        """Write the validation split as text, by which the checkpoints are evaluated."""
        storage.write_file(self.path / HELD_OUT, text.encode("utf-8"))


def queued_names(runs: Path) -> list[str]:
    """Return the names of the runs that wait to start, the one that has waited longest first."""
    if not runs.is_dir():
        return []
    waiting = ((RunDirectory(folder).queued_since(), folder.name) for folder in storage.folders(runs))
    return [name for _, name in sorted((since, name) for since, name in waiting if since is not None)]


def metrics_of(lines: Sequence[bytes], path: Path) -> list[dict[str, object]]:
    """Return the logged steps that these lines of the file `path` hold, with a warning about what is left out."""
    parsed = [valid_metrics(data) for data in objects(lines)]
    good = [line for line, _ in parsed if "step" in line]
    if len(good) < len(lines) or any(damaged for _, damaged in parsed):
        warn_once(f"{path} has values that cannot be understood; they are left out")
    return good
