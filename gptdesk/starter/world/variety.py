"""Variety of texts: distinct words and runs of words, openings, plots, compressibility."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from gptdesk.starter.world.frames import messages
from gptdesk.starter.world.reader import Verdict
from gptdesk.starter.world.scores import words_of

OPENING = 4  # words


@dataclass(frozen=True)
class Variety:
    """Variety of several texts. Compare with that of as many texts by the generator."""

    distinct: dict[int, float]  # different runs of 1, 2 and 3 words as a share of all
    packed: float  # bytes after zlib as a share of the bytes before
    openings: float  # different beginnings of four words as a share of the texts
    plots: int  # different goals that stories are about


def variety(texts: Sequence[str], verdicts: Sequence[Verdict], *, words: int) -> Variety:
    """Measure the variety of texts by their first `words` words: it decreases with their number."""
    stream = [word for text in texts for word in words_of(text)][:words]
    distinct = {}
    for n in (1, 2, 3):
        runs = list(zip(*(stream[start:] for start in range(n)), strict=False))
        distinct[n] = len(set(runs)) / len(runs)
    raw = " ".join(stream).encode()
    openings = {tuple(words_of(text)[:OPENING]) for text in texts}
    plots = {plot for verdict in verdicts if (plot := _plot(verdict))}
    return Variety(distinct, len(zlib.compress(raw, 9)) / len(raw), len(openings) / len(texts), len(plots))


def _plot(verdict: Verdict) -> str:
    """Return the first event that gives somebody a goal."""
    known = messages()
    goals = (
        name for name in verdict.events if any(a.predicate == "goal" and a.positive for a in known[name].operator.after)
    )
    return next(goals, "")
