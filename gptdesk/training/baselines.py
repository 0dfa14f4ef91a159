"""Unigram and bigram baselines: losses to compare the validation loss of a model with."""

from dataclasses import dataclass

import numpy as np

MOST_COUNTED = 5_000_000  # tokens of the training text
MOST_MEASURED = 1_000_000  # tokens of the validation split


@dataclass(frozen=True)
class Baselines:
    """Mean losses on the validation split, in nats per token."""

    chance: float  # of the uniform distribution
    unigram: float  # of the frequencies of tokens
    bigram: float  # of the frequencies of pairs


def measure_baselines(train: np.ndarray, held_out: np.ndarray, *, vocab_size: int) -> Baselines | None:
    """Return the losses on `held_out` (M,) of frequencies counted in `train` (N,); None if either is too short.

    Pairs are smoothed with unigrams, the more so the more different tokens follow the first of the two (Witten and
    Bell 1991).
    """
    counted, held_out = train[:MOST_COUNTED].astype(np.int64), held_out[:MOST_MEASURED].astype(np.int64)
    if len(held_out) < 2 or len(counted) < 2:
        return None
    # add-one smoothing: (V,) probabilities, none of them zero
    single = (np.bincount(counted, minlength=vocab_size) + 1) / (len(counted) + vocab_size)
    # one int64 for each pair, sorted: (P,) different pairs and how often each occurs
    pair_ids, counts = np.unique(counted[:-1] * vocab_size + counted[1:], return_counts=True)
    firsts = pair_ids // vocab_size
    total = np.bincount(firsts, weights=counts, minlength=vocab_size)  # (V,) pairs that begin so
    kinds = np.bincount(firsts, minlength=vocab_size)  # (V,) and how many different ones
    # (M - 1,) pairs of the validation split, looked up among those that were counted
    first, second = held_out[:-1], held_out[1:]
    pairs = first * vocab_size + second
    index = np.minimum(np.searchsorted(pair_ids, pairs), len(pair_ids) - 1)
    seen = np.where(pair_ids[index] == pairs, counts[index], 0)
    # Witten-Bell: the unigrams weigh as much as the number of kinds seen after the first token
    weight = np.maximum(kinds[first], 1)  # of the unigrams; 1 for a first token that was never counted
    bigram = (seen + weight * single[second]) / (total[first] + weight)
    return Baselines(
        chance=float(np.log(vocab_size)),
        unigram=float(-np.log(single[second]).mean()),
        bigram=float(-np.log(bigram).mean()),
    )
