"""A scale for losses: what guessing costs that knows nothing, how often tokens occur, or which one came before."""

from dataclasses import dataclass

import numpy as np

LEARNT_FROM = 5_000_000  # tokens that are counted at most
MEASURED_ON = 1_000_000


@dataclass(frozen=True)
class Ladder:
    """Mean losses on a held-out text, in nats per token."""

    chance: float  # all tokens are alike
    unigram: float  # each as likely as it is frequent
    bigram: float  # given the one before


def ladder(train: np.ndarray, held_out: np.ndarray, *, vocab_size: int) -> Ladder | None:
    """What guessers who have counted the tokens `train` (N,) lose on `held_out` (M,); None if that is too short.

    A pair not seen is guessed from single tokens, the more so the more different tokens follow the first of the two
    (Witten and Bell 1991).
    """
    before, held_out = train[:LEARNT_FROM].astype(np.int64), held_out[:MEASURED_ON].astype(np.int64)
    if len(held_out) < 2 or len(before) < 2:
        return None
    single = (np.bincount(before, minlength=vocab_size) + 1) / (len(before) + vocab_size)  # (V,)
    known, counts = np.unique(before[:-1] * vocab_size + before[1:], return_counts=True)
    firsts = known // vocab_size
    total = np.bincount(firsts, weights=counts, minlength=vocab_size)  # (V,) pairs that begin so
    kinds = np.bincount(firsts, minlength=vocab_size)  # (V,) and how many different ones
    first, second = held_out[:-1], held_out[1:]
    pairs = first * vocab_size + second
    places = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
    seen = np.where(known[places] == pairs, counts[places], 0)
    weight = np.maximum(kinds[first], 1)
    paired = (seen + weight * single[second]) / (total[first] + weight)
    return Ladder(
        chance=float(np.log(vocab_size)),
        unigram=float(-np.log(single[second]).mean()),
        bigram=float(-np.log(paired).mean()),
    )
