"""Parts of a step between its products: layer norm, exponential, activations, sums, with equal bits everywhere.

No function here lets LLVM reorder or fuse operations, and sums add lane by lane of 16, as the products do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from models.native.vectors import (
    F32,
    I64,
    LANES,
    VF32,
    Builder,
    Value,
    bits_of,
    constant,
    float_bits,
    load_floats,
    loop,
    splat,
    sums,
)

f4 = np.float32
# activations by number, in the order of `models.gpt.ACTIVATIONS`
GELU_TANH, GELU_ERF, GELU_QUICK, RELU, SILU = range(5)
# 1.5 * 2 ** 23: what is added to it is rounded to a whole number
ROUNDS = f4(12582912.0)


def make_reduction(name: str) -> Callable[..., Any]:
    """Return the reduction of the first n floats at an address, n a multiple of 16: "sum", "square" or "largest"."""

    @intrinsic
    def reduction(typing: Any, address: Any, n: Any, centre: Any) -> Any:
        """Return the sum of x, that of (x - centre)^2, or the largest x."""

        def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
            address, n, centre = given
            begin = float("-inf") if name == "largest" else 0.0
            acc = cgutils.alloca_once_value(b, constant(VF32, begin))
            with loop(b, I64(0), n, LANES) as (i, _):
                x, before = load_floats(b, address, i), b.load(acc)
                if name == "largest":
                    after = b.select(b.fcmp_ordered(">", x, before), x, before)
                elif name == "square":
                    x = b.fsub(x, splat(b, centre))
                    after = b.fadd(before, b.fmul(x, x))
                else:
                    after = b.fadd(before, x)
                b.store(after, acc)
            if name != "largest":
                return sums(b, [b.load(acc)])[0]
            best = b.extract_element(b.load(acc), I64(0))
            for lane in range(1, LANES):
                x = b.extract_element(b.load(acc), I64(lane))
                best = b.select(b.fcmp_ordered(">", x, best), x, best)
            assert best.type == F32
            return best

        return types.float32(types.int64, types.int64, types.float32), generate

    made: Callable[..., Any] = reduction
    return made


_sum, _square, _largest = make_reduction("sum"), make_reduction("square"), make_reduction("largest")


@njit(nogil=True, error_model="numpy")
def total(x):  # type: ignore[no-untyped-def]
    """Return the sum of x (n,)."""
    whole = x.size // LANES * LANES
    result = _sum(x.ctypes.data, whole, f4(0))
    for i in range(whole, x.size):
        result += x[i]
    return result


@njit(nogil=True, error_model="numpy")
def square_error(x, centre):  # type: ignore[no-untyped-def]
    """Return the sum of (x - centre)^2 for x (n,)."""
    whole = x.size // LANES * LANES
    result = _square(x.ctypes.data, whole, centre)
    for i in range(whole, x.size):
        result += (x[i] - centre) * (x[i] - centre)
    return result


@njit(nogil=True, error_model="numpy")
def largest(x):  # type: ignore[no-untyped-def]
    """Return the largest of x (n,)."""
    whole = x.size // LANES * LANES
    result = _largest(x.ctypes.data, whole, f4(0))
    for i in range(whole, x.size):
        result = x[i] if x[i] > result else result
    return result


@njit(nogil=True, error_model="numpy", inline="always")
def exponential(x):  # type: ignore[no-untyped-def]
    """Return e^x, to 2 units in the last place; NaN of NaN.

    x = n ln 2 + r with a whole n and |r| <= ln 2 / 2, so e^x = 2^n e^r: the polynomial of Cephes' expf for e^r.
    """
    # beyond these, float32 has no normal numbers
    x = f4(-87) if x < f4(-87) else x
    x = f4(88) if x > f4(88) else x
    rounded = x * f4(1.44269504) + ROUNDS
    n = rounded - ROUNDS
    # ln 2 in two parts, of which the first has few digits: n times it is exact
    r = x - n * f4(0.693359375)
    r = r - n * f4(-2.12194440e-4)
    p = f4(1.9875691500e-4)
    p = p * r + f4(1.3981999507e-3)
    p = p * r + f4(8.3334519073e-3)
    p = p * r + f4(4.1665795894e-2)
    p = p * r + f4(1.6666665459e-1)
    p = p * r + f4(5.0000001201e-1)
    p = p * r * r + r + f4(1)
    # 2^n: n stands in the last bits of `rounded`, and belongs into the exponent
    power = (bits_of(rounded) - np.int32(0x4B400000) + np.int32(127)) << np.int32(23)
    return p * float_bits(np.int32(power))


@njit(nogil=True, error_model="numpy", inline="always")
def error_complement(z):  # type: ignore[no-untyped-def]
    """Return erfc(z) for z >= 0, to a relative 1.2e-7 (the Chebyshev fit of Numerical Recipes, section 6.2)."""
    t = f4(1) / (f4(1) + f4(0.5) * z)
    p = f4(0.17087277)
    p = p * t + f4(-0.82215223)
    p = p * t + f4(1.48851587)
    p = p * t + f4(-1.13520398)
    p = p * t + f4(0.27886807)
    p = p * t + f4(-0.18628806)
    p = p * t + f4(0.09678418)
    p = p * t + f4(0.37409196)
    p = p * t + f4(1.00002368)
    p = p * t + f4(-1.26551223)
    return t * exponential(p - z * z)


@njit(nogil=True, error_model="numpy", cache=True)
def activate(v, which):  # type: ignore[no-untyped-def]
    """Replace v (n,) by its activation."""
    if which == GELU_TANH:
        # 0.5 v (1 + tanh(u)) = v / (1 + e^(-2u)), u = sqrt(2 / pi) (v + 0.044715 v^3)
        for i in range(v.size):
            x = v[i]
            v[i] = x / (f4(1) + exponential(f4(-1.5957691216) * (x + f4(0.044715) * x * x * x)))
    elif which == GELU_ERF:
        # v Phi(v) = v erfc(-v / sqrt 2) / 2, and erfc(-z) = 2 - erfc(z)
        for i in range(v.size):
            x = v[i]
            z = abs(x) * f4(0.7071067812)
            tail = f4(0.5) * error_complement(z)
            v[i] = x * (f4(1) - tail) if x > f4(0) else x * tail
    elif which == GELU_QUICK:
        for i in range(v.size):
            v[i] = v[i] / (f4(1) + exponential(f4(-1.702) * v[i]))
    elif which == RELU:
        for i in range(v.size):
            # written so that NaN stays NaN
            v[i] = f4(0) if v[i] < f4(0) else v[i]
    else:
        for i in range(v.size):
            v[i] = v[i] / (f4(1) + exponential(-v[i]))


@njit(nogil=True, error_model="numpy", cache=True)
def layer_norm(x, weight, bias, epsilon, out):  # type: ignore[no-untyped-def]
    """Write (x - mean) / sqrt(variance + epsilon) * weight + bias of x (C,) to the first C of `out`."""
    C = x.size
    mean = total(x) / f4(C)
    s = f4(1) / np.sqrt(square_error(x, mean) / f4(C) + epsilon)
    for k in range(C):
        out[k] = (x[k] - mean) * s * weight[k] + bias[k]


@njit(nogil=True, error_model="numpy", cache=True)
def arrange(x, out):  # type: ignore[no-untyped-def]
    """Write to `out` of each 32 of x (K,) the 16 even ones, then the 16 odd ones divided by 16, as nibbles lie."""
    for g in range(0, x.size, 2 * LANES):
        for k in range(LANES):
            out[g + k] = x[g + 2 * k]
            out[g + LANES + k] = x[g + 2 * k + 1] * f4(0.0625)
