"""Novelty of texts beside a reference, such as the training text: shared runs, near-duplicates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Tokens = np.ndarray  # (N,) whole numbers

BASE = np.uint64(0x9E3779B97F4A7C15)  # of a polynomial modulo 2^64
BETWEEN_TEXTS, BETWEEN_ROWS = -1, -2  # stand between one text and the next, and are never equal
LENGTHS = (2, 4, 6, 8, 12)
HASHES, GRAM = 64, 5  # of a MinHash, and the tokens of each run it hashes


@dataclass(frozen=True)
class Novelty:
    """Overlap of texts with a reference. Compare with that of certainly new texts, never with 0."""

    longest_run: int  # the most tokens in a row that stand in the reference, too
    usual_run: int  # 95 of 100 texts have no longer one
    unseen: dict[int, float]  # share of the runs of n tokens that the reference does not have, for each n
    near_duplicates: float  # share of the texts half of whose runs of 5 tokens stand in one and the same row


class Reference:
    """Rows of token ids that texts are compared with, hashed in advance."""

    def __init__(self, rows: Iterable[Sequence[int] | Tokens]) -> None:
        arrays = [np.asarray(row, dtype=np.int32) for row in rows]
        self.flat = _flat(arrays, BETWEEN_ROWS)
        self.signatures = np.stack([_signature(row) for row in arrays])  # (R, HASHES)
        self.runs = np.array([max(1, len(row) - GRAM + 1) for row in arrays])  # (R,)


def novelty(texts: Sequence[Sequence[int]], reference: Reference) -> Novelty:
    """Measure texts, given as token ids, beside a reference. Raises ValueError if there are no texts."""
    if not texts:
        raise ValueError("there are no texts to compare")
    longest, unseen = _runs(texts, reference)
    ordered = sorted(longest)
    usual = ordered[-(-len(ordered) * 95 // 100) - 1]
    return Novelty(ordered[-1], usual, unseen, near_duplicates(texts, reference))


def _runs(texts: Sequence[Sequence[int]], reference: Reference) -> tuple[list[int], dict[int, float]]:
    """Return the longest run of each text that the reference has, and the share of runs it lacks, by length.

    A shared run of n tokens begins with a shared run of n - 1, so that ever fewer places are compared.
    """
    ours, theirs = _flat(texts, BETWEEN_TEXTS), reference.flat
    codes = _codes(int(max(ours.max(), theirs.max())))
    owner = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])
    places, sums = np.flatnonzero(ours >= 0), np.zeros((ours >= 0).sum(), np.uint64)
    their_places, their_sums = np.flatnonzero(theirs >= 0), np.zeros((theirs >= 0).sum(), np.uint64)
    longest, unseen, n = np.zeros(len(texts), int), {}, 0
    while len(places):
        places, sums = _longer(places, sums, ours, codes, n)
        their_places, their_sums = _longer(their_places, their_sums, theirs, codes, n)
        n += 1
        # Keep the runs (N,) that both sides have.
        theirs_shared = _among(their_sums, np.unique(sums))
        ours_shared = _among(sums, np.unique(their_sums[theirs_shared]))
        places, sums = places[ours_shared], sums[ours_shared]
        their_places, their_sums = their_places[theirs_shared], their_sums[theirs_shared]
        longest[owner[places]] = n
        if n in LENGTHS:
            total = sum(max(0, len(text) - n + 1) for text in texts)
            unseen[n] = 1 - len(places) / max(1, total)
    return longest.tolist(), {length: unseen.get(length, 1.0) for length in LENGTHS}


def _among(values: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return which values are among others, given in ascending order; fast where those are few."""
    if not len(some):
        return np.zeros(len(values), bool)
    return some[np.searchsorted(some, values).clip(max=len(some) - 1)] == values


def _flat(rows: Iterable[Sequence[int] | Tokens], between: int) -> Tokens:
    return np.concatenate([np.append(np.asarray(row, dtype=np.int32), np.int32(between)) for row in rows])


def _codes(largest: int) -> np.ndarray:
    """Return a random number for every token, and for the two separators."""
    return np.random.default_rng(1).integers(0, 2**64, largest + 3, dtype=np.uint64)


def _longer(
    places: np.ndarray, sums: np.ndarray, flat: Tokens, codes: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Extend the runs of n tokens at `places` by one token; those at the end are left out."""
    inside = places + n < len(flat)
    places, sums = places[inside], sums[inside]
    added = flat[places + n]
    fits = added >= 0
    return places[fits], sums[fits] * BASE + codes[added[fits]]


def near_duplicates(texts: Sequence[Sequence[int]], reference: Reference) -> float:
    """Return the share of the texts for which some row has about half of their runs of 5 tokens.

    MinHash estimates the intersection of two sets as a share of their union (Broder 1997); their sizes give the share
    of the text's runs.
    """
    duplicates = 0
    for text in texts:
        alike = (reference.signatures == _signature(text)).mean(axis=1)  # (R,)
        runs = max(1, len(text) - GRAM + 1)
        shared = alike / (1 + alike) * (runs + reference.runs)
        duplicates += bool((shared >= runs / 2).any())
    return duplicates / len(texts)


def _signature(row: Sequence[int] | Tokens) -> np.ndarray:
    """Return the MinHash (HASHES,) of a row's runs of GRAM tokens."""
    ids = np.array(row, dtype=np.uint64)
    sums = np.zeros(max(1, len(ids) - GRAM + 1), np.uint64)
    for shift in range(GRAM if len(ids) >= GRAM else 0):
        sums = sums * BASE + ids[shift : shift + len(sums)]
    mixed = sums[:, None] * _FACTORS + _SHIFTS  # (runs, HASHES)
    return ((mixed ^ (mixed >> np.uint64(31))) * BASE >> np.uint64(32)).min(axis=0).astype(np.uint32)


_FACTORS, _SHIFTS = np.random.default_rng(2).integers(0, 2**63, (2, HASHES), dtype=np.uint64) * np.uint64(
    2
) + np.uint64(1)
