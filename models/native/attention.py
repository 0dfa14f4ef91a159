"""Attention of rows to the keys and values of their caches: softmax(q K^T / sqrt(D)) V, one head at a time.

Up to four queries of one sequence share the reading of its keys. A score is summed over d in one order, an output over
t in rising order, so a row has the same bits alone and in a prompt. D head width, t a position in the cache.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from models.native.elementwise import exponential, largest, total
from models.native.vectors import (
    F32,
    I64,
    LANES,
    VF32,
    Builder,
    Value,
    fma,
    lanes,
    load_floats,
    loop,
    pointer,
    pointer_to_floats,
    splat,
    store_floats,
    sum_vector,
    zero,
)

f4 = np.float32
QUERIES = 4
# columns of the table of rows: bytes but for the first two
TOKEN, POSITION, KEYS, LAYER, VALUES, HEAD = range(6)


def make_dots(keys: int, queries: int) -> Callable[..., None]:
    """Return the tile of scores of so many keys and queries."""

    @intrinsic
    def dots(typing: Any, K: Any, D: Any, t: Any, Q: Any, stride: Any, scores: Any, width: Any) -> Any:
        """Assign scores[q, t + i] = K[t + i, :D'] . Q[q, :D'], where D' is D without what is left over of 16 lanes.

        All but D, t and the floats from a query to the next (`stride`), of scores too (`width`), are addresses.
        """

        def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
            K, D, t, Q, stride, scores, width = given
            whole = b.mul(b.udiv(D, I64(LANES)), I64(LANES))
            acc = [[zero(b) for _ in range(queries)] for _ in range(keys)]
            begins = [b.mul(b.add(t, I64(i)), D) for i in range(keys)]
            if queries == 1:
                # one key after the other, as they lie in memory
                for i, begin in enumerate(begins):
                    with loop(b, I64(0), whole, LANES) as (d, _):
                        key = load_floats(b, K, b.add(begin, d))
                        b.store(fma(b, key, load_floats(b, Q, d), b.load(acc[i][0])), acc[i][0])
            else:
                with loop(b, I64(0), whole, LANES) as (d, _):
                    q = [load_floats(b, Q, b.add(b.mul(stride, I64(i)), d)) for i in range(queries)]
                    for i, begin in enumerate(begins):
                        key = load_floats(b, K, b.add(begin, d))
                        for j in range(queries):
                            b.store(fma(b, key, q[j], b.load(acc[i][j])), acc[i][j])
            # the scores of neighbouring keys side by side: stored at once
            total = sum_vector(b, [b.load(acc[i][j]) for j in range(queries) for i in range(keys)])
            part = ir.VectorType(F32, keys)
            for j in range(queries):
                picked = lanes([keys * j + i for i in range(keys)])
                place = pointer(b, scores, F32, b.add(b.mul(width, I64(j)), t))
                scored = b.shuffle_vector(total, ir.Constant(VF32, ir.Undefined), picked)
                b.store(scored, b.bitcast(place, part.as_pointer())).align = 4
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    made: Callable[..., None] = dots
    return made


def make_mix(vectors: int, queries: int) -> Callable[..., None]:
    """Return the weighted sum of values for so many vectors of 16 and queries."""

    @intrinsic
    def mix(typing: Any, P: Any, width: Any, V: Any, D: Any, start: Any, stop: Any, d: Any, Y: Any, stride: Any) -> Any:
        """Assign Y[q, d : d + 16 vectors] += sum over t from start to stop of P[q, t] V[t, d : d + 16 vectors].

        From start = 0 on it is assigned, not added. P, V and Y are addresses.
        """

        def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
            P, width, V, D, start, stop, d, Y, stride = given
            acc = [[zero(b) for _ in range(vectors)] for _ in range(queries)]
            places = [
                [b.add(b.mul(stride, I64(q)), b.add(d, I64(v * LANES))) for v in range(vectors)] for q in range(queries)
            ]
            with b.if_then(b.icmp_signed(">", start, I64(0))):
                for q in range(queries):
                    for v in range(vectors):
                        b.store(load_floats(b, Y, places[q][v]), acc[q][v])
            with loop(b, start, stop, 1) as (t, _):
                at = b.add(b.mul(t, D), d)
                values = [load_floats(b, V, b.add(at, I64(v * LANES))) for v in range(vectors)]
                for q in range(queries):
                    p = splat(b, b.load(pointer(b, P, F32, b.add(b.mul(width, I64(q)), t))))
                    for v in range(vectors):
                        b.store(fma(b, p, values[v], b.load(acc[q][v])), acc[q][v])
            for q in range(queries):
                for v in range(vectors):
                    store_floats(b, b.load(acc[q][v]), Y, places[q][v])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    made: Callable[..., None] = mix
    return made


dots_1, dots_8, dots_4_by_4, dots_1_by_4 = make_dots(1, 1), make_dots(8, 1), make_dots(4, 4), make_dots(1, 4)
mix_1, mix_4, mix_1_by_4, mix_4_by_4 = make_mix(1, 1), make_mix(4, 1), make_mix(1, 4), make_mix(4, 4)


@njit(nogil=True, error_model="numpy")
def score(K, D, start, stop, Q, stride, queries, scores, width):  # type: ignore[no-untyped-def]
    """Assign scores[q, t] = K[t] . Q[q] for t from `start` to `stop`, for one query or for four."""
    t = start
    if queries == QUERIES:
        while t + 4 <= stop:
            dots_4_by_4(K, D, t, Q, stride, scores, width)
            t += 4
        while t < stop:
            dots_1_by_4(K, D, t, Q, stride, scores, width)
            t += 1
    else:
        while t + 8 <= stop:
            dots_8(K, D, t, Q, stride, scores, width)
            t += 8
        while t < stop:
            dots_1(K, D, t, Q, stride, scores, width)
            t += 1
    whole = D // LANES * LANES
    if whole < D:
        # head widths that are no multiple of 16
        keys = carray(pointer_to_floats(K), (stop, D))
        for q in range(queries):
            query = carray(pointer_to_floats(Q + 4 * stride * q), D)
            row = carray(pointer_to_floats(scores + 4 * width * q), stop)
            for t in range(start, stop):
                for d in range(whole, D):
                    row[t] += keys[t, d] * query[d]


@njit(nogil=True, error_model="numpy")
def weigh(P, width, V, D, start, stop, queries, Y, stride):  # type: ignore[no-untyped-def]
    """Assign Y[q] += sum over t from `start` to `stop` of P[q, t] V[t], from 0 on without adding."""
    d = 0
    while d + 4 * LANES <= D:
        if queries == QUERIES:
            mix_4_by_4(P, width, V, D, start, stop, d, Y, stride)
        else:
            mix_4(P, width, V, D, start, stop, d, Y, stride)
        d += 4 * LANES
    while d + LANES <= D:
        if queries == QUERIES:
            mix_1_by_4(P, width, V, D, start, stop, d, Y, stride)
        else:
            mix_1(P, width, V, D, start, stop, d, Y, stride)
        d += LANES
    if d < D:
        values = carray(pointer_to_floats(V), (stop, D))
        for q in range(queries):
            y = carray(pointer_to_floats(Y + 4 * stride * q), D)
            p = carray(pointer_to_floats(P + 4 * width * q), stop)
            if start == 0:
                y[d:] = f4(0)
            for t in range(start, stop):
                for i in range(d, D):
                    y[i] += p[t] * values[t, i]


@njit(nogil=True, error_model="numpy")
def softmax(p):  # type: ignore[no-untyped-def]
    """Replace the scores p (n,) by their softmax."""
    n = p.size
    top = largest(p)
    for t in range(n):
        p[t] = exponential(p[t] - top)
    share = f4(1) / total(p)
    for t in range(n):
        p[t] *= share


@njit(nogil=True, error_model="numpy", cache=True)
def attend(rows, first, count, head, layer, qkv, y, scores, D):  # type: ignore[no-untyped-def]
    """Write y[r, head] for the rows first to first + count, consecutive positions of one sequence.

    qkv (R, 3C), y (R, C padded), scores (QUERIES, positions) of this thread. The keys and values of all rows are in
    the cache already.
    """
    K = rows[first, KEYS] + layer * rows[first, LAYER] + head * rows[first, HEAD]
    V = K + rows[first, VALUES]
    # addresses of the first query, output and score, and floats from one to the next
    Q, stride = qkv.ctypes.data + 4 * (first * qkv.shape[1] + head * D), qkv.shape[1]
    Y, Y_stride = y.ctypes.data + 4 * (first * y.shape[1] + head * D), y.shape[1]
    S, width = scores.ctypes.data, scores.shape[1]
    n = rows[first, POSITION] + 1
    together = count if count == QUERIES else 1
    for q in range(0, count, together):
        score(K, D, 0, n, Q + 4 * q * stride, stride, together, S + 4 * q * width, width)
    scale = f4(1 / math.sqrt(D))
    for q in range(count):
        # what only the later ones of the four may look at
        score(K, D, n, n + q, Q + 4 * q * stride, stride, 1, S + 4 * q * width, width)
        p = scores[q, : n + q]
        for t in range(p.size):
            p[t] *= scale
        softmax(p)
    for q in range(0, count, together):
        weigh(S + 4 * q * width, width, V, D, 0, n, together, Y + 4 * q * Y_stride, Y_stride)
    for q in range(1, count):
        weigh(S + 4 * q * width, width, V, D, n, n + q, 1, Y + 4 * q * Y_stride, Y_stride)
