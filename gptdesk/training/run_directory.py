"""A training run as it lies on disk: what was asked for, how it goes, and what it has been told; a page reads it all.

plan.json        what the user chose                    metrics.jsonl   a line for each logged step
resolved.json    what was found out before the start    samples.jsonl   texts written at the evaluations
status.json      how it stands                          control         what it is asked to do: run, pause or stop
held_out.txt     text it is not trained on              step-NNNNNNNN/  its saves
"""

import json
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from gptdesk.terminal import readable
from gptdesk.training.options import GENTLE_RATE, DataOptions, ModelOptions, TrainingOptions
from gptdesk.training.trainer import TrainingStep
from models import storage
from models.listing import NAME, NAME_RULE
from samplers.options import Options

log = logging.getLogger(__name__)

Order = Literal["run", "pause", "stop"]
State = Literal["new", "preparing", "training", "paused", "stopped", "finished", "failed"]

PLAN, RESOLVED, STATUS = "plan.json", "resolved.json", "status.json"
METRICS, SAMPLES, CONTROL, HELD_OUT = "metrics.jsonl", "samples.jsonl", "control", "held_out.txt"
LIMIT = 4_000_000  # bytes of a JSON file here
ACCEPT_CHANGES = "accept_changes"  # to go on although the text has changed
SOON = 1.0  # seconds between two states that need no attention


class RunPlan(Options):
    """All that a user chooses about a run. It names the model that comes of it, too."""

    name: str = Field(description="name of the run, and of the model that comes of it")
    data: tuple[str, ...] = Field(default=(), description="files and folders with the text")
    model: ModelOptions = ModelOptions()
    split: DataOptions = DataOptions()
    training: TrainingOptions = Field(default=TrainingOptions(), validate_default=True)

    @field_validator("training")
    @classmethod
    def _a_model_goes_on_gently(cls, training: TrainingOptions, info: ValidationInfo) -> TrainingOptions:
        model = info.data.get("model")
        if not isinstance(model, ModelOptions) or not model.start or "learning_rate" in training.model_fields_set:
            return training
        return training.model_copy(update={"learning_rate": GENTLE_RATE})

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:100]!r} cannot be the name of a run: {NAME_RULE}")
        return name


@dataclass(frozen=True)
class Resolved:
    """What was found out before the first step, and stays so for the whole run."""

    digest: str  # of the text
    split: str
    tokenizer: str
    parameters: int
    block_size: int
    bfloat16: bool
    steps: int  # within the budgets
    tokens: int  # in the training text
    validation_tokens: int
    tokens_per_second: float  # of the probe
    memory_bytes: int
    chance: float | None = None  # a scale for the losses on the held-out text, see `ladder`
    unigram: float | None = None
    bigram: float | None = None


@dataclass(frozen=True)
class RunStatus:
    """How a run stands. A process that was killed leaves what it said last: see `gptdesk.runs`."""

    state: State = "new"
    message: str = ""  # for the user, in a sentence
    step: int = 0
    steps: int = 0
    saved_step: int = 0
    best_step: int = 0
    best_loss: float | None = None
    progress: float = 0.0  # of the preparation, from 0 to 1
    asks: str = ""  # what the user must say before it goes on: ACCEPT_CHANGES, or nothing
    updated: float = 0.0  # seconds since 1970


