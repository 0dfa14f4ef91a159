"""Network whose step is compiled: the addresses of its weights, and buffers for a step."""

import functools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.native.compiled import Code
from models.native.helpers import Helpers
from models.native.thread_count import ThreadCount

PADDING = 64  # a row of weights is padded to a multiple of it
QUERIES = 4  # rows of a sequence that share the reading of its keys
KEPT_BUFFERS = 4  # sets for calls at the same time
FEW_ROWS = 16  # up to so many, reading the weights takes most of the time
# threads that have enough to do: for few rows, which memory bounds, and for many
MOST_THREADS, MOST_FOR_FEW = 32, 16
FLOAT_BYTES = 4
OUTSIDE = "a token is outside the vocabulary"


@dataclass(frozen=True)
class Shape:
    """The numbers of a network that its step needs."""

    layers: int
    channels: int
    inner: int
    heads: int
    vocabulary: int
    context: int
    activation: int  # its place in `models.gpt.ACTIVATIONS`
    epsilon: float  # of the layer norms


@dataclass(frozen=True)
class Rows:
    """Tokens to append to one cache: ids (B, T), and where the keys and values of the cache lie."""

    tokens: Tensor  # (B, T) int64
    length: int  # tokens that the cache holds
    store: Tensor  # (L, 2, B, H, capacity, D) float32, contiguous


@dataclass(frozen=True)
class NativeMatrix:
    """A matrix (N, K) as the step reads it: the parts of its encoding, rows padded, and its bias."""

    weight: Tensor  # (N, K padded) float32, bfloat16 or int8, or nibbles (N, K padded / 2) as uint8
    scale: Tensor | None  # (N,) float32 or of nibbles (N, K padded / 32) float16
    bias: Tensor | None  # (N,) float32

    @classmethod
    def of(cls, parts: dict[str, Tensor], bias: Tensor | None) -> "NativeMatrix":
        """Return the matrix with these parts, which are kept where no padding is needed."""
        weight, scale = parts["weight"], parts.get("scale")
        # a byte of nibbles has two weights, and 0x88 is two zeros
        per_item, zero = (2, 0x88) if weight.dtype == torch.uint8 else (1, 0)
        missing = -weight.shape[1] * per_item % PADDING // per_item
        if missing:
            weight = F.pad(weight, (0, missing), value=zero)
            if per_item == 2 and scale is not None:
                scale = F.pad(scale, (0, -scale.shape[1] % 2))
        parts = {"weight": weight.contiguous()} | ({} if scale is None else {"scale": scale.contiguous()})
        return cls(parts["weight"], parts.get("scale"), None if bias is None else bias.contiguous())

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(part.nbytes for part in (self.weight, self.scale, self.bias) if part is not None)

    def addresses(self) -> list[int]:
        """Return the addresses of weights, scales and bias, 0 for what there is not."""
        return [0 if part is None else part.data_ptr() for part in (self.weight, self.scale, self.bias)]


@dataclass(frozen=True)
class NativeLayer:
    """The weights of one layer: four matrices, and two layer norms as (weight, bias) of (C,) float32."""

    c_attn: NativeMatrix
    attn_proj: NativeMatrix
    c_fc: NativeMatrix
    mlp_proj: NativeMatrix
    ln_1: tuple[Tensor, Tensor]
    ln_2: tuple[Tensor, Tensor]


class _Buffers:
    """Memory for the steps of up to `rows` rows; what pads a row is zero and stays so."""

    def __init__(self, shape: Shape, *, rows: int, threads: int, panel: int) -> None:
        C, inner = shape.channels, shape.inner
        C_padded, inner_padded = _padded(C), _padded(inner)
        self.rows = rows
        widths = (C, C_padded, C_padded, 3 * C, C_padded, inner_padded, inner_padded, C)
        sizes = [rows * width for width in widths] + [threads * QUERIES * shape.context, threads * panel]
        self.tensors = [torch.zeros(size) for size in sizes]
        # the address of the logits, which belong to a call, is set by it
        self.addresses = np.array([tensor.data_ptr() for tensor in self.tensors] + [0], np.int64)


