"""Reading speed: the part of new texts that is shown by now, at a number of words a minute.

It slows the showing alone: the model writes at its own speed, and its figures and the history are of all it writes.
"""

import math
import re
import time
from collections.abc import Callable, Sequence

from gptdesk.page.streaming import IDLE

FASTEST = 1_000  # words a minute
_WORD = re.compile(r"\s*\S{1,20}")  # text without spaces appears in parts


class ReadingPace:
    """Beginnings of the texts of a generation, each shown at `words_a_minute`; 0: whole.

    After a pause of the model nothing is made up for: words never come faster. Raises ValueError for another speed.
    """

    def __init__(self, words_a_minute: object, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not isinstance(words_a_minute, int | float) or not 0 <= words_a_minute <= FASTEST:
            raise ValueError(f"the reading speed is a number from 0 to {FASTEST:,} words a minute; choose one of these")
        self._rate, self._clock = words_a_minute / 60, clock  # words a second
        self._last = clock()
        self._words: list[float] = []  # that are shown of each text
        self._ends: list[list[int]] = []  # characters up to the end of each word

    @property
    def note(self) -> str:
        """Speed in words; empty where it is not limited."""
        return f"shown at {60 * self._rate:,.0f} words a minute" if self._rate else ""

    def shown(self, texts: Sequence[str]) -> list[str]:
        """Return what is shown of these texts by now, which have grown since the last call."""
        if not self._rate:
            return list(texts)
        now = self._clock()
        more, self._last = self._rate * (now - self._last), now
        self._words = self._words or [0.0] * len(texts)
        self._ends = self._ends or [[] for _ in texts]
        for row, (text, ends) in enumerate(zip(texts, self._ends, strict=True)):
            start = ends[-2] if len(ends) > 1 else 0  # the last word may have grown
            ends[-1:] = [match.end() for match in _WORD.finditer(text, start)]
            # the first word at once
            words = self._words[row] + more if self._words[row] else 1.0
            self._words[row] = min(words, len(ends))
        return [self._beginning(row, text) for row, text in enumerate(texts)]

    @property
    def is_behind(self) -> bool:
        """Return whether a word of the texts of the last call was not shown."""
        return any(words < len(ends) for words, ends in zip(self._words, self._ends, strict=True))

    @property
    def wait(self) -> float:
        """Seconds until the next word is due, IDLE at most."""
        due = [(math.floor(words) + 1 - words) / self._rate for words in self._words] if self._rate else []
        return min([*due, IDLE])

    def _beginning(self, row: int, text: str) -> str:
        words, ends = math.floor(self._words[row]), self._ends[row]
        return text if words >= len(ends) else text[: ends[words - 1]]
