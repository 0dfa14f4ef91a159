"""Draw of the next token by compiled code, for chains of temperature, top-k, top-p, min-p and greedy.

It draws the tokens that `samplers` draws: the same ones are left, of equal ones those of the lowest ids, and the race
between them (`samplers.draw`) has the same noise, of SplitMix64 (Steele, Lea and Flood 2014). What it does not do it
leaves to them: a row with NaN or an infinity, and a rank or a share among more than MOST_RANKED tokens.
V vocabulary, R rows.
"""

import math

import numpy as np
from numba import njit

from models.native.elementwise import exponential
from models.native.vectors import float_bits

f4, f8, i4, u8 = np.float32, np.float64, np.int32, np.uint64
GREEDY, TEMPERATURE, TOP_K, TOP_P, MIN_P = range(5)  # steps of a chain, each with one number
STEPS = {"greedy": GREEDY, "temperature": TEMPERATURE, "top_k": TOP_K, "top_p": TOP_P, "min_p": MIN_P}
NOT_DRAWN = -1  # in the place of an id: `samplers` must draw
ALL, REFUSED = -1, -2  # in the place of the number of tokens that are left
BLOCK = 16  # logits of which only those are looked at whose best one is high enough
MOST_RANKED = 1024
CHUNK = 256  # tokens of a race whose noise is made together
SIZE_BITS, INFINITY_BITS = i4(0x7FFFFFFF), i4(0x7F800000)
# as in `samplers`
MASS_TOLERANCE = RATIO_TOLERANCE = 1e-6
SMALLEST = f4(1.1754944e-38)
GOLDEN, FIRST, SECOND = u8(0x9E3779B97F4A7C15), u8(0xBF58476D1CE4E5B9), u8(0x94D049BB133111EB)
MARGIN = f4(1.001)  # of a float32 bound


@njit(nogil=True, error_model="numpy", cache=True)
def find_peaks(bits, peaks, sizes):  # type: ignore[no-untyped-def]
    """Write the largest of each block of floats (V,), given as bits, to `peaks` (N,), as bits in the order of floats.

    Block n has the floats n, n + N, n + 2 N ... Their largest absolute value goes to `sizes` (N,), as bits.
    """
    N = peaks.size
    peaks[:], sizes[:] = i4(-0x80000000), i4(0)
    for start in range(0, bits.size, N):
        part = bits[start : min(bits.size, start + N)]
        for n in range(part.size):
            word = part[n]
            sizes[n] = max(sizes[n], word & SIZE_BITS)
            # of negative floats, those with larger bits are smaller
            peaks[n] = max(peaks[n], word ^ ((word >> i4(31)) & SIZE_BITS))


@njit(nogil=True, error_model="numpy", inline="always")
def float_of(ordered):  # type: ignore[no-untyped-def]
    """Return the float32 with bits in the order of floats."""
    return float_bits(ordered ^ ((ordered >> i4(31)) & SIZE_BITS))


@njit(nogil=True, error_model="numpy", inline="always")
def scaled(x, top, divisor):  # type: ignore[no-untyped-def]
    """Return a logit after a temperature, none if the divisor is 0; `top` is the best of its row."""
    return x if divisor == f4(0) else (x - top) / divisor


@njit(nogil=True, error_model="numpy", cache=True)
def largest_of(values, count):  # type: ignore[no-untyped-def]
    """Return the largest of the first `count` values, at least one."""
    best = values[0]
    for i in range(1, count):
        best = max(best, values[i])
    return best


@njit(nogil=True, error_model="numpy", cache=True)
def reaching(logits, peaks, floor, top, divisor, values, ids):  # type: ignore[no-untyped-def]
    """Write all scaled logits of at least `floor` to `values` and `ids`; return their number."""
    count = 0
    for n in range(peaks.size):
        if scaled(float_of(peaks[n]), top, divisor) >= floor:
            for i in range(n, logits.size, peaks.size):
                value = scaled(logits[i], top, divisor)
                if value >= floor:
                    values[count], ids[count] = value, i
                    count += 1
    return count


@njit(nogil=True, error_model="numpy", cache=True)
def rank(values, ids, count):  # type: ignore[no-untyped-def]
    """Sort the first `count` tokens, the best first, of equal ones the lowest id."""
    for i in range(1, count):
        value, token = values[i], ids[i]
        j = i - 1
        while j >= 0 and (values[j] < value or (values[j] == value and ids[j] > token)):
            values[j + 1], ids[j + 1] = values[j], ids[j]
            j -= 1
        values[j + 1], ids[j + 1] = value, token


@njit(nogil=True, error_model="numpy", cache=True)
def nucleus(values, count, mass):  # type: ignore[no-untyped-def]
    """Return how many of the tokens, the best first, together hold the share `mass`."""
    whole = f8(0)
    for i in range(count):
        whole += math.exp(f8(values[i]) - f8(values[0]))
    share = f8(0)
    for i in range(count):
        share += math.exp(f8(values[i]) - f8(values[0])) / whole
        if share >= mass - MASS_TOLERANCE:
            return i + 1
    return count