class NativeNetwork:
    """A network without state: rows of tokens for caches in, logits out. Any thread may call it at any time.

    A row's bits depend on its own sequence only: not on the rows beside it, the number of threads, or how a prompt is
    divided into calls.
    """

    def __init__(
        self,
        code: Code,
        shape: Shape,
        *,
        table: NativeMatrix,
        positions: Tensor,
        layers: Sequence[NativeLayer],
        ln_f: tuple[Tensor, Tensor],
        head: NativeMatrix | None,
        threads: int,
    ) -> None:
        """Make the tables of addresses; positions are (context, C) float32, without `head` it is the token table."""
        self.shape = shape
        self._code = code
        self._threads = min(threads, MOST_THREADS)
        self._counts: dict[int, ThreadCount] = {}  # by the number of rows
        self._helpers = Helpers()
        self._kept = (table, positions.contiguous(), tuple(layers), ln_f, head)
        multiplied = head or table
        self._numbers = np.array(
            [
                *(shape.layers, shape.channels, shape.inner, shape.heads, shape.vocabulary, shape.context),
                *(shape.activation, _padded(shape.channels), _padded(shape.inner)),
            ],
            np.int64,
        )
        ends = [*table.addresses()[:2], self._kept[1].data_ptr(), *multiplied.addresses()[:2]]
        self._weights = np.array([*ends, *(part.data_ptr() for part in ln_f)], np.int64)
        self._layers = np.array([_addresses(layer) for layer in layers], np.int64)
        kinds = table.weight, layers[0].c_attn.weight, layers[-1].mlp_proj.weight
        self._kinds = tuple(code.kind(weight.dtype) for weight in kinds)
        self._epsilon = np.float32(shape.epsilon)
        self._free: list[_Buffers] = []
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        table, positions, layers, _, head = self._kept
        matrices = [m for layer in layers for m in (layer.c_attn, layer.attn_proj, layer.c_fc, layer.mlp_proj)]
        matrices += [table] if head is None else [table, head]
        return positions.nbytes + sum(matrix.nbytes for matrix in matrices)

    def __call__(self, parts: Sequence[Rows], *, last_only: bool) -> Tensor:
        """Return the logits (M, V) after each token, or after the last of each row of each part, part by part.

        Keys and values are written after the tokens that the caches hold; callers then advance the caches. Raises
        IndexError for a token outside the vocabulary and RuntimeError, with the caches as they were, if a thread fails.
        """
        rows, groups, wanted = _tables(parts, vocabulary=self.shape.vocabulary, last_only=last_only)
        logits = torch.empty(len(wanted), self.shape.vocabulary)
        many = len(rows) > FEW_ROWS
        count = self._count(len(rows))
        threads, started = count.count, time.perf_counter()
        buffers = self._borrow(len(rows))
        buffers.addresses[-1] = logits.data_ptr()
        # counters of this step alone: a helper that comes too late finds them all done
        counters = self._code.counters(self.shape.layers)
        given: tuple[Any, ...]
        given = threads, counters, self._numbers, self._weights, self._layers, buffers.addresses.copy(), rows, groups
        given = *given, wanted, self._epsilon, *self._kinds
        self._helpers.run(self._code.step, given, counters, threads=threads)
        # of many rows, each takes about the same time
        count.record(threads, (time.perf_counter() - started) / (len(rows) if many else 1))
        with self._lock:
            if len(self._free) < KEPT_BUFFERS:
                self._free.append(buffers)
        return logits

    def _count(self, rows: int) -> ThreadCount:
        """Return the number of threads for steps of so many rows."""
        many = rows > FEW_ROWS
        size = FEW_ROWS + 1 if many else rows
        if (known := self._counts.get(size)) is not None:
            return known
        with self._lock:
            most = self._threads if many else min(self._threads, MOST_FOR_FEW)
            return self._counts.setdefault(size, ThreadCount(most))

    def _borrow(self, rows: int) -> _Buffers:
        """Return buffers for so many rows, that nobody else uses."""
        with self._lock:
            for buffers in self._free:
                if rows <= buffers.rows <= 4 * rows:
                    self._free.remove(buffers)
                    return buffers
            if len(self._free) == KEPT_BUFFERS:
                del self._free[0]
        return _Buffers(self.shape, rows=rows, threads=self._threads, panel=self._code.panel)


