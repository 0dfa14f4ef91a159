"""Management of models: the list with all that is known, changes that spare runs and loans, memory, quantization."""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import psutil

from gptdesk.formatting import file_size
from gptdesk.training import control
from gptdesk.training.context import RunContext
from gptdesk.training.lock import holder, starting_lock
from models.library import ModelLibrary
from models.listing import ModelInfo
from models.manager import ModelKey, ModelManager
from models.names import same_as
from models.precision import PRECISIONS
from models.weight_reading import ReadingProgress, ReadingStopped

POLL = 0.2  # seconds between two looks at a thread
Event = TypeVar("Event")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ListedModel:
    """One model of the list, with what changes while its folder does not."""

    info: ModelInfo
    stored: tuple[str, ...]  # precisions that it is on disk at, its own first
    last_used: float | None  # seconds since 1970


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory that the weights of a model take at one precision, in bytes, beside what there is."""

    precision: str
    needed: int  # at most, which is reserved to load it
    loaded: int | None  # what they take now; None: it is not loaded
    free: int  # that the system has now
    budget: int | None  # for all loaded models

    @property
    def verdict(self) -> str:
        """Size of a loaded one, else the reason why it does not fit, or "fits"."""
        if self.loaded is not None:
            return f"loaded: {file_size(self.loaded)}"
        if self.budget is not None and self.needed > self.budget:
            return f"more than the {self.budget / 1e9:.1f} GB for loaded models (memory_gb)"
        return "fits" if self.needed <= self.free else f"more than the {self.free / 1e9:.1f} GB that are free now"


@dataclass(frozen=True)
class Quantizing:
    """Progress of a quantization: part of the weights that have been read, 0 to 1; then the file is written."""

    fraction: float


def listing(library: ModelLibrary) -> list[ListedModel]:
    """Return all models, in the order of the library."""
    return [listed(library, info) for info in library.available()]


def listed(library: ModelLibrary, info: ModelInfo) -> ListedModel:
    """Return one model of the list."""
    return ListedModel(info, library.stored(info), library.last_use.time_of(info.name))


def rename(context: RunContext, manager: ModelManager, name: str, new: str) -> ModelInfo:
    """Rename a model and free its memory once nobody uses it.

    Raises ValueError as `ModelLibrary.rename`, also for a failing disk, and while a run trains from the model.
    """
    with starting_lock(context.settings.home):
        _check_unread(context, name, "renamed")
        try:
            info = context.library.rename(name, new)
        except OSError as error:
            raise ValueError(f"{name} was not renamed ({error.strerror or error}); it is as before") from error
    manager.unload_model(name)
    return info


def remove(context: RunContext, manager: ModelManager, name: str) -> None:
    """Remove a model and free its memory once nobody uses it. Raises ValueError as `rename`."""
    with starting_lock(context.settings.home):
        _check_unread(context, name, "removed")
        try:
            context.library.remove(name)
        except OSError as error:
            raise ValueError(f"{name} was not removed ({error.strerror or error}); it is as before") from error
    manager.unload_model(name)


def quantize(
    library: ModelLibrary,
    name: str,
    precision: str,
    *,
    to: str | None,
    stop: threading.Event,
    raised: Mapping[str, str] | None = None,
) -> Iterator[Quantizing | ModelInfo]:
    """Yield the progress of a quantization, then the new model; without it once `stop` is set before the file is full.

    With matrices `raised` as `ModelLibrary.quantize`. Raises ValueError as that does, also for a failing disk. Closing
    the stream stops the quantization.
    """
    progress = ReadingProgress(stop=stop)
    try:
        yield (
            yield from watched(
                lambda: library.quantize(name, precision, to=to, raised=raised, progress=progress),
                stop=stop,
                progress=lambda: Quantizing(progress.fraction),
            )
        )
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{name} was not quantized and nothing was changed: {reason}") from error
    except ReadingStopped:
        return


def verify(library: ModelLibrary, name: str, *, stop: threading.Event) -> Iterator[float | str]:
    """Yield the part of a model's weights that has been read, 0 to 1, then the sentence that it is whole.

    Without the sentence once `stop` is set. Raises ValueError as `ModelLibrary.verify`.
    """
    progress = ReadingProgress(stop=stop)
    try:
        tensors = yield from watched(
            lambda: library.verify(name, progress=progress), stop=stop, progress=lambda: progress.fraction
        )
    except ReadingStopped:
        return
    yield whole_sentence(name, tensors)


def whole_sentence(name: str, tensors: int) -> str:
    """Return the sentence on a model in which no fault was found."""
    return f"{name} is whole: {tensors} tensors were read, and all numbers are finite."


def watched(
    work: Callable[[], Result], *, stop: threading.Event, progress: Callable[[], Event]
) -> Generator[Event, None, Result]:
    """Yield `progress()` while a thread does the work, then return its result or raise its error.

    Closing the generator sets `stop`, and waits for the thread.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again below
            errors.append(error)

    worker = threading.Thread(target=run, name="watched", daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            yield progress()
            worker.join(POLL)
    finally:
        if worker.is_alive():
            stop.set()
            worker.join()
    if errors:
        raise errors[0]
    return results[0]


def memory_estimates(manager: ModelManager, info: ModelInfo) -> list[MemoryEstimate]:
    """Return the memory of a model at each precision that it can run at; ValueError if it cannot be used."""
    checkpoint = manager.library.checkpoint(info.name)
    free, budget = int(psutil.virtual_memory().available), manager.memory_budget
    sizes = {name: checkpoint.runs_at(PRECISIONS[name]).memory_bytes(checkpoint.config) for name in info.precisions}
    loaded = manager.loaded_bytes()
    return [
        MemoryEstimate(name, size, loaded.get(ModelKey(info.name, name)), free, budget) for name, size in sizes.items()
    ]


def when(seconds: float | None) -> str:
    """Return a time of last use as text: a day, and today the minute; a dash if it is not known."""
    if seconds is None:
        return "\N{EN DASH}"
    then, now = time.localtime(seconds), time.localtime()
    return time.strftime("today %H:%M" if then[:3] == now[:3] else "%Y-%m-%d", then)


def _check_unread(context: RunContext, name: str, change: str) -> None:
    """Raise ValueError if a run that trains now began with the model: it may not have read it yet."""
    run = holder(context.settings.home)
    if run is None:
        return
    start = control.find(context, run).plan().model.start
    if start and same_as(start, [name]):
        raise ValueError(f"the run {run} trains from {name}, which cannot be {change} now; stop it first")
