"""Compiled code of the step, and of what is done with its logits: loaded from its cache, or compiled anew.

It is compiled in a process of its own. GPTDESK_KERNELS chooses: `torch`, never the compiled step; `native`, always,
compiled first if need be; `auto`, if the code of all precisions is in the cache when a process makes its first engine.
That is decided once for the process: both steps compute the same network, but round differently, and one seed must give
one text as long as a desk runs. Nothing here imports numba before an engine is made.
"""

import atexit
import functools
import importlib
import logging
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.file_lock import locked
from models.native.code_cache import CodeFolder, find_folder

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

SWITCH, DEFAULT = "GPTDESK_KERNELS", "auto"
CHOICES = ("auto", "native", "torch")
PATIENCE = 300.0  # seconds to wait while another process compiles
LOADING_PATIENCE = 20.0  # or loads
# the types of weights; bfloat16 is the upper half of a float32
KINDS = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8, "uint8": np.uint8}
# the types of each precision: the token table and the head, the first attention, everything else
PRECISION_KINDS = {
    "float32": ("float32",) * 3,
    "int8": ("int8",) * 3,
    "bfloat16": ("bfloat16",) * 3,
    "int4": ("int8", "int8", "uint8"),
}


@dataclass(frozen=True)
class Code:
    """The compiled step, and what is done with its logits."""

    step: Any
    draw: Any  # of a token from logits
    draw_steps: Mapping[str, int]  # of its chains, by the names of samplers
    log_normalizers: Any  # of logits
    _counters: int  # int64 of a layer's counters
    _more: int  # and of the rest
    panel: int  # floats that each thread needs to widen weights

    def counters(self, layers: int) -> Any:
        """Return the counters for one step of a network."""
        return np.zeros(layers * self._counters + self._more, np.int64)

    def kind(self, dtype: "torch.dtype") -> Any:
        """Return the empty array that stands for weights of a type."""
        return _kind(str(dtype).removeprefix("torch."))


def _kind(name: str) -> Any:
    return np.empty(0, KINDS[name])


def choice() -> str:
    """Return which kernels are wanted, one of CHOICES; ValueError for another value of GPTDESK_KERNELS."""
    wanted = os.environ.get(SWITCH) or DEFAULT
    if wanted not in CHOICES:
        raise ValueError(f"{SWITCH} is {wanted!r}; it must be one of {', '.join(CHOICES)}, or not be set")
    return wanted


def status() -> str:
    """Return in words whether the compiled step is used here, found out without numba."""
    wanted, folder = choice(), find_folder()
    if wanted == "torch":
        return f"not used ({SWITCH} is {wanted})" if os.environ.get(SWITCH) else "not used"
    if folder is None:
        return "not used: numba is not installed, or no folder for compiled code can be written"
    if reason := folder.unfit():
        return f"not used: {reason}"
    ready = [precision for precision in PRECISION_KINDS if folder.has(precision)]
    if wanted == "auto" and _decided() and _folder_to_load() is None:
        return "not used until the next start: it was not compiled when the first model was loaded"
    if wanted == "auto" and len(ready) < len(PRECISION_KINDS):
        return "not compiled yet; an open desk does that in the background, for the next start"
    return f"compiled for {', '.join(ready)}" if ready else "compiled when a model is loaded"


def is_incomplete() -> bool:
    """Return whether code that may be used is not in the cache, found out without numba."""
    if choice() == "torch" or (folder := find_folder()) is None or folder.unfit():
        return False
    return not _is_complete(folder)


def load(precision: str) -> Code | None:
    """Return the step compiled for a precision; None where torch's kernels compute, then as long as the process lives.

    Where `native` is asked for and the code is not in the cache it is compiled, which takes up to 30 s for the first
    precision. Raises ValueError as `choice`.
    """
    wanted = choice()
    if wanted == "torch" or precision not in PRECISION_KINDS:
        return None
    with _lock():
        known = _known()
        if (wanted, precision) not in known:
            if wanted == "native":
                code = _load(precision)
            else:
                folder = _folder_to_load()
                code = None if folder is None else _load_cached(precision, folder)
            known[wanted, precision] = code
        return known[wanted, precision]


def _is_complete(folder: CodeFolder) -> bool:
    return all(folder.has(precision) for precision in PRECISION_KINDS)


@functools.cache
def _folder_to_load() -> CodeFolder | None:
    """Return the folder with the code of all precisions if there was one at the first call; None: torch computes."""
    folder = find_folder()
    return folder if folder is not None and not folder.unfit() and _is_complete(folder) else None


def _decided() -> bool:
    """Return whether an engine was made, so that `_folder_to_load` stays as it is."""
    return _folder_to_load.cache_info().currsize > 0


def compile_all(stop: threading.Event | None = None) -> str | None:
    """Compile the step for every precision that is not in the cache; return the reason if that is impossible.

    A `stop` that is set ends it before the next precision: half of one would be compiled anew.
    """
    folder = find_folder()
    reason = why_missing()
    if reason and folder is not None:
        folder.mark_unfit(reason)
    if folder is None:
        reason = reason or "no folder for compiled code can be written"
    if reason or folder is None:
        return reason
    for precision in PRECISION_KINDS:
        if not folder.has(precision) and not (stop and stop.is_set()):
            _compile(precision, folder)
    return None