@njit(nogil=True, error_model="numpy", cache=True)
def narrow(logits, peaks, top, steps, numbers, values, ids):  # type: ignore[no-untyped-def]
    """Apply a chain to logits (V,); return how many tokens are left, and the divisor of all if that is ALL.

    They are written to `values` and `ids` (V,). REFUSED is returned for what is left to `samplers`.
    """
    refused = REFUSED, f4(0)
    count, divisor = ALL, f4(0)
    for s in range(steps.size):
        step, number = steps[s], numbers[s]
        if step == TEMPERATURE and number > 0:
            own = max(f4(number), SMALLEST)
            if count == ALL:
                if divisor != f4(0):
                    return refused
                divisor = own
                continue
            best = largest_of(values, count)
            for i in range(count):
                values[i] = (values[i] - best) / own
            continue
        best = scaled(top, top, divisor) if count == ALL else largest_of(values, count)
        # first those that reach a floor, which is the best one for GREEDY and temperature 0; then ranks and shares
        floor = f8(best)
        if step == MIN_P:
            floor = f8(best) + (math.log(number) - RATIO_TOLERANCE)
        elif step == TOP_K and count == ALL:
            k = int(number)
            if logits.size <= MOST_RANKED or peaks.size < k:
                floor = -np.inf
            else:
                ordered = np.partition(peaks, peaks.size - k)[peaks.size - k]
                floor = f8(scaled(float_of(ordered), top, divisor))
        elif step in (TOP_P, TOP_K):
            floor = -np.inf
        if count == ALL:
            if floor == -np.inf and logits.size > MOST_RANKED:
                return refused
            count = reaching(logits, peaks, floor, top, divisor, values, ids)
        else:
            left = 0
            for i in range(count):
                if values[i] >= floor:
                    values[left], ids[left] = values[i], ids[i]
                    left += 1
            count = left
        if step == MIN_P:
            continue
        if count > MOST_RANKED:
            return refused
        rank(values, ids, count)
        if step == TOP_K:
            count = min(count, int(number))
        elif step == TOP_P:
            count = nucleus(values, count, number)
        else:
            count = 1
    return count, divisor


@njit(nogil=True, error_model="numpy", inline="always")
def uniform(key, token):  # type: ignore[no-untyped-def]
    """Return the noise of a token in the open interval (0, 1): output number `token` of SplitMix64 from `key` on."""
    word = u8(key) + GOLDEN * (u8(token) + u8(1))
    word = (word ^ (word >> u8(30))) * FIRST
    word = (word ^ (word >> u8(27))) * SECOND
    word ^= word >> u8(31)
    return f8((word >> u8(11)) | u8(1)) * 2.0**-53


@njit(nogil=True, error_model="numpy", inline="always")
def losing(value, best, lead, u):  # type: ignore[no-untyped-def]
    """Return a number that is not negative if a token surely loses against `lead`, without a logarithm.

    -log(u) is at least 1 - u.
    """
    return f4(1.0 - u) - MARGIN * exponential(f4(f8(value) - f8(best) - lead))


@njit(nogil=True, error_model="numpy", inline="always")
def lead_of(value, best, u):  # type: ignore[no-untyped-def]
    """Return the logarithm of p / E, up to a constant of the row: p of a token, E exponential by its noise."""
    return f8(value) - f8(best) - math.log(-math.log(u))


@njit(nogil=True, error_model="numpy", cache=True)
def race(values, ids, count, key):  # type: ignore[no-untyped-def]
    """Return the id of the winner among the first `count` tokens, as `samplers.draw`."""
    best = largest_of(values, count)
    lead, winner = -np.inf, NOT_DRAWN
    for i in range(count):
        u = uniform(key, ids[i])
        if losing(values[i], best, lead, u) < 0:
            own = lead_of(values[i], best, u)
            if own > lead:
                lead, winner = own, ids[i]
    return winner


@njit(nogil=True, error_model="numpy", cache=True)
def race_of_all(logits, top, divisor, key):  # type: ignore[no-untyped-def]
    """Return the id of the winner among all scaled logits (V,), as `samplers.draw`."""
    best = scaled(top, top, divisor)
    lead, winner = -np.inf, NOT_DRAWN
    behind = np.empty(CHUNK, np.float32)
    for start in range(0, logits.size, CHUNK):
        count = min(CHUNK, logits.size - start)
        for i in range(count):  # without branches, for vectors
            value = scaled(logits[start + i], top, divisor)
            behind[i] = losing(value, best, lead, uniform(key, start + i))
        for i in range(count):
            if behind[i] < 0:
                value = scaled(logits[start + i], top, divisor)
                own = lead_of(value, best, uniform(key, start + i))
                if own > lead:
                    lead, winner = own, start + i
    return winner


@njit(nogil=True, error_model="numpy", cache=True)
def draw(logits, steps, numbers, keys, out):  # type: ignore[no-untyped-def]
    """Write to `out` (R,) the id that each row of logits (R, V) draws with its key (R,), or NOT_DRAWN.

    A chain is its `steps` and the number of each.
    """
    R, V = logits.shape
    N = (V + BLOCK - 1) // BLOCK
    peaks, sizes = np.empty(N, np.int32), np.empty(N, np.int32)
    values, ids = np.empty(V, np.float32), np.empty(V, np.int64)
    for r in range(R):
        row = logits[r]
        out[r] = NOT_DRAWN
        find_peaks(row.view(np.int32), peaks, sizes)
        if sizes.max() >= INFINITY_BITS:  # infinite, or NaN
            continue
        top = float_of(peaks.max())
        count, divisor = narrow(row, peaks, top, steps, numbers, values, ids)
        if count == ALL:
            out[r] = race_of_all(row, top, divisor, keys[r])
        elif count != REFUSED:
            out[r] = race(values, ids, count, keys[r])
