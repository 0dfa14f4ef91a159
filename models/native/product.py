"""Product of inputs and weights: pieces for the threads, and what follows at once: scales, bias, activation, residual.

R rows of inputs, K inputs of a row as padded, N outputs. Up to FEW rows meet the weights as stored. Of more rows, as
many weights as stay in the second-level cache are widened once, into a panel of floats, which all rows then pass by.
"""

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from models.native.elementwise import activate
from models.native.threads import next_piece, piece_done, wait_for_all
from models.native.tile import (
    ALONE,
    COLUMNS,
    MOST_ROWS,
    alone,
    panel_fewer,
    panel_most,
    single,
    tile_2,
    tile_3,
    tile_4,
    tile_5,
    tile_6,
    widen,
)
from models.native.vectors import LANES, Builder, Value, pointer_to_floats

f4 = np.float32
BLOCK = 1024  # inputs summed at once: those of 6 rows stay in the first-level cache
PANEL = 65_536  # floats that stay in the second-level cache while a prompt passes by
PIECE = 96  # outputs that are worth a piece of their own
FEW = 19  # rows for which a panel is not worth its making; any larger number is a sum of sixes and fives


@intrinsic
def is_nibbles(typing: Any, kind: Any) -> Any:
    """Return whether weights of this kind are nibbles."""

    def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
        return context.get_constant(types.boolean, kind.dtype == types.uint8)

    return types.boolean(kind), generate


@njit(nogil=True, inline="always")
def floats(address, count):  # type: ignore[no-untyped-def]
    """Return the floats (count,) at an address."""
    return carray(pointer_to_floats(address), (count,))


@njit(nogil=True, inline="always")
def matrix(address, rows, columns):  # type: ignore[no-untyped-def]
    """Return the floats (rows, columns) at an address."""
    return carray(pointer_to_floats(address), (rows, columns))


@njit(nogil=True, error_model="numpy")
def multiply_rows(kind, W, S, start, stop, stride, x, r0, rows, k0, k1, y):  # type: ignore[no-untyped-def]
    """Multiply the weights start to stop, and those COLUMNS - 1 times `stride` further on, by up to MOST_ROWS rows."""
    for n in range(start, stop):
        if rows == 2:
            tile_2(kind, W, S, n, stride, x, r0, k0, k1, y)
        elif rows == 3:
            tile_3(kind, W, S, n, stride, x, r0, k0, k1, y)
        elif rows == 4:
            tile_4(kind, W, S, n, stride, x, r0, k0, k1, y)
        elif rows == 5:
            tile_5(kind, W, S, n, stride, x, r0, k0, k1, y)
        elif rows == 6:
            tile_6(kind, W, S, n, stride, x, r0, k0, k1, y)
        elif rows == 1:
            for c in range(COLUMNS):
                single(kind, W, S, n + c * stride, 0, x, r0, k0, k1, y)


@njit(nogil=True, error_model="numpy")
def multiply_many(kind, W, S, x, y, start, stop, panel):  # type: ignore[no-untyped-def]
    """Assign y[:, start:stop] = x W[start:stop]^T for more than FEW rows; COLUMNS divides the number of outputs.

    `panel` is the address of PANEL floats.
    """
    R, K = x.shape
    step = max(1, PANEL // min(K, BLOCK) // COLUMNS) * COLUMNS
    # the rows are divided into tiles of MOST_ROWS, and a few of one row less
    most = R - (MOST_ROWS - 1) * (-R % MOST_ROWS)
    for a in range(start, stop, step):
        z = min(a + step, stop)
        for k in range(0, K, BLOCK):
            k1 = min(K, k + BLOCK)
            width = k1 - k
            for n in range(a, z):
                c = (n - a) % COLUMNS
                # in the order of memory
                widen(kind, W, S, n, K, k, k1, panel + 4 * ((n - a - c) * width + c * LANES))
            for r in range(0, most, MOST_ROWS):
                for n in range(a, z, COLUMNS):
                    panel_most(panel + 4 * (n - a) * width, n, x, r, k, k1, y)
            for r in range(most, R, MOST_ROWS - 1):
                for n in range(a, z, COLUMNS):
                    panel_fewer(panel + 4 * (n - a) * width, n, x, r, k, k1, y)


@njit(nogil=True, error_model="numpy", cache=True)
def multiply(kind, W, S, x, y, start, stop, panel):  # type: ignore[no-untyped-def]
    """Assign y[:, start:stop] = x W[start:stop]^T, for x (R, K) and y (R, N or more); int8 weights unscaled.

    The rows of weights that are read at once lie far apart: neighbours share a page of memory, which defeats the
    processor's prefetching. `panel` is the address of PANEL floats, which only more than FEW rows need.
    """
    R, K = x.shape
    columns = ALONE if R == 1 else COLUMNS
    stride = (stop - start) // columns
    # the first output that no tile of `columns` has
    rest = start + columns * stride
    if R == 1:
        for n in range(start, start + stride):
            for k in range(0, K, BLOCK):
                alone(kind, W, S, n, stride, x, 0, k, min(K, k + BLOCK), y)
    elif R > FEW:
        multiply_many(kind, W, S, x, y, start, rest, panel)
    else:
        for k in range(0, K, BLOCK):
            for r in range(0, R, MOST_ROWS):
                rows = min(MOST_ROWS, R - r)
                multiply_rows(kind, W, S, start, start + stride, stride, x, r, rows, k, min(K, k + BLOCK), y)
    for n in range(rest, stop):
        for r in range(R):
            for k in range(0, K, BLOCK):
                single(kind, W, S, n, 0, x, r, k, min(K, k + BLOCK), y)


@njit(nogil=True, error_model="numpy", cache=True)
def product(kind, W, S, bias, N, x, y, added_to, adds, activation, T, panel, sync, phase):  # type: ignore[no-untyped-def]
    """Assign y = activation(x W^T * scales + bias), where `adds` also added_to += y.

    x (R, K), W (N, K), y (R, N or more). `bias` is an address, 0 for none; `activation` is negative for none; `panel`
    is that of PANEL floats of this thread.
    """
    R = x.shape[0]
    pieces = 1 if T == 1 else max(T, min(8 * T, N // PIECE))
    while True:
        piece = next_piece(sync, phase)
        if piece >= pieces:
            break
        start, stop = piece * N // pieces, (piece + 1) * N // pieces
        multiply(kind, W, S, x, y, start, stop, panel)
        for r in range(R):
            part = y[r, start:stop]
            if S != 0 and not is_nibbles(kind):
                scales = floats(S + 4 * start, stop - start)
                for n in range(part.size):
                    part[n] *= scales[n]
            if bias != 0:
                biases = floats(bias + 4 * start, stop - start)
                for n in range(part.size):
                    part[n] += biases[n]
            if activation >= 0:
                activate(part, activation)
            if adds:
                residual = added_to[r, start:stop]
                for n in range(part.size):
                    residual[n] += part[n]
        piece_done(sync, phase)
    wait_for_all(sync, phase, pieces)