def _padded(size: int) -> int:
    return size + -size % PADDING


def _addresses(layer: NativeLayer) -> list[int]:
    """Return the row of the table of layers."""
    matrices = (layer.c_attn, layer.attn_proj, layer.c_fc, layer.mlp_proj)
    norms = (*layer.ln_1, *layer.ln_2)
    return [address for matrix in matrices for address in matrix.addresses()] + [part.data_ptr() for part in norms]


def _tables(parts: Sequence[Rows], *, vocabulary: int, last_only: bool) -> tuple[Any, Any, Any]:
    """Return the tables of a step: rows (R, 6), groups of neighbours (G, 2), and the rows whose logits are wanted.

    Raises IndexError for a token outside the vocabulary.
    """
    if all(part.tokens.shape[1] == 1 for part in parts):
        return _tables_of_single_tokens(parts, vocabulary=vocabulary)
    rows, groups, wanted, first = [], [], [], 0
    for part in parts:
        B, T = part.tokens.shape
        _, _, _, H, capacity, D = part.store.shape
        head = capacity * D * FLOAT_BYTES  # bytes of the keys of a head
        values, address = B * H * head, part.store.data_ptr()
        # columns: token, position, address of the keys, bytes from layer to layer, keys to values, head to head
        table = np.empty((B, T, 6), np.int64)
        table[:, :, 0] = ids = part.tokens.numpy()
        if not 0 <= ids.min() <= ids.max() < vocabulary:
            raise IndexError(OUTSIDE)
        table[:, :, 1] = np.arange(part.length, part.length + T)
        table[:, :, 2] = address + np.arange(B)[:, None] * (H * head)
        table[:, :, 3:] = 2 * values, values, head
        rows.append(table.reshape(B * T, 6))
        starts = np.arange(0, T, QUERIES)
        counts = np.minimum(QUERIES, T - starts)
        for b in range(B):
            begin = first + b * T
            groups.append(np.stack([begin + starts, counts], axis=1))
            wanted.append(np.arange(begin + T - 1 if last_only else begin, begin + T))
        first += B * T
    return np.concatenate(rows), np.concatenate(groups), np.concatenate(wanted)


def _tables_of_single_tokens(parts: Sequence[Rows], *, vocabulary: int) -> tuple[Any, Any, Any]:
    """Return the tables of `_tables` for parts of one token a row, by few calls: there is one such step for a token."""
    rows = []
    for part in parts:
        _, _, B, H, capacity, D = part.store.shape
        head, address = capacity * D * FLOAT_BYTES, part.store.data_ptr()
        values = B * H * head
        for b, token in enumerate(part.tokens[:, 0].tolist()):
            if not 0 <= token < vocabulary:
                raise IndexError(OUTSIDE)
            rows.append((token, part.length, address + b * H * head, 2 * values, values, head))
    return np.array(rows, np.int64), *_single_rows(len(rows))


@functools.lru_cache(maxsize=64)
def _single_rows(count: int) -> tuple[Any, Any]:
    """Return the groups of so many rows that have no neighbours, and the rows wanted: all. The step only reads them."""
    numbers = np.arange(count, dtype=np.int64)
    return np.stack([numbers, np.ones_like(numbers)], axis=1), numbers
