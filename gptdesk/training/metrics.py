"""Metrics of runs in columns, read from metrics.jsonl as it grows."""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gptdesk.stored_values import is_number
from gptdesk.training.curves import Point
from gptdesk.training.run_directory import METRICS, metrics_of

MISSING = float("nan")
MOST_RUNS = 8  # whose metrics are kept in memory: 80 bytes for each logged step


class Metrics:
    """Metrics of the logged steps of a run, oldest first: a column of numbers (steps,) for each name."""

    def __init__(self, columns: Mapping[str, NDArray[np.float64]], length: int) -> None:
        self._columns = columns  # NaN where a step has no such number
        self._length = length

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, object]]) -> Self:
        """Return the metrics of these steps, each by the names of metrics.jsonl."""
        columns = _Columns()
        columns.append(lines)
        return cls(columns.copied(), columns.length)

    def __len__(self) -> int:
        return self._length

    def tail(self, steps: int) -> "Metrics":
        """Return the last `steps` logged steps."""
        kept = min(steps, self._length)
        return Metrics({name: column[len(column) - kept :] for name, column in self._columns.items()}, kept)

    def series(self, name: str, *, by: str = "step") -> list[Point]:
        """Return the values logged under `name`, such as val_loss, by step or another metric; gaps are left out."""
        if name not in self._columns or by not in self._columns:
            return []
        x, y = self._columns[by], self._columns[name]  # (steps,), (steps,)
        known = ~(np.isnan(x) | np.isnan(y))
        return list(zip(x[known].tolist(), y[known].tolist(), strict=True))


class MetricsReader:
    """Reader of the metrics of runs, which reads only what was added since it last read the same run.

    A run that is resumed from an earlier step replaces its file, which is then read from the beginning. Thread-safe.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[Path, _MetricsFile] = OrderedDict()  # the least recently used first
        self._lock = threading.Lock()

    def read(self, run: Path) -> Metrics:
        """Return all metrics of the run in this folder; none if it has logged no step."""
        with self._lock:
            file = self._files.setdefault(run, _MetricsFile(run / METRICS))
            self._files.move_to_end(run)
            while len(self._files) > MOST_RUNS:
                self._files.popitem(last=False)
        return file.read()


class _Columns:
    """Columns of numbers that grow, 8 bytes for each."""

    def __init__(self) -> None:
        self.length = 0
        self._numbers: dict[str, array[float]] = {}

    def append(self, lines: Iterable[Mapping[str, object]]) -> None:
        for line in lines:
            for name in line.keys() - self._numbers.keys():
                if is_number(line[name]):
                    self._numbers[name] = array("d", [MISSING]) * self.length
            for name, column in self._numbers.items():
                value = line.get(name)
                column.append(float(value) if is_number(value) else MISSING)  # type: ignore[arg-type]
            self.length += 1

    def copied(self) -> dict[str, NDArray[np.float64]]:
        return {name: np.array(column) for name, column in self._numbers.items()}


class _MetricsFile:
    """Columns of one file, and the place up to which it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._offset = 0  # bytes, up to which the lines were read
        self._last = b""  # the last of these lines
        self._columns = _Columns()

    def read(self) -> Metrics:
        with self._lock:
            lines = self._new_lines()
            self._columns.append(metrics_of(lines, self._path))
            return Metrics(self._columns.copied(), self._columns.length)

    def _new_lines(self) -> list[bytes]:
        """Return the finished lines that were added since the last call, all of them if the file was replaced."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset - len(self._last))
                added = file.read()
                if not added.startswith(self._last):  # another file, or another run of this name
                    self._forget()
                    file.seek(0)
                    added = file.read()
        except FileNotFoundError:
            self._forget()
            return []
        lines = added[len(self._last) : added.rfind(b"\n") + 1].splitlines(keepends=True)
        self._offset += sum(map(len, lines))
        self._last = lines[-1] if lines else self._last
        return lines