def why_missing() -> str | None:
    """Return the reason why this computer cannot run the compiled step, None if it can; compiles nothing."""
    try:
        llvm = importlib.import_module("llvmlite.binding")
        importlib.import_module("numba")
    except (ImportError, OSError) as error:
        return f"numba cannot be loaded ({error})"
    if sys.byteorder != "little" or sys.maxsize < 2**32:
        return "this processor is not supported"
    if platform.machine().lower() in ("x86_64", "amd64") and not llvm.get_host_cpu_features().get("fma"):
        # llvm.fma would become a call for each number
        return "this processor has no fused multiply-add"
    return None


@functools.cache
def _lock() -> threading.Lock:
    """Return the lock that is held while code is compiled: numba itself has one for each function only."""
    return threading.Lock()


@functools.cache
def _known() -> dict[tuple[str, str], Code | None]:
    """Return the code that this process has loaded, by choice and precision; None where torch computes."""
    return {}


@functools.cache
def _warn(sentence: str) -> None:
    """Log a sentence as a warning, once, however many models and precisions it is true of."""
    log.warning(sentence)


def _is_missing() -> bool:
    """Return whether this computer cannot run the compiled step; if so, the reason is logged."""
    reason = why_missing()
    if reason:
        _warn(f"the compiled step is not used: {reason}; torch's kernels compute instead, more slowly")
    return reason is not None


def _load(precision: str) -> Code | None:
    """Return the step, compiled if need be; None where that fails, which is logged."""
    if _is_missing():
        return None
    try:
        return _compile(precision, find_folder())
    except Exception as error:  # whatever fails in a compiler, torch can compute
        _warn(f"the step cannot be compiled ({error!r}); torch's kernels compute instead")
        return None


def _load_cached(precision: str, folder: CodeFolder) -> Code | None:
    """Return the step from the cache, None if it cannot be used, which is logged."""
    if _is_missing():
        return None
    try:
        # other processes that load it hold the lock for moments
        with locked(folder.lock, busy=f"another process holds {folder.path}", patience=LOADING_PATIENCE):
            if folder.is_damaged() or not folder.is_for(_processor()):
                _warn(f"the compiled code in {folder.path} is damaged; torch's kernels compute until the next start")
                folder.empty()
                return None
            return _specialize(precision, str(folder.path))
    except Exception as error:  # whatever fails in a compiler, torch can compute
        _warn(f"the compiled step cannot be loaded ({error!r}); torch's kernels compute instead")
        return None


def _compile(precision: str, folder: CodeFolder | None) -> Code:
    """Return the step with the code for a precision loaded or compiled."""
    if folder is None:
        _warn("no folder can be written for compiled code: it is compiled at each start")
        return _specialize(precision, _temporary_folder())
    with locked(folder.lock, busy=f"another process holds {folder.path}", patience=PATIENCE):
        if folder.is_damaged() or (folder.files() and not folder.is_for(_processor())):
            _warn(f"the compiled code in {folder.path} is damaged: it is compiled anew")
            folder.empty()
        started, was_ready = time.perf_counter(), folder.has(precision)
        code = _specialize(precision, str(folder.path))
        if not was_ready:
            folder.mark_ready(precision, processor=_processor())
            log.info("compiled the step at %s in %.1f s", precision, time.perf_counter() - started)
    return code


@functools.cache
def _temporary_folder() -> str:
    """Return a folder that is deleted when this process ends."""
    folder = tempfile.mkdtemp(prefix="gptdesk-step-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _specialize(precision: str, folder: str) -> Code:
    """Return the step, compiled for a precision by numba or loaded from its cache in `folder`."""
    numba = importlib.import_module("numba")
    numba.config.CACHE_DIR = folder  # read when the modules below are imported
    names = ("step", "draw", "normalizer", "threads", "product")
    step, draw, normalizer, threads, product = (importlib.import_module(f"models.native.{name}") for name in names)
    counters = step.PHASES * threads.COUNTERS, step.OTHER_PHASES * threads.COUNTERS
    code = Code(step.step, draw.draw, draw.STEPS, normalizer.log_normalizers, *counters, product.PANEL)
    one, two, logits = numba.int64[::1], numba.int64[:, ::1], numba.float32[:, ::1]
    kinds = [numba.typeof(_kind(name)) for name in PRECISION_KINDS[precision]]
    step.step.compile((numba.int64, numba.int64, one, one, one, two, one, two, two, one, numba.float32, *kinds))
    draw.draw.compile((logits, one, numba.float64[::1], one, one))
    normalizer.log_normalizers.compile((logits, numba.float64[::1]))
    return code


def _processor() -> str:
    """Return the processor as LLVM names it."""
    llvm, config = importlib.import_module("llvmlite.binding"), importlib.import_module("numba").config
    name, features = config.CPU_NAME, config.CPU_FEATURES
    return f"{name or llvm.get_host_cpu_name()} {features or llvm.get_host_cpu_features().flatten()}"
