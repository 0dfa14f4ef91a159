"""Timing of sides: one after the other, alone, in alternating order, after a warm-up."""

import math
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gptdesk.comparison import Side, Stage, in_turn_note, prepare
from gptdesk.generation import GenerationRequest, GenerationResult, GenerationStart, GenerationStep, generate
from gptdesk.system.cpu_load import CpuLoad
from models.manager import LoadedModel, ModelManager
from models.weights import WEIGHTS

WARM_UP = 8  # tokens
LOADS = 3  # times at most that a load is timed
MOST_REPEATS = 50


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of values."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Timing:
    """Timing of one side. Spreads are over the repeats, in seconds and tokens per second; bytes are those of weights.

    `latencies` holds, for each token after the first, the median over the repeats of the seconds that it took.
    Sequences of fewer than two tokens have no speed.
    """

    kernels: str
    prompt_tokens: int
    file_bytes: int
    memory_bytes: int
    load_seconds: Spread  # of a file that had been read before
    first_token: Spread
    prompt_speed: Spread
    speed: Spread | None
    latency_p50: Spread | None
    latency_p95: Spread | None  # 95th percentile over the tokens
    latencies: tuple[float, ...]


@dataclass(frozen=True)
class Measurement:
    """Result of `measure`; its last event."""

    timings: tuple[Timing, ...]
    results: tuple[GenerationResult, ...]  # of the last repeat
    repeats: int
    others: float  # CPU load from other processes meanwhile, as a share of all processors
    note: str | None  # why the sides were loaded in turn, if they were


@dataclass
class _Runs:
    """Raw measurements of one side."""

    load_seconds: list[float] = field(default_factory=list)
    memory_bytes: int = 0
    file_bytes: int = 0
    starts: list[GenerationStart] = field(default_factory=list)
    times: list[list[float]] = field(default_factory=list)  # seconds at each token, for each repeat
    result: GenerationResult = field(default_factory=lambda: GenerationResult(1))


def measure(
    manager: ModelManager, sides: Sequence[Side], *, repeats: int = 5, stop: threading.Event | None = None
) -> Iterator[Stage | Measurement]:
    """Time every side `repeats` times; nothing else should run meanwhile. Ends without a result once `stop` is set.

    Raises ValueError for repeats outside 1 to MOST_REPEATS, and as `ModelManager.lend` and `generate`.
    """
    if not 1 <= repeats <= MOST_REPEATS:
        raise ValueError(f"repeats must be between 1 and {MOST_REPEATS}, not {repeats}")
    keys = [side.key for side in sides]
    yield from prepare(manager, keys, stop=stop)
    note = in_turn_note(manager, keys)
    runs = [_Runs() for _ in sides]
    for side, side_runs in zip(sides, runs, strict=True):
        yield Stage(f"loading and warming up {side.name}", 0.0)
        _load(manager, side, side_runs, times=min(repeats, LOADS), stop=stop)
        if stop is not None and stop.is_set():
            return
    cpu_load = CpuLoad()
    for repeat in range(repeats):
        order = range(len(sides)) if repeat % 2 == 0 else reversed(range(len(sides)))
        for count, i in enumerate(order):
            done = (repeat * len(sides) + count) / (repeats * len(sides))
            yield Stage(f"measuring {sides[i].name}, {repeat + 1} of {repeats}", done)
            with manager.lend(sides[i].key, fresh=True) as loaded:
                if note:  # it has just been loaded anew
                    _warm_up(loaded, sides[i].request, stop)
                _time(loaded, sides[i].request, runs[i], stop)
            if stop is not None and stop.is_set():
                return
    yield Measurement(
        tuple(map(_timing, runs)),
        tuple(side_runs.result for side_runs in runs),
        repeats,
        cpu_load.share(),
        note,
    )


def _load(manager: ModelManager, side: Side, runs: _Runs, *, times: int, stop: threading.Event | None) -> None:
    """Load a model untimed, to tune kernels and fill the file cache, then `times` times timed, and warm up."""
    with manager.lend(side.key):
        pass
    try:
        runs.file_bytes = (manager.library.copy(side.key) / WEIGHTS).stat().st_size
    except OSError as error:
        raise ValueError(f"the file of {side.key} cannot be read: {error.strerror or error}") from error
    for _ in range(times):
        if stop is not None and stop.is_set():
            return
        manager.unload(side.key)  # and with it the batcher of generations that stand back, with steps to compute
        started = time.perf_counter()
        with manager.lend(side.key) as lent:
            runs.load_seconds.append(time.perf_counter() - started)
            runs.memory_bytes = lent.memory_bytes
    with manager.lend(side.key, fresh=True) as loaded:
        _warm_up(loaded, side.request, stop)


def _warm_up(loaded: LoadedModel, request: GenerationRequest, stop: threading.Event | None) -> None:
    for _ in generate(loaded, request.model_copy(update={"max_new_tokens": WARM_UP}), stop=stop):
        pass


def _time(loaded: LoadedModel, request: GenerationRequest, runs: _Runs, stop: threading.Event | None) -> None:
    """Run one repeat; the times are the engine's own."""
    result, times = GenerationResult(1), []
    for event in generate(loaded, request, stop=stop):
        result.add(event)
        if isinstance(event, GenerationStep) and event.token is not None:
            times.append(event.seconds)
    assert result.start is not None
    runs.starts.append(result.start)
    runs.times.append(times)
    runs.result = result


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _timing(runs: _Runs) -> Timing:
    start = runs.starts[0]
    gaps = [[later - earlier for earlier, later in pairwise(times)] for times in runs.times]
    speeds = [len(gap) / sum(gap) for gap in gaps if gap]
    p50, p95 = ([percentile(gap, share) for gap in gaps if gap] for share in (0.5, 0.95))
    return Timing(
        kernels=start.kernels,
        prompt_tokens=start.prompt_tokens,
        file_bytes=runs.file_bytes,
        memory_bytes=runs.memory_bytes,
        load_seconds=Spread.of(runs.load_seconds),
        first_token=Spread.of([times[0] for times in runs.times]),
        prompt_speed=Spread.of([start.prompt_tokens / start.seconds for start in runs.starts]),
        speed=Spread.of(speeds) if speeds else None,
        latency_p50=Spread.of(p50) if p50 else None,
        latency_p95=Spread.of(p95) if p95 else None,
        latencies=tuple(statistics.median(column) for column in zip(*gaps, strict=False)),
    )
