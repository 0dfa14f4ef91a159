"""Rows of text for each step: every row once an epoch, in an order that only seed and position determine.

R rows of T + 1 tokens: T to read, and for each the one that follows.
"""

import random
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Rows(Protocol):
    """Rows of tokens, which may be cut at other positions in every epoch."""

    @property
    def count(self) -> int: ...  # R, the same in every epoch

    @property
    def width(self) -> int: ...  # T + 1

    def take(self, indices: Tensor, *, epoch: int) -> Tensor:
        """Return the rows (n, T + 1) at `indices` (n,), as int64."""


class TableRows:
    """Rows of a tensor (R, T + 1)."""

    def __init__(self, table: Tensor) -> None:
        self.count, self.width = table.shape
        self._table = table

    def take(self, indices: Tensor, *, epoch: int) -> Tensor:
        return self._table[indices]


class StreamRows:
    """Rows cut from one long text (N,), closed to a ring: each epoch cuts it at other positions.

    Of N tokens, N - N % T are targets in an epoch, none of them twice; those left out differ from epoch to epoch.
    """

    def __init__(self, tokens: np.ndarray, block_size: int, *, seed: int) -> None:
        if len(tokens) <= block_size:
            raise ValueError(
                "give more text, at least a few sentences, or a shorter context (block_size): the text is too short, "
                f"for it has {len(tokens):,} tokens to train on, and one row of a context of {block_size} needs "
                f"{block_size + 1}"
            )
        self.count, self.width = len(tokens) // block_size, block_size + 1
        self._tokens, self._seed = tokens, seed

    def take(self, indices: Tensor, *, epoch: int) -> Tensor:
        # epoch 0 begins with the text, later ones anywhere, so that rows differ
        begin = draw(self._seed, epoch, "cut") % len(self._tokens) if epoch else 0
        # (n, 1) starts, T apart: the last token of a row is the first of the next
        starts = begin + indices.numpy()[:, None] * (self.width - 1)
        # (n, T + 1) positions; after the last token comes the first
        positions = (starts + np.arange(self.width)) % len(self._tokens)
        # copied from the memory map here: only the rows of this batch are read
        return torch.from_numpy(self._tokens[positions].astype(np.int64))


class Loader:
    """Batches at any position, which counts rows from the beginning of the run."""

    def __init__(self, rows: Rows, *, seed: int) -> None:
        self.rows = rows
        self._seed = seed
        # the last epoch and its order (R,): steps of one epoch share it
        self._known: tuple[int, Tensor] | None = None

    def batch(self, position: int, size: int) -> Tensor:
        """Return the rows (size, T + 1) from `position` on: the same in a resumed run as in an undisturbed one."""
        parts = []
        while size:
            epoch, offset = divmod(position, self.rows.count)
            # (n,) with n <= size: a batch may span the end of an epoch
            indices = self._order(epoch)[offset : offset + size]
            parts.append(self.rows.take(indices, epoch=epoch))
            position, size = position + len(indices), size - len(indices)
        return torch.cat(parts) if parts else torch.empty(0, self.rows.width, dtype=torch.int64)

    def _order(self, epoch: int) -> Tensor:
        # a generator of its own for each epoch: no state of it needs saving
        if self._known is None or self._known[0] != epoch:
            generator = torch.Generator().manual_seed(draw(self._seed, epoch, "order"))
            self._known = epoch, torch.randperm(self.rows.count, generator=generator)
        return self._known[1]


def held_out_rows(tokens: np.ndarray, block_size: int, *, most: int) -> Tensor | None:
    """Return rows (R, T + 1) of about `most` tokens, evenly spread over a validation split (N,), without overlap.

    A text shorter than a row makes one short row; one of less than two tokens None.
    """
    if len(tokens) < 2:
        return None
    width = min(block_size, len(tokens) - 1)
    available = (len(tokens) - 1) // width  # rows without overlap
    count = max(1, min(available, most // width))
    # multiples of the width, so that no token is a target twice
    starts = np.linspace(0, available - 1, count).astype(np.int64) * width
    # (R, 1) + (T + 1,) -> (R, T + 1)
    return torch.from_numpy(tokens[starts[:, None] + np.arange(width + 1)].astype(np.int64))


def draw(seed: int, epoch: int, purpose: str) -> int:
    """Return a random number from 0 to 2^62 that these three determine."""
    # a string as seed is hashed the same on every system and version of Python
    return random.Random(f"{purpose}/{seed}/{epoch}").getrandbits(62)
