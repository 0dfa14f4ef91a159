"""Which rows of text a step sees: each epoch every row once, in an order that seed and position alone decide.

R rows of T + 1 tokens: T to read, and for each the one that follows.
"""

import random
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Rows(Protocol):
    """Rows of tokens that may be cut anew in every epoch."""

    @property
    def count(self) -> int: ...  # R, the same in every epoch

    @property
    def width(self) -> int: ...  # T + 1

    def take(self, indices: Tensor, *, epoch: int) -> Tensor:
        """The rows (n, T + 1) at `indices` (n,), as int64."""


class TableRows:
    """Rows that are there already, as a tensor (R, T + 1)."""

    def __init__(self, table: Tensor) -> None:
        self.count, self.width = table.shape
        self._table = table

    def take(self, indices: Tensor, *, epoch: int) -> Tensor:
        return self._table[indices]


class StreamRows:
    """Rows cut from one long text (N,), closed to a ring: each epoch cuts it at other places.

    Of N tokens, N - N % T are learnt in an epoch, none of them twice; those left out differ from epoch to epoch.
    """

    def __init__(self, tokens: np.ndarray, block_size: int, *, seed: int) -> None:
        if len(tokens) <= block_size:
            raise ValueError(
                f"the text has {len(tokens):,} tokens to train on, and one row of block_size {block_size} needs "
                f"{block_size + 1}; give more text or a smaller block_size"
            )
        self.count, self.width = len(tokens) // block_size, block_size + 1
        self._tokens, self._seed = tokens, seed

    def take(self, indices: Tensor, *, epoch: int) -> Tensor:
        begin = draw(self._seed, epoch, "cut") % len(self._tokens) if epoch else 0
        starts = begin + indices.numpy()[:, None] * (self.width - 1)
        places = (starts + np.arange(self.width)) % len(self._tokens)
        return torch.from_numpy(self._tokens[places].astype(np.int64))


class Loader:
    """Batches at any position: `position` counts rows from the beginning of the run."""

    def __init__(self, rows: Rows, *, seed: int) -> None:
        self.rows = rows
        self._seed = seed
        self._known: tuple[int, Tensor] | None = None  # an epoch and its order

    def batch(self, position: int, size: int) -> Tensor:
        """The rows (size, T + 1) from `position` on; the same whenever they are asked for."""
        parts = []
        while size:
            epoch, place = divmod(position, self.rows.count)
            indices = self._order(epoch)[place : place + size]
            parts.append(self.rows.take(indices, epoch=epoch))
            position, size = position + len(indices), size - len(indices)
        return torch.cat(parts) if parts else torch.empty(0, self.rows.width, dtype=torch.int64)

    def _order(self, epoch: int) -> Tensor:
        if self._known is None or self._known[0] != epoch:
            generator = torch.Generator().manual_seed(draw(self._seed, epoch, "order"))
            self._known = epoch, torch.randperm(self.rows.count, generator=generator)
        return self._known[1]


def held_out_rows(tokens: np.ndarray, block_size: int, *, most: int) -> Tensor | None:
    """Rows (R, T + 1) of about `most` tokens, evenly spread over a held-out text (N,), without overlap.

    A text shorter than a row makes one short row; an empty one, or one of a single token, none.
    """
    if len(tokens) < 2:
        return None
    width = min(block_size, len(tokens) - 1)
    there = (len(tokens) - 1) // width
    wanted = max(1, min(there, most // width))
    starts = np.linspace(0, there - 1, wanted).astype(np.int64) * width
    return torch.from_numpy(tokens[starts[:, None] + np.arange(width + 1)].astype(np.int64))


def draw(seed: int, epoch: int, purpose: str) -> int:
    """A random number from 0 to 2^62 that belongs to these three."""
    return random.Random(f"{purpose}/{seed}/{epoch}").getrandbits(62)
