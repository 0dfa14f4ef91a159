"""Find the best tokens of a row exactly, equal ones by lowest id, without sorting the vocabulary."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple, Self, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 32  # tokens looked at together, at most: a block whose best token is too low is skipped as a whole
FEW = 12_000  # so many tokens are looked at one by one, which is then faster
FIRST_LOOK = 64  # tokens ranked before the size of a nucleus is estimated: enough for many
STEPS, LAST_STEP = 8, 511  # steps to a nat, and the one that holds all the rest, of the scores in that estimate

# A float64 sum of float32 probabilities is off by about 1e-7, so .5 + .3 must count as reaching .8.
MASS_TOLERANCE = 1e-6

# New scores from old ones and from the best of their rows: each by itself, and none overtakes another.
Change: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Shortlist(NamedTuple):
    """Some tokens of every row: values (B, W) and ids (B, W). Shorter rows are filled with value -inf, id 0.

    The lowest id comes first, unless it is `Ranked`.
    """

    values: Tensor
    ids: Tensor

    def changed(self, change: Change) -> "Shortlist":
        """The same tokens with other values."""
        values, ids = by_id(*self) if isinstance(self, Ranked) else self  # what was higher may now be equal
        return Shortlist(change(values, values.amax(1, keepdim=True)), ids)

    def first(self, n: int) -> Self:
        """The first `n` of every row."""
        return self if n >= self.ids.shape[1] else type(self)(self.values[:, :n], self.ids[:, :n])

    def up_to(self, last: Tensor) -> Self:
        """Of every row the first, up to and with the place `last`: (B, 1) int64."""
        values, ids = cut = self.first(1 + max(place for (place,) in last.tolist()))
        if len(values) == 1:
            return cut
        return type(self)(values.masked_fill(torch.arange(values.shape[1]) > last, -math.inf), ids)


class Ranked(Shortlist):
    """A shortlist with the best token first, of equal ones the lowest id, and something finite in every row."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Whole rows of scores in blocks, of which only those with a high peak are looked into."""

    scores: Tensor  # (B, V), before the change that is put off
    blocks: Tensor | None  # the same, (B, S, N): block n holds the ids n, n + N, n + 2 N ...; None where V is few
    peaks: Tensor  # (B, N), the best score of every block, or else (B, V); after the change
    later: tuple[Change, Tensor] | None = None  # the change, and the best score of every row before it, (B, 1)

    @classmethod
    def of(cls, scores: Tensor) -> Self:
        """From scores (B, V)."""
        blocks = _blocks(scores)
        return cls(scores, blocks, scores if blocks is None else blocks.amax(1))

    @cached_property
    def top(self) -> Tensor:
        """The best score of every row: (B, 1). NaN if the row has one."""
        return self.peaks.amax(1, keepdim=True)

    def whole(self) -> Tensor:
        """The scores: (B, V)."""
        return self._changed(self.scores)

    def changed(self, change: Change) -> "Rows":
        """Rows of other scores, each worked out when it is looked at."""
        if self.blocks is None or self.later:
            return Rows.of(change(self.whole(), self.top))
        return Rows(self.scores, self.blocks, change(self.peaks, self.top), (change, self.top))

    def best(self, n: int) -> Ranked:
        """The `n` best scores of every row: (B, W), W <= n."""
        if self.scores.shape[1] <= 4 * n:
            return _ranked(_all(self.whole())).first(n)
        floor = _floor(self.peaks if self.peaks.shape[1] >= 4 * n else self.whole(), n)
        return _ranked(self.reaching(floor.clamp_min_(torch.finfo(floor.dtype).min))).first(n)

    def reaching(self, floor: Tensor) -> Shortlist:
        """All scores of at least `floor`: finite (B, 1) -> (B, W)."""
        places = _places(self.peaks >= floor)
        if self.blocks is None:
            return _side_by_side(self.scores.take(places), places, *self.scores.shape)
        rows, size, blocks = self.blocks.shape
        row = places // blocks if rows > 1 else None
        if row is not None:
            places, floor = places + row * ((size - 1) * blocks), floor.take(row)
        places = places + _starts(size, blocks)  # (S, blocks found)
        found = self._changed(self.blocks.take(places), row)
        hit = _places(found >= floor)
        values, places = found.take(hit), places.take(hit)
        if row is not None:
            places, order = places.sort()
            values = values.take(order)
        return _side_by_side(values, places, rows, size * blocks)

    def finite(self) -> Shortlist:
        """All scores above -inf: (B, W)."""
        scores = self.whole()
        if scores.amin() > -math.inf:
            return _all(scores)
        return self.reaching(torch.full_like(self.top, torch.finfo(scores.dtype).min))

    def _changed(self, scores: Tensor, row: Tensor | None = None) -> Tensor:
        """Scores of all rows, or, with `row`, columns that are of these rows."""
        if not self.later:
            return scores
        change, top = self.later
        return change(scores, top if row is None else top.take(row))


def best(scores: Tensor, n: int) -> Ranked:
    """The `n` best scores of every row, best first, of equal ones the lowest id: (B, V) -> (B, W), W <= n."""
    return Rows.of(scores).best(n)