@dataclass(frozen=True)
class Sample:
    """A text the model wrote after a step."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run; nothing in it is ever half written."""

    path: Path

    @classmethod
    def create(cls, path: Path, plan: RunPlan) -> "RunDirectory":
        """A new run that has not begun; ValueError if there is one of that name."""
        if path.exists():
            raise ValueError(f"there is a run {path.name} already; resume it, or choose another name")
        with storage.new_folder(path) as folder:
            cls(folder).write_plan(plan)
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.name

    def plan(self) -> RunPlan:
        """What the user chose; ValueError if the folder holds no run."""
        data = storage.read_json(self.path / PLAN, limit=LIMIT)
        return RunPlan(**data)

    def write_plan(self, plan: RunPlan) -> None:
        storage.write_file(
            self.path / PLAN, storage.json_bytes(plan.model_dump(mode="json"), errors="backslashreplace")
        )

    def resolved(self) -> Resolved | None:
        """What was found out, or None before the first step."""
        if not (self.path / RESOLVED).exists():
            return None
        try:
            return Resolved(**storage.read_json(self.path / RESOLVED, limit=LIMIT))  # type: ignore[arg-type]
        except TypeError as error:
            raise ValueError(f"{self.path / RESOLVED} cannot be understood: {error}") from error

    def write_resolved(self, resolved: Resolved) -> None:
        storage.write_file(self.path / RESOLVED, storage.json_bytes(asdict(resolved)))

    def forget_resolved(self) -> None:
        (self.path / RESOLVED).unlink(missing_ok=True)

    def status(self) -> RunStatus:
        """How the run stood when it last said so."""
        try:
            data = storage.read_json(self.path / STATUS, limit=LIMIT)
        except ValueError:
            return RunStatus()
        known = {field.name for field in fields(RunStatus)}
        return RunStatus(**{name: value for name, value in data.items() if name in known})  # type: ignore[arg-type]

    def write_status(self, status: RunStatus) -> None:
        data = asdict(status) | {"updated": time.time()}
        storage.write_file(self.path / STATUS, storage.json_bytes(data))

    def order(self) -> Order:
        """What the run is asked to do."""
        try:
            text = (self.path / CONTROL).read_text(encoding="utf-8").strip()
        except OSError:
            return "run"
        return text if text in get_args(Order) else "run"  # type: ignore[return-value]

    def write_order(self, order: Order) -> None:
        storage.write_file(self.path / CONTROL, order.encode())

    def log_step(self, step: TrainingStep) -> None:
        """Add a line to the metrics."""
        data = {
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
        storage.append_line(self.path / METRICS, json.dumps(data, allow_nan=False).encode())

    def log_samples(self, samples: list[Sample]) -> None:
        for sample in samples:
            line = json.dumps(asdict(sample), ensure_ascii=False).encode("utf-8")
            storage.append_line(self.path / SAMPLES, line)

    def metrics(self, *, last_bytes: int | None = None) -> list[dict[str, object]]:
        """The logged steps, or those in the last bytes of metrics.jsonl, oldest first, by the names there."""
        return _objects(storage.read_lines(self.path / METRICS, last_bytes=last_bytes))

    def last_metrics(self) -> dict[str, object]:
        """The last of them; empty if there is none."""
        last = self.metrics(last_bytes=4096)
        return last[-1] if last else {}

    def samples(self) -> list[Sample]:
        """The texts written so far, oldest first."""
        return [Sample(**data) for data in _objects(storage.read_lines(self.path / SAMPLES))]  # type: ignore[arg-type]

    def forget_after(self, step: int) -> None:
        """Drop lines about later steps: a run that goes on from `step` will write them again."""
        for name in (METRICS, SAMPLES):
            if (self.path / name).exists():
                kept = [line for line in storage.read_lines(self.path / name) if _step_of(line) <= step]
                storage.write_file(self.path / name, b"".join(line + b"\n" for line in kept))

    def write_held_out(self, text: str) -> None:
        storage.write_file(self.path / HELD_OUT, text.encode("utf-8"))


class Teller:
    """Writes down how a run stands; a full disk must not keep it from ending well."""

    def __init__(self, run: RunDirectory, *, silent: bool = False) -> None:
        self._run, self._silent = run, silent
        self._status = run.status()
        self._told = 0.0

    def tell(self, state: State, **values: object) -> None:
        """Change the status as given, in the names of RunStatus."""
        if isinstance(message := values.get("message"), str):
            values["message"] = readable(message)
        self._status = replace(self._status, state=state, **values)  # type: ignore[arg-type]
        if not self._silent:
            self._told = time.monotonic()
            try:
                self._run.write_status(self._status)
            except OSError as error:
                log.warning("the status of the run could not be written (%s)", error.strerror)

    def tell_now_and_then(self, state: State, **values: object) -> None:
        """The same, but not if something was told a moment ago."""
        if time.monotonic() - self._told > SOON:
            self.tell(state, **values)


def _objects(lines: Iterable[bytes]) -> list[dict[str, object]]:
    """The JSON objects of lines; one that a power cut has spoilt is left out."""
    found = []
    for line in lines:
        with suppress(ValueError):
            if isinstance(data := json.loads(line), dict):
                found.append(data)
    return found


def _step_of(line: bytes) -> float:
    """The step a line is about; infinity if it cannot be read."""
    for data in _objects([line]):
        if isinstance(step := data.get("step"), int):
            return step
    return float("inf")
