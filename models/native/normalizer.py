"""Log-sum-exp of logits by compiled code: what is taken from a logit to get the log-probability of its token."""

import math

import numpy as np
from numba import njit

from models.native.elementwise import exponential, largest

WIDTH = 64  # sums of a row, each of every 64th logit, for vectors; float64, so that 50,000 terms lose nothing


@njit(nogil=True, error_model="numpy", cache=True)
def log_normalizers(logits, out):  # type: ignore[no-untyped-def]
    """Write log(sum(exp(x))) of each row x of logits (R, V) to `out` (R,) float64; NaN for a row with NaN or +inf."""
    R, V = logits.shape
    sums = np.empty(WIDTH, np.float64)
    for r in range(R):
        row = logits[r]
        top = largest(row)
        sums[:] = 0
        for start in range(0, V, WIDTH):
            part = row[start : min(V, start + WIDTH)]
            for n in range(part.size):
                sums[n] += exponential(part[n] - top)
        whole = 0.0
        for n in range(WIDTH):
            whole += sums[n]
        out[r] = np.float64(top) + math.log(whole)