def heaviest(logits: Tensor, scores: Rows, mass: float) -> Shortlist:
    """The fewest tokens, best score first, whose probabilities together reach `mass`: (B, V), (B, V) -> (B, W).

    The token that crosses `mass` is among them. Scores are -inf exactly where logits are. A sum reaches `mass`
    when it is not more than MASS_TOLERANCE below it.
    """
    probabilities, goal = logits.double().softmax(1), mass - MASS_TOLERANCE
    found = scores.best(FIRST_LOOK)
    sums = _sums(probabilities, found)
    if sums[:, -1].amin() < goal:
        found = _ranked(scores.reaching(_mass_floor(scores, probabilities, mass)))
        sums = _sums(probabilities, found)
    values = logits.gather(1, found.ids).masked_fill_(found.values == -math.inf, -math.inf)
    return Shortlist(values, found.ids).up_to(_crossing(sums, goal))


def nucleus(ranked: Ranked, mass: float) -> Ranked:
    """`heaviest` of tokens that are ranked: (B, W) -> (B, W)."""
    return ranked.up_to(_crossing(ranked.values.double().softmax(1).cumsum(1), mass - MASS_TOLERANCE))


def by_id(values: Tensor, ids: Tensor) -> Shortlist:
    """A shortlist of these tokens: twice (B, W)."""
    ids, order = ids.sort(dim=1)
    return Shortlist(values.gather(1, order), ids)


def spread(shortlist: Shortlist, vocabulary: int) -> Tensor:
    """Logits that hold the values at their ids and -inf elsewhere: (B, W) -> (B, V)."""
    values, ids = shortlist
    # amax and not a plain scatter: the filling (-inf at id 0) must not overwrite a row's token 0
    return values.new_full((len(values), vocabulary), -math.inf).scatter_reduce_(1, ids, values, "amax")


def _all(scores: Tensor) -> Shortlist:
    return Shortlist(scores, torch.arange(scores.shape[1]).expand_as(scores))


def _blocks(scores: Tensor) -> Tensor | None:
    """(B, V) -> (B, S, N), filled up with -inf; None for few."""
    rows, vocabulary = scores.shape
    if vocabulary <= FEW:
        return None
    size = _block_size(vocabulary)
    if missing := -vocabulary % size:
        scores = functional.pad(scores, (0, missing), value=-math.inf)
    return scores.view(rows, size, -1)


@cache
def _block_size(vocabulary: int) -> int:
    """One that leaves no rest if there is one, for filling up takes a copy."""
    return next((size for size in range(BLOCK, BLOCK // 4, -1) if vocabulary % size == 0), BLOCK)


@cache
def _starts(size: int, blocks: int) -> Tensor:
    """What to add to the number of a block for the ids that it holds: (S, 1)."""
    return torch.arange(0, size * blocks, blocks)[:, None]


def _crossing(sums: Tensor, goal: float) -> Tensor:
    """The place in ascending sums (B, W) that reaches the goal: (B, 1)."""
    return torch.searchsorted(sums, sums.new_full((len(sums), 1), goal))


def _sums(probabilities: Tensor, found: Ranked) -> Tensor:
    """What the first, the first two, the first three ... found have together: (B, V), (B, W) -> (B, W)."""
    return probabilities.gather(1, found.ids).masked_fill_(found.values == -math.inf, 0).cumsum(1)


def _mass_floor(scores: Rows, probabilities: Tensor, mass: float) -> Tensor:
    """A score such that those above it hold `mass`, and not much more: (B, V), (B, V) -> (B, 1)."""
    steps = ((scores.top - scores.whole()) * STEPS).clamp_max_(LAST_STEP).long()
    sums = probabilities.new_zeros(len(steps), LAST_STEP + 1).scatter_add_(1, steps, probabilities).cumsum_(1)
    crossing = _crossing(sums, mass + MASS_TOLERANCE)
    floor = scores.top - (crossing + 2) / STEPS  # one step more than needed, for what rounding moved
    return floor.masked_fill_(crossing >= LAST_STEP, torch.finfo(floor.dtype).min)


def _ranked(shortlist: Shortlist) -> Ranked:
    values, order = shortlist.values.sort(dim=1, descending=True, stable=True)
    return Ranked(values, shortlist.ids.gather(1, order))


def _floor(scores: Tensor, n: int) -> Tensor:
    """A score that at least `n` reach in every row, and not many more: (B, V) -> (B, 1)."""
    groups = 4 * n
    if scores.shape[1] >= 2 * groups:
        scores = scores.unfold(1, groups, groups).amax(1)  # the best of every group
    return scores.kthvalue(scores.shape[1] + 1 - n, keepdim=True).values


def _places(mask: Tensor) -> Tensor:
    """Where it is set, counted through all rows: (B, N) -> (1, W)."""
    return mask.reshape(-1).nonzero().T


def _side_by_side(values: Tensor, places: Tensor, rows: int, vocabulary: int) -> Shortlist:
    """A shortlist of values at ascending places, counted through all rows: twice (1, N) -> (B, W)."""
    if rows == 1:
        return Shortlist(values, places)
    row = places // vocabulary
    ids, count = places - row * vocabulary, row[0].bincount(minlength=rows)
    column = torch.arange(int(count.max()))
    short = column >= count[:, None]
    order = ((count.cumsum(0) - count)[:, None] + column).masked_fill_(short, 0)  # (B, W)
    return Shortlist(values.take(order).masked_fill_(short, -math.inf), ids.take(order).masked_fill_(short, 0))
