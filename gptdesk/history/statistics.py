"""Statistics of the history: counts by day, speed by model, lengths, endings, rated samplers, repeated prompts."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from gptdesk.history.exporting import csv_line, spreadsheet_safe

MOST_PROMPTS = 10


@dataclass(frozen=True)
class DayOfModel:
    """Generations of one day with one model at one precision."""

    day: str  # 2026-11-28, local time
    model: str
    precision: str
    generations: int
    tokens: int  # generated, in all sequences
    tokens_per_second: float | None  # mean of the generations; None: not known of any
    seconds_to_first_token: float | None  # mean


@dataclass(frozen=True)
class Length:
    """Texts of `low` to `high` tokens."""

    low: int
    high: int
    texts: int


@dataclass(frozen=True)
class Ending:
    """Texts that ended for one reason."""

    reason: str  # as in Sequence.finish_reason; "": the program was closed
    texts: int


@dataclass(frozen=True)
class RatedChain:
    """Ratings of the texts by one sampler chain."""

    chain: str  # the samplers as JSON
    liked: int
    disliked: int


@dataclass(frozen=True)
class RepeatedPrompt:
    """Beginning of a prompt that was used more than once."""

    opening: str
    generations: int


@dataclass(frozen=True)
class Statistics:
    """All figures of one period; deleted entries do not count."""

    days: tuple[DayOfModel, ...]  # by day, model and precision
    lengths: tuple[Length, ...]  # the shortest first; powers of two
    endings: tuple[Ending, ...]  # the most frequent first
    chains: tuple[RatedChain, ...]  # the most liked first
    prompts: tuple[RepeatedPrompt, ...]  # the most frequent first

    @property
    def generations(self) -> int:
        """Number of generations."""
        return sum(day.generations for day in self.days)

    @property
    def tokens(self) -> int:
        """Number of generated tokens."""
        return sum(day.tokens for day in self.days)


def read_statistics(connection: sqlite3.Connection, *, since: float) -> Statistics:
    """Return the statistics of all entries since a time, in seconds since 1970."""

    def rows(query: str) -> Iterator[tuple]:
        yield from connection.execute(query, (since,))

    # Each query has a condition, always true, on the first column of its index, so that SQLite uses that.
    days = rows(
        "SELECT day, model, precision, count(*), sum(tokens), avg(tokens_per_second), avg(seconds_to_first_token) "
        "FROM generations WHERE day >= date(?1, 'unixepoch', '-2 days') AND created >= ?1 AND deleted IS NULL "
        "GROUP BY day, model, precision ORDER BY day, model, precision"
    )
    lengths, endings = Counter[int](), Counter[str]()
    for finishes, n, tokens, generations in rows(
        "SELECT finishes, n, tokens, count(*) FROM generations "
        "WHERE finishes >= '' AND n > 0 AND created >= ?1 AND deleted IS NULL GROUP BY finishes, n, tokens"
    ):
        lengths[(tokens // n).bit_length()] += n * generations
        for reason in finishes.split(","):
            endings[reason] += generations
    chains = rows(
        "SELECT json_extract(request, '$.chain.samplers'), sum(rating = 1), sum(rating = -1) FROM generations "
        "WHERE rating IS NOT NULL AND created >= ?1 AND deleted IS NULL GROUP BY 1 ORDER BY 2 DESC, 3, 1"
    )
    prompts = rows(
        "SELECT opening, count(*) FROM generations WHERE opening > '' AND created >= ?1 AND deleted IS NULL "
        f"GROUP BY opening HAVING count(*) > 1 ORDER BY 2 DESC, 1 LIMIT {MOST_PROMPTS}"
    )
    return Statistics(
        days=tuple(DayOfModel(*row) for row in days),
        lengths=tuple(Length(1 << bits >> 1, (1 << bits) - 1, texts) for bits, texts in sorted(lengths.items())),
        endings=tuple(Ending(*one) for one in sorted(endings.items(), key=lambda one: (-one[1], one[0]))),
        chains=tuple(RatedChain(chain or "[]", liked, disliked) for chain, liked, disliked in chains),
        prompts=tuple(RepeatedPrompt(*row) for row in prompts),
    )


def _as_json(statistics: Statistics) -> str:
    return json.dumps(asdict(statistics), ensure_ascii=False, indent=1) + "\n"


def _as_csv(statistics: Statistics) -> str:
    """Return the days as CSV; what a spreadsheet would compute gets an apostrophe before it."""
    rows: list[Iterable[object]] = [DayOfModel.__dataclass_fields__]
    for day in statistics.days:
        rows.append(["" if value is None else spreadsheet_safe(value) for value in asdict(day).values()])
    return "".join(map(csv_line, rows))


EXPORTS: dict[str, Callable[[Statistics], str]] = {"json": _as_json, "csv": _as_csv}
