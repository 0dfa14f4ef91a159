"""Number of threads of a step, by the durations of the steps before.

A thread whose core another program uses makes all others wait, so that one thread may be faster than two. As the
number changes no bits, other numbers are tried now and then, and at once when steps become slow.
"""

import threading
from collections import deque

SAMPLE = 5  # steps whose median is compared
FIRST_WAIT, LONGEST_WAIT = 32, 1024  # steps until the next trial: twice as many after each that was in vain
GAIN = 0.95  # a number is better if it takes at most this share of the time
SLOW = 1.5  # steps that take so many times as long as usual start a trial at once
USELESS = 2.0  # two such steps end a trial


class ThreadCount:
    """The number of threads for steps of one size, from 1 to `most`; any thread may record durations.

    `count` is the number for the next step. The numbers tried are `most`, its half and so on.
    """

    def __init__(self, most: int) -> None:
        counts = [max(1, most)]
        while counts[0] > 1:
            counts.insert(0, counts[0] // 2)
        self._counts = counts
        self._at = len(counts) - 1
        self._recent: deque[float] = deque(maxlen=SAMPLE)  # seconds of the last steps with this number
        self._usual = float("inf")
        self._steps, self._wait, self._way = 0, FIRST_WAIT, -1
        self._before: tuple[int, float] | None = None  # the number before a trial, by its place, and its median
        self._useless = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Threads for the next step."""
        return self._counts[self._at]

    def record(self, count: int, seconds: float) -> None:
        """Note how long a step took with so many threads; `count` may change."""
        with self._lock:
            # a step that began before the last change says nothing
            if len(self._counts) == 1 or count != self.count:
                return
            self._recent.append(seconds)
            if self._before is not None:
                self._judge(*self._before, seconds)
            elif len(self._recent) == SAMPLE:
                self._watch()

    def _watch(self) -> None:
        """Start a trial of another number if it is time, or if steps have become slow."""
        median = sorted(self._recent)[SAMPLE // 2]
        self._steps += 1
        is_slow = median > SLOW * self._usual
        self._usual = median if is_slow else min(self._usual, median)
        if not is_slow and self._steps < self._wait:
            return
        self._way = -1 if is_slow else -self._way
        if not 0 <= self._at + self._way < len(self._counts):
            self._way = -self._way
        self._before = self._at, median
        self._move(self._at + self._way)

    def _judge(self, place: int, median: float, seconds: float) -> None:
        """End a trial if it is decided; at `place` steps took `median`."""
        self._useless += seconds > USELESS * median
        if self._useless < 2 and len(self._recent) < SAMPLE:
            return
        own = sorted(self._recent)[len(self._recent) // 2]
        if self._useless < 2 and own < GAIN * median:
            # the next trial goes the same way, and soon
            self._usual, self._wait, self._way = own, FIRST_WAIT, -self._way
            self._before, self._steps = None, 0
        elif self._useless < 2 and self._way < 0 < self._at and own < SLOW * median:
            # 2 of 4 threads may wait for a busy core as all 4 do: try even fewer
            self._move(self._at - 1)
        else:
            self._before = None
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            self._move(place)

    def _move(self, place: int) -> None:
        """Use the number at another place of `_counts`."""
        self._at, self._steps, self._useless = place, 0, 0
        self._recent.clear()
