"""Blind test: rounds of texts without names, votes, and their significance."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gptdesk.comparison import Side, Stage, prepare
from gptdesk.generation import GenerationResult, collect, generate
from models.manager import ModelManager

Vote = Literal["left", "right", "tie"]
SIGNIFICANT = 0.05
MOST_VOTES = 100_000  # of one kind; a stored tally beyond it is damaged


def write_round(
    manager: ModelManager, sides: Sequence[Side], *, stop: threading.Event
) -> Iterator[Stage | GenerationResult]:
    """Yield the generation of each side in turn, none after `stop` is set. Raises ValueError as `generate`."""
    yield from prepare(manager, [side.key for side in sides], stop=stop)
    for side in sides:
        with manager.lend(side.key, fresh=True) as loaded:
            result = collect(generate(loaded, side.request, stop=stop), n=1)
        if stop.is_set():
            return
        yield result


@dataclass(frozen=True)
class Tally:
    """Votes over the rounds of one pair of models."""

    first: int = 0
    second: int = 0
    ties: int = 0

    @property
    def decided(self) -> int:
        """Number of votes that are no ties."""
        return self.first + self.second

    @property
    def rounds(self) -> int:
        """Number of votes."""
        return self.decided + self.ties

    def plus(self, vote: Vote, *, swapped: bool) -> "Tally":
        """Return the tally with one more vote; `swapped` if the second model's text was shown on the left."""
        if vote == "tie":
            return Tally(self.first, self.second, self.ties + 1)
        if (vote == "left") != swapped:
            return Tally(self.first + 1, self.second, self.ties)
        return Tally(self.first, self.second + 1, self.ties)

    def mirrored(self) -> "Tally":
        """Return the tally with the models in the other order."""
        return Tally(self.second, self.first, self.ties)

    def p_value(self) -> float:
        """Return the p-value of the exact two-sided binomial test against p = 0.5; ties are left out."""
        n, k = self.decided, max(self.first, self.second)
        if n == 0:
            return 1.0
        chances = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k, n + 1))
        return min(1.0, 2 * sum(math.exp(chance - n * math.log(2)) for chance in chances))

    def to_json(self) -> dict[str, object]:
        return {"first": self.first, "second": self.second, "ties": self.ties}

    @classmethod
    def from_json(cls, data: object) -> "Tally":
        """Return the tally that `to_json` wrote; an empty one for anything else."""
        names = ("first", "second", "ties")
        if not isinstance(data, dict):
            return cls()
        if not all(type(data.get(name)) is int and 0 <= data[name] <= MOST_VOTES for name in names):
            return cls()
        return cls(**{name: data[name] for name in names})


def tally_sentence(tally: Tally, first: str, second: str) -> str:
    """Return the tally and its significance as a sentence; `first` and `second` name the models."""
    if tally.decided == 0:
        return f"No vote for either yet ({tally.ties} x no difference)." if tally.ties else "No votes yet."
    leader, votes = (first, tally.first) if tally.first >= tally.second else (second, tally.second)
    p = tally.p_value()
    if p >= SIGNIFICANT:
        meaning = "you cannot tell them apart"
        meaning += " so far" if tally.decided < 20 else ""
    else:
        meaning = f"you prefer {leader}"
    ties = f", {tally.ties} x no difference" if tally.ties else ""
    return f"{leader} {votes} of {tally.decided}{ties} (p = {p:.2g}): {meaning}."
