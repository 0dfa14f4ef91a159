"""Product tiles: a few rows of weights times a few rows of inputs, one accumulator of 16 lanes for each output.

A weight is read once for all rows of a tile and widened in registers. Whatever the size of the tile, an output is

    sum over k of W[n, k] X[r, k],

lane l of its accumulator having all k = l (mod 16) in rising order, then the lanes halved: so a row has the same bits
alone and among others.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from models.native.vectors import (
    F32,
    HALF,
    I8,
    I16,
    I64,
    LANES,
    VF32,
    VI32,
    Builder,
    Value,
    constant,
    fma,
    lanes,
    load,
    load_floats,
    loop,
    store_floats,
    sum_vector,
    sums,
    widened,
    zero,
)

# inputs of a step through k: a row of weights is padded to a multiple of it
UNROLLED = 64
GROUP = 32  # nibbles that share a scale


def _registers() -> tuple[int, int]:
    """Return the rows of weights and of inputs of the largest tile, whose accumulators fit the registers."""
    features: str | None = vars(config)["CPU_FEATURES"]
    if features is None:
        found = llvm.get_host_cpu_features()
        wide = bool(found.get("avx512f"))
    else:
        wide = "+avx512f" in features.split(",")
    # 32 registers of 16 lanes, or 16 of 8 lanes (AVX2) and 32 of 4 lanes (NEON)
    return (4, 6) if wide else (2, 3)


# weights of a tile, and inputs at most; one row of inputs always meets 4 rows of weights
COLUMNS, MOST_ROWS = _registers()
ALONE = 4


def _addresses(
    b: Builder, kind: Any, W: Value, S: Value, numbers: list[Value], K: Value
) -> tuple[list[Value], list[Value]]:
    """Return the addresses of these rows of weights (N, K) and, for nibbles, of their scales."""
    if kind != types.uint8:
        row = b.mul(K, I64(kind.bitwidth // 8))
        return [b.add(W, b.mul(number, row)) for number in numbers], []
    row, scales = b.udiv(K, I64(2)), b.mul(b.udiv(K, I64(GROUP)), I64(2))
    return [b.add(W, b.mul(n, row)) for n in numbers], [b.add(S, b.mul(n, scales)) for n in numbers]


def _widened(
    b: Builder, kind: Any, weights: list[Value], scales: list[Value], k: Value
) -> list[list[Callable[[], Value]]]:
    """Return functions that emit W[c, k : k + 64] as floats, 16 at a time, for each row of weights.

    Of nibbles, two groups of 32, they are scale * (low - 8) and scale * 16 (high - 8), both exact: the upper nibble is
    used as it stands in its byte, 16 times as large. So the inputs must lie as `arrange` puts them: of each group the
    16 even ones, then the 16 odd ones divided by 16.
    """
    if kind != types.uint8:
        return [
            [partial(widened, b, kind, p, b.add(k, I64(LANES * step))) for step in range(UNROLLED // LANES)]
            for p in weights
        ]
    groups = UNROLLED // GROUP
    half, wide = ir.VectorType(HALF, groups), ir.VectorType(F32, groups)
    # float16 -> float32, a scale for each group
    scale = [
        b.fpext(b.bitcast(load(b, p, b.udiv(k, I64(GROUP)), ir.VectorType(I16, groups), of=I16), half), wide)
        for p in scales
    ]
    return [
        [partial(_nibbles, b, weights[c], scale[c], k, g, upper) for g in range(groups) for upper in (False, True)]
        for c in range(len(weights))
    ]


def _nibbles(b: Builder, weights: Value, scale: Value, k: Value, group: int, upper: bool) -> Value:
    """Return scale[group] * (low - 8), or 16 times `upper`, of the 16 bytes of a group after the weight k."""
    at = b.udiv(b.add(k, I64(GROUP * group)), I64(2))
    byte = b.zext(load(b, weights, at, ir.VectorType(I8, LANES), of=I8), VI32)
    # a whole number below 2 ** 23 in the last bits of 2 ** 23 is that float plus the number
    magic = constant(VI32, 0x4B000000)
    bits, zero_point = (240, 128) if upper else (15, 8)
    number = b.bitcast(b.or_(b.and_(byte, constant(VI32, bits)), magic), VF32)
    s = b.shuffle_vector(scale, ir.Constant(scale.type, ir.Undefined), lanes([group] * LANES))
    return b.fmul(b.fsub(number, constant(VF32, 2.0**23 + zero_point)), s)


def make_tile(columns: int, rows: int) -> Callable[..., None]:
    """Return the tile of so many rows of weights and of inputs."""

    @intrinsic
    def tile(
        typing: Any, kind: Any, W: Any, S: Any, n: Any, stride: Any, X: Any, r0: Any, k0: Any, k1: Any, Y: Any
    ) -> Any:
        """Assign Y[r0 + r, n + c stride] = W[n + c stride, k0:k1] . X[r0 + r, k0:k1], added to it unless k0 is 0.

        `kind` is an empty array of the weights' type, uint8 for nibbles; W their address, S that of the scales of
        nibbles. X (R, K) and Y (R, N) are arrays, K as the weights are padded.
        """
        signature = types.void(kind, W, S, n, stride, X, r0, k0, k1, Y)

        def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
            _, W, S, n, stride, X, r0, k0, k1, Y = given
            x = context.make_array(signature.args[5])(context, b, X)
            y = context.make_array(signature.args[9])(context, b, Y)
            K, N = (cgutils.unpack_tuple(b, array.shape, 2)[1] for array in (x, y))
            numbers = [b.add(n, b.mul(I64(c), stride)) for c in range(columns)]
            weights, scales = _addresses(b, kind.dtype, W, S, numbers, K)
            first = b.ptrtoint(x.data, I64)
            inputs = [b.add(first, b.mul(b.mul(b.add(r0, I64(r)), K), I64(4))) for r in range(rows)]
            acc = [[zero(b) for _ in range(rows)] for _ in range(columns)]
            with loop(b, k0, k1, UNROLLED) as (k, _):
                floats = _widened(b, kind.dtype, weights, scales, k)
                for step in range(UNROLLED // LANES):
                    values = [load_floats(b, p, b.add(k, I64(LANES * step))) for p in inputs]
                    for c in range(columns):
                        w = floats[c][step]()
                        for r in range(rows):
                            b.store(fma(b, w, values[r], b.load(acc[c][r])), acc[c][r])
            flat = [b.load(acc[c][r]) for c in range(columns) for r in range(rows)]
            outputs = [total for i in range(0, len(flat), LANES) for total in sums(b, flat[i : i + LANES])]
            is_first = b.icmp_signed("==", k0, I64(0))
            for c in range(columns):
                for r in range(rows):
                    at = b.gep(y.data, [b.add(b.mul(b.add(r0, I64(r)), N), numbers[c])])
                    total = outputs[c * rows + r]
                    b.store(b.select(is_first, total, b.fadd(b.load(at), total)), at)
            return context.get_dummy_value()

        return signature, generate

    made: Callable[..., None] = tile
    return made


single, alone = make_tile(1, 1), make_tile(ALONE, 1)
tile_2, tile_3, tile_4, tile_5, tile_6 = (make_tile(COLUMNS, min(rows, MOST_ROWS)) for rows in range(2, 7))


@intrinsic
def widen(typing: Any, kind: Any, W: Any, S: Any, n: Any, K: Any, k0: Any, k1: Any, out: Any) -> Any:
    """Write the weights W[n, k0:k1] as floats to the address `out`, 16 at a time.

    After each 16 there is a gap for those of COLUMNS - 1 other rows. W (N, K), its `kind` and S as in a tile.
    """

    def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
        _, W, S, n, K, k0, k1, out = given
        weights, scales = _addresses(b, kind.dtype, W, S, [n], K)
        with loop(b, k0, k1, UNROLLED) as (k, _):
            (row,) = _widened(b, kind.dtype, weights, scales, k)
            at = b.mul(b.sub(k, k0), I64(COLUMNS))
            for step, floats in enumerate(row):
                store_floats(b, floats(), out, b.add(at, I64(LANES * COLUMNS * step)))
        return context.get_dummy_value()

    return types.void(kind, *[types.int64] * 7), generate


def make_panel_tile(rows: int) -> Callable[..., None]:
    """Return the tile of COLUMNS rows of weights, as `widen` has written them, and so many rows of inputs."""

    @intrinsic
    def tile(typing: Any, weights: Any, n: Any, X: Any, r0: Any, k0: Any, k1: Any, Y: Any) -> Any:
        """Assign Y[r0 + r, n + c] = W[n + c, k0:k1] . X[r0 + r, k0:k1], added to it unless k0 is 0.

        `weights` is the address of W[n : n + COLUMNS, k0:k1]. X (R, K) and Y (R, N) are arrays.
        """

        def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
            weights, n, X, r0, k0, k1, Y = given
            x = context.make_array(signature.args[2])(context, b, X)
            y = context.make_array(signature.args[6])(context, b, Y)
            K, N = (cgutils.unpack_tuple(b, array.shape, 2)[1] for array in (x, y))
            first = b.ptrtoint(x.data, I64)
            inputs = [b.add(first, b.mul(b.mul(b.add(r0, I64(r)), K), I64(4))) for r in range(rows)]
            acc = [[zero(b) for _ in range(rows)] for _ in range(COLUMNS)]
            # not unrolled, one row of inputs at a time: else LLVM reads ahead, and lacks a register for each sum
            with loop(b, k0, k1, LANES) as (k, _):
                at = b.mul(b.sub(k, k0), I64(COLUMNS))
                floats = [load_floats(b, weights, b.add(at, I64(LANES * c))) for c in range(COLUMNS)]
                for r in range(rows):
                    value = load_floats(b, inputs[r], k)
                    for c in range(COLUMNS):
                        b.store(fma(b, floats[c], value, b.load(acc[c][r])), acc[c][r])
            # neighbours in a row of Y side by side: stored at once
            flat = [b.load(acc[c][r]) for r in range(rows) for c in range(COLUMNS)]
            totals = [sum_vector(b, flat[i : i + LANES]) for i in range(0, len(flat), LANES)]
            is_first, part = b.icmp_signed("==", k0, I64(0)), ir.VectorType(F32, COLUMNS)
            for r in range(rows):
                vector, lane = divmod(r * COLUMNS, LANES)
                undefined = ir.Constant(VF32, ir.Undefined)
                total = b.shuffle_vector(totals[vector], undefined, lanes([lane + c for c in range(COLUMNS)]))
                place = b.bitcast(b.gep(y.data, [b.add(b.mul(b.add(r0, I64(r)), N), n)]), part.as_pointer())
                before = b.load(place)
                before.align = 4
                b.store(b.select(is_first, total, b.fadd(before, total)), place).align = 4
            return context.get_dummy_value()

        return types.void(weights, n, X, r0, k0, k1, Y), generate

    made: Callable[..., None] = tile
    return made


panel_most, panel_fewer = make_panel_tile(MOST_ROWS), make_panel_tile(MOST_ROWS - 1)
