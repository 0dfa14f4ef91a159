"""Sharing of a step among threads: a counter of pieces taken and one of pieces done for each phase.

Every thread goes through all phases of a step, takes pieces of each until none is left, and goes on when all are done.
Nobody waits for a thread that has not come yet: a late one finds nothing to do. So a step needs no number of threads,
a slow or busy core takes fewer pieces, and between steps nobody computes.
"""

import ctypes
import sys
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from models.native.vectors import I32, I64, Builder, Value

LINE = 8  # int64 of a cache line: counters of their own lines do not slow each other down
COUNTERS = 2 * LINE  # int64 of a phase
SPINS = 2_000  # looks at a counter before another thread may run
YIELD = "gptdesk_yield"


def _register_yield() -> None:
    """Tell LLVM the function by which the operating system lets another thread run."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    llvm.add_symbol(YIELD, ctypes.cast(function, ctypes.c_void_p).value)


_register_yield()


@intrinsic
def add_one(typing: Any, counters: Any, i: Any) -> Any:
    """Return counters[i], and add 1 to it, as one operation among threads."""

    def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
        array = context.make_array(signature.args[0])(context, b, given[0])
        return b.atomic_rmw("add", b.gep(array.data, [given[1]]), I64(1), "acq_rel")

    return types.int64(counters, types.int64), generate


@intrinsic
def current(typing: Any, counters: Any, i: Any) -> Any:
    """Return counters[i], and see what other threads wrote before they changed it."""

    def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
        array = context.make_array(signature.args[0])(context, b, given[0])
        return b.load_atomic(b.gep(array.data, [given[1]]), "acquire", 8)

    return types.int64(counters, types.int64), generate


@intrinsic
def let_others_run(typing: Any) -> Any:
    """Call the operating system's yield."""

    def generate(context: Any, b: Builder, signature: Any, given: Any) -> Value:
        b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(I32, []), YIELD), [])
        return context.get_dummy_value()

    return types.void(), generate


@njit(nogil=True, inline="always")
def next_piece(counters, phase):  # type: ignore[no-untyped-def]
    """Return the number of the next piece of a phase; once it is beyond the last, there are no more."""
    return add_one(counters, phase * COUNTERS)


@njit(nogil=True, inline="always")
def piece_done(counters, phase):  # type: ignore[no-untyped-def]
    """Count a piece that has been written."""
    add_one(counters, phase * COUNTERS + LINE)


@njit(nogil=True, cache=True)
def wait_for_all(counters, phase, pieces):  # type: ignore[no-untyped-def]
    """Wait until all pieces of a phase are done."""
    spins = 0
    while current(counters, phase * COUNTERS + LINE) < pieces:
        spins += 1
        if spins > SPINS:
            let_others_run()
