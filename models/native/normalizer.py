"""Log-sum-exp of logits by compiled code: what is taken from a logit to get the log-probability of its token."""

import math

import numpy as np
from numba import njit

from models.native.elementwise import exponential, largest

WIDTH = 64  # sums side by side, each of every 64th logit, for vectors
TERMS = 32  # of such a sum in float32; the sums of these are added in float64, so that 50,000 terms lose nothing


@njit(nogil=True, error_model="numpy", cache=True)
def log_normalizers(logits, out):  # type: ignore[no-untyped-def]
    """Write log(sum(exp(x))) of each row x of logits (R, V) to `out` (R,) float64; NaN for a row with NaN or +inf."""
    R, V = logits.shape
    sums = np.empty(WIDTH, np.float32)
    for r in range(R):
        row = logits[r]
        top = largest(row)
        whole = 0.0
        for block in range(0, V, WIDTH * TERMS):
            end = min(V, block + WIDTH * TERMS)
            sums[:] = np.float32(0)
            for start in range(block, end, WIDTH):
                part = row[start : min(end, start + WIDTH)]
                for n in range(part.size):
                    sums[n] += exponential(part[n] - top)
            for n in range(WIDTH):
                whole += sums[n]
        out[r] = np.float64(top) + math.log(whole)
