"""Find the best tokens of a row exactly, equal ones by lowest id, without sorting the vocabulary."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 64  # tokens looked at together: a block whose best token is too low is skipped as a whole
FIRST_LOOKS = (64, 512, 4096)  # tokens ranked before the whole vocabulary is: enough for most nuclei

# A float64 sum of float32 probabilities is off by about 1e-7, so .5 + .3 must count as reaching .8.
MASS_TOLERANCE = 1e-6


class Shortlist(NamedTuple):
    """Some tokens of every row: values (B, W) and ids (B, W). Shorter rows are filled with value -inf, id 0."""

    values: Tensor
    ids: Tensor


def finite(scores: Tensor) -> Shortlist:
    """All scores above -inf, by id: (B, V) -> (B, W), W the most in one row."""
    if scores.amin() > -math.inf:
        return Shortlist(scores, torch.arange(scores.shape[1]).expand_as(scores))
    return reaching(scores, scores.new_full((len(scores), 1), torch.finfo(scores.dtype).min))


def reaching(scores: Tensor, floor: Tensor) -> Shortlist:
    """All scores of at least `floor`, by id: (B, V), finite (B, 1) -> (B, W)."""
    size = min(BLOCK, scores.shape[1])
    return _reaching(scores, floor, _peaks(scores, size), size)


def best(scores: Tensor, n: int) -> Shortlist:
    """The `n` best scores of every row, best first, of equal ones the lowest id: (B, V) -> (B, W), W <= n."""
    vocabulary = scores.shape[1]
    if vocabulary <= 4 * n:
        found = Shortlist(scores, torch.arange(vocabulary).expand_as(scores))
    else:
        size = min(BLOCK, vocabulary // (4 * n))
        peaks = _peaks(scores, size)
        floor = peaks.topk(n).values[:, -1:]  # n blocks have their peak here or above, and so at least n scores are
        found = _reaching(scores, floor.clamp(min=torch.finfo(scores.dtype).min), peaks, size)
    values, order = found.values.sort(dim=1, descending=True, stable=True)
    return Shortlist(values[:, :n], found.ids.gather(1, order[:, :n]))


def heaviest(logits: Tensor, scores: Tensor, mass: float) -> Shortlist:
    """The fewest tokens, best score first, whose probabilities together reach `mass`: (B, V), (B, V) -> (B, W).

    The token that crosses `mass` is among them. Scores are -inf exactly where logits are. A sum reaches `mass`
    when it is not more than MASS_TOLERANCE below it.
    """
    vocabulary = logits.shape[1]
    for n in (*FIRST_LOOKS, vocabulary):
        ranked, ids = best(scores, n)
        values = logits.gather(1, ids).masked_fill_(ranked == -math.inf, -math.inf)
        seen_all = ranked.shape[1] < n or n >= vocabulary
        if seen_all:
            probabilities = values.double().softmax(1)
        else:
            probabilities = (values.double() - logits.double().logsumexp(1, keepdim=True)).exp_()
        reached = probabilities.cumsum(1) >= mass - MASS_TOLERANCE
        if seen_all or reached[:, -1].all():
            break
    values[:, 1:].masked_fill_(reached[:, :-1], -math.inf)
    width = int((values > -math.inf).sum(1).max())
    return Shortlist(values[:, :width], ids[:, :width])


def spread(shortlist: Shortlist, vocabulary: int) -> Tensor:
    """Logits that hold the values at their ids and -inf elsewhere: (B, W) -> (B, V)."""
    values, ids = shortlist
    # amax and not a plain scatter: the filling (-inf at id 0) must not overwrite a row's token 0
    return values.new_full((len(values), vocabulary), -math.inf).scatter_reduce_(1, ids, values, "amax")


def _peaks(scores: Tensor, size: int) -> Tensor:
    """The best score in every block of `size` neighbours, the last one shorter: (B, V) -> (B, N)."""
    peaks, rest = scores.unfold(1, size, size).amax(2), scores.shape[1] % size
    return torch.cat([peaks, scores[:, -rest:].amax(1, keepdim=True)], dim=1) if rest else peaks


def _reaching(scores: Tensor, floor: Tensor, peaks: Tensor, size: int) -> Shortlist:
    """`reaching`, looking only into the blocks whose peak is high enough."""
    rows, vocabulary = scores.shape
    row, block = (peaks >= floor).nonzero(as_tuple=True)
    ids = block[:, None] * size + torch.arange(size)  # (blocks found, size)
    found = scores[row[:, None], ids.clamp(max=vocabulary - 1)]
    hit = ((found >= floor[row]) & (ids < vocabulary)).nonzero(as_tuple=True)
    row, ids, values = row[hit[0]], ids[hit], found[hit]
    if rows == 1:
        return Shortlist(values[None], ids[None])
    count = row.bincount(minlength=rows)
    column = torch.arange(len(row)) - (count.cumsum(0) - count)[row]  # place within its own row
    shape = rows, int(count.max())
    packed = Shortlist(values.new_full(shape, -math.inf), ids.new_zeros(shape))
    packed.values[row, column], packed.ids[row, column] = values, ids
    return packed
