"""A training run as it lies on disk: what was asked for, how it goes, and what it has been told; a page reads it all.

plan.json        what the user chose                    metrics.jsonl   a line for each logged step
resolved.json    what was found out before the start    samples.jsonl   texts written at the evaluations
status.json      how it stands                          control         what it is asked to do: run, pause or stop
held_out.txt     text it is not trained on              step-NNNNNNNN/  its saves
"""

import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from gptdesk.stored_values import LARGEST, fitting, warn_once
from gptdesk.system.terminal import readable
from gptdesk.training.lines import figures_of, objects, step_of
from gptdesk.training.options import GENTLE_RATE, DataOptions, ModelOptions, TrainingOptions
from gptdesk.training.trainer import TrainingStep
from models import storage
from models.names import NAME, NAME_RULE
from samplers.options import Options

log = logging.getLogger(__name__)

Order = Literal["run", "pause", "stop"]
State = Literal["new", "preparing", "training", "paused", "stopped", "finished", "failed"]

PLAN, RESOLVED, STATUS = "plan.json", "resolved.json", "status.json"
METRICS, SAMPLES, CONTROL, HELD_OUT = "metrics.jsonl", "samples.jsonl", "control", "held_out.txt"
LIMIT = 4_000_000  # bytes of a JSON file here
ACCEPT_CHANGES = "accept_changes"  # to go on although the text has changed
TAKEN = "there is a run {} already; resume it, or choose another name"
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Size = Annotated[int, Field(ge=1, le=LARGEST)]
Loss = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]  # nats
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
    parameters: Size
    block_size: Size
    bfloat16: bool
    steps: Size  # within the budgets
    tokens: Count  # in the training text
    validation_tokens: Count
    tokens_per_second: Annotated[float, Field(gt=0, le=LARGEST)]  # of the probe
    memory_bytes: Count
    chance: Loss | None = None  # a scale for the losses on the held-out text, see `ladder`
    unigram: Loss | None = None
    bigram: Loss | None = None


@dataclass(frozen=True)
class RunStatus:
    """How a run stands. A process that was killed leaves what it said last: see `gptdesk.training.control`."""

    state: State = "new"
    message: str = ""  # for the user, in a sentence
    step: Count = 0
    steps: Count = 0
    saved_step: Count = 0
    best_step: Count = 0
    best_loss: Loss | None = None
    progress: Annotated[float, Field(ge=0, le=1)] = 0.0  # of the preparation, from 0 to 1
    model: str = ""  # that came of it at its end
    asks: str = ""  # what the user must say before it goes on: ACCEPT_CHANGES, or nothing
    updated: Annotated[float, Field(ge=0, le=LARGEST)] = 0.0  # seconds since 1970


@dataclass(frozen=True)
class Sample:
    """A text the model wrote after a step."""

    step: Count
    prompt: str
    text: str


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one run; nothing in it is ever half written."""

    path: Path

    @classmethod
    def create(cls, path: Path, plan: RunPlan) -> "RunDirectory":
        """A new run that has not begun; ValueError if there is one of that name."""
        try:
            with storage.new_folder(path, replace=False) as folder:
                cls(folder).write_plan(plan)
        except FileExistsError:
            raise ValueError(TAKEN.format(path.name)) from None
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.name

    def plan(self) -> RunPlan:
        """Return what the user chose; ValueError if the folder holds no run."""
        data = storage.read_json(self.path / PLAN, limit=LIMIT, file_names=True)
        try:
            return RunPlan(**data)
        except ValueError as error:
            raise ValueError(f"{PLAN} cannot be understood: {error}; mend it, or delete the run {self.name}") from None

    def write_plan(self, plan: RunPlan) -> None:
        storage.write_file(
            self.path / PLAN, storage.json_bytes(plan.model_dump(mode="json"), errors="backslashreplace")
        )

    def resolved(self) -> Resolved | None:
        """Return what was found out, or None before the first step; ValueError if that cannot be understood."""
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
        storage.write_file(self.path / RESOLVED, storage.json_bytes(asdict(resolved)))

    def forget_resolved(self) -> None:
        (self.path / RESOLVED).unlink(missing_ok=True)

    def status(self) -> RunStatus:
        """Return how the run stood when it last said so; what is damaged in it is as it is in a new run."""
        file = self.path / STATUS
        try:
            data = storage.read_json(file, limit=LIMIT)
        except ValueError as error:
            if file.exists():
                warn_once(f"{error}, so it is not known how the run {self.name} stands: {file}")
            return RunStatus()
        status, bad = fitting(RunStatus, data)
        if bad:
            warn_once(f"{', '.join(bad)} in {file} cannot be understood and is taken as not known")
        return status

    def write_status(self, status: RunStatus) -> None:
        data = asdict(status) | {"updated": time.time()}
        storage.write_file(self.path / STATUS, storage.json_bytes(data))

    def order(self) -> Order:
        """What the run is asked to do."""
        try:
            with open(self.path / CONTROL, "rb") as file:
                text = file.read(100).decode("utf-8", "replace").strip()
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
        """Return the logged steps, or those in the last bytes of metrics.jsonl, oldest first, by the names there.

        Each has its step; figures that are no numbers, and lines without a step, are left out.
        """
        lines = storage.read_lines(self.path / METRICS, last_bytes=last_bytes)
        found = [figures_of(data) for data in objects(lines)]
        good = [line for line, _ in found if "step" in line]
        if len(good) < len(lines) or any(damaged for _, damaged in found):
            warn_once(f"{self.path / METRICS} has figures that cannot be understood; they are left out")
        return good

    def last_metrics(self) -> dict[str, object]:
        """The last of them; empty if there is none."""
        last = self.metrics(last_bytes=4096)
        return last[-1] if last else {}

    def samples(self) -> list[Sample]:
        """Return the texts written so far, oldest first; lines that are none are left out."""
        lines, found = storage.read_lines(self.path / SAMPLES), []
        for data in objects(lines):
            with suppress(ValueError):
                found.append(fitting(Sample, data)[0])
        if len(found) < len(lines):
            warn_once(f"{self.path / SAMPLES} has lines that cannot be understood; they are left out")
        return found

    def forget_after(self, step: int) -> None:
        """Drop lines about later steps: a run that goes on from `step` will write them again."""
        for name in (METRICS, SAMPLES):
            if (self.path / name).exists():
                kept = [line for line in storage.read_lines(self.path / name) if step_of(line) <= step]
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
