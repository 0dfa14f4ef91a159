"""Candidates for the next token: exact top tokens, equal ones by lowest id, without sorting the vocabulary.

`keep_best` and `keep_heaviest` are for samplers, which return whole rows. A chain narrows candidates: `Rows` of the
whole vocabulary, or a `Shortlist` of the tokens that are left, `Ranked` if the best comes first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

BLOCK = 32  # largest number of tokens looked at together: a block whose best token is too low is skipped as a whole
FEW = 12_000  # up to here it is faster to look at tokens one by one
FIRST_LOOK = 64  # tokens ranked before the size of a nucleus is estimated: enough for many
STEPS, LAST_STEP = 8, 511  # steps to a nat, and the one that holds all the rest, of the scores in that estimate

# A float64 sum of float32 probabilities is off by about 1e-7, so .5 + .3 must count as reaching .8.
MASS_TOLERANCE = 1e-6

# (scores (B, N), best score of every row (B, 1)) -> (B, N): each by itself, and none overtakes another.
Change: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Score: TypeAlias = Callable[[Tensor], Tensor]  # logits (B, N) -> scores (B, N), -inf exactly where logits are


class Shortlist(NamedTuple):
    """Some tokens of every row: values (B, W) and ids (B, W). Shorter rows are filled up with value -inf.

    The lowest id comes first, unless it is `Ranked`.
    """

    values: Tensor
    ids: Tensor

    def finite(self) -> "Shortlist":
        """Return the shortlist itself, as `Rows.finite` returns one."""
        return self

    def narrowed(self, choose: "Callable[[Rows], Candidates]") -> "Shortlist":
        """Return what `choose` makes of the values as rows of their own: ids there are places (B, W) here."""
        chosen = choose(Rows.of(self.values))
        if isinstance(chosen, Rows):
            return Shortlist(chosen.whole(), self.ids)
        return type(chosen)(chosen.values, self.ids.gather(1, chosen.ids))

    def first(self, n: int) -> Self:
        """Return the first `n` of every row."""
        # narrow is [:, :n] in half the time
        return self if n >= self.ids.shape[1] else type(self)(self.values.narrow(1, 0, n), self.ids.narrow(1, 0, n))

    def up_to(self, last: Sequence[int]) -> Self:
        """Return the first tokens of every row, up to and including the place that `last` has for it."""
        values, ids = cut = self.first(1 + max(last))
        if len(last) == 1:
            return cut
        # (B, W): rows that end earlier are filled up
        short = torch.arange(values.shape[1]) > torch.tensor(last)[:, None]
        return type(self)(values.masked_fill(short, -math.inf), ids)


class Ranked(Shortlist):
    """Shortlist with the best token first, of equal ones the lowest id, and something finite in every row."""

    @property
    def top(self) -> Tensor:
        """Best value of every row: (B, 1)."""
        return self.values[:, :1]

    def changed(self, change: Change) -> Shortlist:
        """Return the same tokens with other values, by id: those that differed may now be equal."""
        return by_id(*self).narrowed(lambda rows: rows.changed(change))

    def best(self, n: int) -> "Ranked":
        """Return the `n` best of every row."""
        return self.first(n)

    def reaching(self, floor: Tensor) -> "Ranked":
        """Return all tokens with a value of at least `floor` (B, 1), which the best one of a row reaches."""
        return self.up_to(((self.values >= floor).sum(1) - 1).tolist())

    def nucleus(self, mass: float) -> "Ranked":
        """Return the fewest best tokens that together hold the share `mass`."""
        values = self.values.double()
        # row by row, which torch does on one thread: to wake a second one for 50 numbers takes longer than the sums
        shares = values.softmax(1) if len(values) == 1 else torch.stack([row.softmax(0) for row in values])
        return self.up_to(_crossing(shares.cumsum(1), mass - MASS_TOLERANCE))

    def heaviest(self, score: Score, mass: float) -> Shortlist:
        """Return the fewest tokens, highest score first, that together hold the share `mass`."""
        return by_id(*self).narrowed(lambda rows: rows.heaviest(score, mass))  # equal scores: by id, not by rank


@dataclass(frozen=True, eq=False)
class Rows:
    """Whole rows of scores in blocks, of which only those with a high peak are looked into."""

    scores: Tensor  # (B, V), before the pending change
    blocks: Tensor | None  # the same, (B, S, N): block n holds the ids n, n + N, n + 2 N ...; None where V is few
    peaks: Tensor  # (B, N), the best score of every block, or else (B, V); after the pending change
    pending: tuple[Change, Tensor] | None = None  # a change, and the best score of every row before it, (B, 1)

    @classmethod
    def of(cls, scores: Tensor) -> Self:
        """Divide scores (B, V) into blocks."""
        blocks = _blocks(scores)
        # by numpy, on one thread: torch would wake a second one, and wait for it where another program has its core
        return cls(scores, blocks, scores if blocks is None else torch.from_numpy(blocks.numpy().max(1)))

    @cached_property
    def top(self) -> Tensor:
        """Best score of every row: (B, 1). NaN if the row has one."""
        return self.peaks.amax(1, keepdim=True)

    def whole(self) -> Tensor:
        """Return the scores: (B, V)."""
        return self._changed(self.scores)

    def finite(self) -> Shortlist:
        """Return all scores above -inf: (B, W)."""
        scores = self.whole()
        if scores.amin() > -math.inf:
            return _all(scores)
        return self.reaching(torch.full_like(self.top, torch.finfo(scores.dtype).min))

    def changed(self, change: Change) -> "Rows":
        """Return rows of other scores, each worked out when it is looked at."""
        if self.blocks is None or self.pending:
            return Rows.of(change(self.whole(), self.top))
        return Rows(self.scores, self.blocks, change(self.peaks, self.top), (change, self.top))

    def best(self, n: int) -> Ranked:
        """Return the `n` best scores of every row: (B, W), W <= n."""
        if n == 1:
            return Ranked(*self.reaching(self.top)).first(1)  # equal ones are by id already
        if self.scores.shape[1] <= 4 * n:
            return _ranked(_all(self.whole())).first(n)
        floor = _floor(self.peaks if self.peaks.shape[1] >= 4 * n else self.whole(), n)
        return _ranked(self.reaching(floor.clamp_min_(torch.finfo(floor.dtype).min))).first(n)

    def reaching(self, floor: Tensor) -> Shortlist:
        """Return all scores of at least `floor`: finite (B, 1) -> (B, W)."""
        places = _set_places(self.peaks >= floor)  # (1, blocks that reach it in all rows)
        if self.blocks is None:
            return _side_by_side(self.scores.take(places), places, *self.scores.shape)
        rows, size, blocks = self.blocks.shape
        row = places // blocks if rows > 1 else None  # one row needs no numbers: half of the operations
        if row is not None:
            places, floor = places + row * ((size - 1) * blocks), floor.take(row)
        # Block n begins at place n of its row, and its other tokens follow at a distance of N.
        places = places + _starts(size, blocks)  # (S, blocks that reach it)
        inside = self._changed(self.blocks.take(places), row)
        hit = _set_places(inside >= floor)  # (1, tokens that reach it)
        values, places = inside.take(hit), places.take(hit)
        if row is not None:
            places, order = places.sort()  # row after row again, each by id
            values = values.take(order)
        return _side_by_side(values, places, rows, size * blocks)

    def nucleus(self, mass: float) -> Ranked:
        """Return the fewest best tokens that together hold the share `mass`: (B, W)."""
        return Ranked(*_heaviest(self.whole(), self, mass))

    def heaviest(self, score: Score, mass: float) -> Shortlist:
        """Return the fewest tokens, highest score first, that together hold the share `mass`: (B, W), by id."""
        logits = self.whole()
        return by_id(*_heaviest(logits, Rows.of(score(logits)), mass))

    def _changed(self, scores: Tensor, row: Tensor | None = None) -> Tensor:
        """Return scores of all rows, or, with `row`, columns that are of these rows, after the pending change."""
        if not self.pending:
            return scores
        change, top = self.pending
        return change(scores, top if row is None else top.take(row))


Candidates: TypeAlias = Rows | Shortlist


def best(scores: Tensor, n: int) -> Ranked:
    """Return the `n` best scores of every row, best first, of equal ones the lowest id: (B, V) -> (B, W), W <= n."""
    return Rows.of(scores).best(n)


def keep_best(logits: Tensor, n: int) -> Tensor:
    """Set all but the `n` highest logits of every row to -inf, of equal ones keep the lowest ids: (B, V) -> (B, V)."""
    return logits if n >= logits.shape[1] else spread(best(logits, n), logits.shape[1])


def keep_heaviest(logits: Tensor, scores: Tensor, mass: float) -> Tensor:
    """Set to -inf all but the fewest tokens, highest score first, whose probabilities together reach `mass`.

    (B, V), (B, V) -> (B, V). Equal scores are taken by lowest id. The token that crosses `mass` stays. Scores are -inf
    exactly where logits are. A sum reaches `mass` when it is not more than MASS_TOLERANCE below it.
    """
    return spread(_heaviest(logits, Rows.of(scores), mass), logits.shape[1])


def by_id(values: Tensor, ids: Tensor) -> Shortlist:
    """Return a shortlist of these tokens, lowest id first: twice (B, W)."""
    ids, order = ids.sort(dim=1)
    return Shortlist(values.gather(1, order), ids)


def spread(candidates: Candidates, vocabulary: int) -> Tensor:
    """Return logits that hold the values of the candidates at their ids and -inf elsewhere: (B, V)."""
    if isinstance(candidates, Rows):
        return candidates.whole()
    values, ids = candidates
    # amax and not a plain scatter: what fills a row up (-inf at some id) must not overwrite that token
    return values.new_full((len(values), vocabulary), -math.inf).scatter_reduce_(1, ids, values, "amax")


def _heaviest(logits: Tensor, scores: Rows, mass: float) -> Shortlist:
    """Return the tokens of `keep_heaviest` with their logits, highest score first: (B, V), (B, V) -> (B, W)."""
    probabilities, goal = logits.double().softmax(1), mass - MASS_TOLERANCE
    ranked = scores.best(FIRST_LOOK)
    sums = _sums(probabilities, ranked)
    if sums[:, -1].amin() < goal:  # a row needs more tokens: estimate how low their scores go
        ranked = _ranked(scores.reaching(_mass_floor(scores, probabilities, mass)))
        sums = _sums(probabilities, ranked)
    values = logits.gather(1, ranked.ids).masked_fill_(ranked.values == -math.inf, -math.inf)
    return Shortlist(values, ranked.ids).up_to(_crossing(sums, goal))


def _all(scores: Tensor) -> Shortlist:
    return Shortlist(scores, torch.arange(scores.shape[1]).expand_as(scores))


def _blocks(scores: Tensor) -> Tensor | None:
    """(B, V) -> (B, S, N), filled up with -inf; None for few."""
    rows, vocabulary = scores.shape
    if vocabulary <= FEW:
        return None
    size = _block_size(vocabulary)
    if missing := -vocabulary % size:
        # by numpy, on one thread: torch would wake a second one, which takes longer than the copy
        padded = np.empty((rows, vocabulary + missing), scores.numpy().dtype)
        padded[:, :vocabulary], padded[:, vocabulary:] = scores.numpy(), -math.inf
        scores = torch.from_numpy(padded)
    return scores.view(rows, size, -1)


@cache
def _block_size(vocabulary: int) -> int:
    """Return a size that leaves no rest if there is one, for filling up takes a copy."""
    return next((size for size in range(BLOCK, BLOCK // 4, -1) if vocabulary % size == 0), BLOCK)


@cache
def _starts(size: int, blocks: int) -> Tensor:
    """Return what to add to the number of a block for the ids that it holds: (S, 1)."""
    return torch.arange(0, size * blocks, blocks)[:, None]


def _crossing(sums: Tensor, goal: float) -> list[int]:
    """Return for each row of ascending sums (B, W) the place that reaches the goal."""
    return [int(row.searchsorted(goal)) for row in sums.numpy()]


def _sums(probabilities: Tensor, ranked: Ranked) -> Tensor:
    """Return the probability that the first, the first two ... tokens have together: (B, V), (B, W) -> (B, W)."""
    return probabilities.gather(1, ranked.ids).masked_fill_(ranked.values == -math.inf, 0).cumsum(1)


def _mass_floor(scores: Rows, probabilities: Tensor, mass: float) -> Tensor:
    """Return a score such that those above it hold `mass`, and not much more: (B, V), (B, V) -> (B, 1)."""
    # A histogram of the probability by distance from the best score, then its sums: (B, V) -> (B, LAST_STEP + 1).
    steps = ((scores.top - scores.whole()) * STEPS).clamp_max_(LAST_STEP).long()
    sums = probabilities.new_zeros(len(steps), LAST_STEP + 1).scatter_add_(1, steps, probabilities).cumsum_(1)
    crossing = torch.tensor(_crossing(sums, mass + MASS_TOLERANCE))[:, None]
    floor = scores.top - (crossing + 2) / STEPS  # one step more than needed, for what rounding moved
    # The last step has no lower end: take everything.
    return floor.masked_fill_(crossing >= LAST_STEP, torch.finfo(floor.dtype).min)


def _ranked(shortlist: Shortlist) -> Ranked:
    values, order = shortlist.values.sort(dim=1, descending=True, stable=True)
    return Ranked(values, shortlist.ids.gather(1, order))


def _floor(scores: Tensor, n: int) -> Tensor:
    """Return a score that at least `n` reach in every row, and not many more: (B, V) -> (B, 1)."""
    peaks, groups = scores.numpy(), 4 * n
    if peaks.shape[1] >= 2 * groups:
        # The n-th best peak of 4 n groups: n tokens reach it, and to select among peaks is cheaper.
        whole = peaks.shape[1] // groups * groups
        peaks = peaks[:, :whole].reshape(len(peaks), -1, groups).max(1)
    place = peaks.shape[1] - n
    return torch.from_numpy(np.partition(peaks, place, axis=1)[:, place : place + 1])


def _set_places(mask: Tensor) -> Tensor:
    """Return the places where a mask is set, counted through all rows: (B, N) -> (1, W)."""
    # numpy takes a third of the time: torch counts them first
    return torch.from_numpy(mask.numpy().reshape(-1).nonzero()[0])[None]


def _side_by_side(values: Tensor, places: Tensor, rows: int, vocabulary: int) -> Shortlist:
    """Return a shortlist of values at ascending places, counted through all rows: twice (1, N) -> (B, W)."""
    if rows == 1:
        return Shortlist(values, places)
    row = places // vocabulary
    ids, count = places - row * vocabulary, row[0].bincount(minlength=rows)
    # W is the length of the longest row; the others are filled up with -inf at id 0.
    column = torch.arange(int(count.max()))
    short = column >= count[:, None]
    order = ((count.cumsum(0) - count)[:, None] + column).masked_fill_(short, 0)  # (B, W)
    return Shortlist(values.take(order).masked_fill_(short, -math.inf), ids.take(order).masked_fill_(short, 0))
