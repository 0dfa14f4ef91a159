"""Environment variables that must be set before torch loads, and the number of threads.

Imported early, so it uses the standard library only, and psutil on Windows and macOS. What each variable is worth on a
computer is measured by `python -m benchmarks.environment --setting NAME`.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gptdesk.system.terminal import hold_signals, release_signals

# GOMP_SPINCOUNT: an idle OpenMP thread polls for its next task so many times, here for 0.1 ms, before it sleeps. With
# libgomp's own 300,000 (1 ms) it holds a core that the working thread needs where other programs are busy, too: on such
# a computer decode was 2.9 times as fast by `python -m benchmarks.environment --setting GOMP_SPINCOUNT`; --busy starts
# such a program. With much fewer, a thread sleeps between two products of a step.
SPIN = {"GOMP_SPINCOUNT": "30000"}
# Large pages for memory of malloc and of torch, where the system leaves that to the program. The tunable made int8
# decode 1.16 times as fast, the variable of torch keeps the peak of a load 60 MB of 1,000 lower, by
# `python -m benchmarks.environment --setting GLIBC_TUNABLES THP_MEM_ALLOC_ENABLE`.
TUNABLES, LARGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
HUGE_PAGES_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
RESTARTED = "GPTDESK_STARTED_OVER"  # id of a process that `prepare` has restarted


def prepare() -> None:
    """Set the missing variables, at the beginning of a program, before torch is imported.

    glibc reads its tunables when a process starts, so on Linux the program may restart here, once, as the same process
    with the same command line. An interactive Python or a program that has loaded torch never does.
    """
    release_signals()
    if "torch" in sys.modules:
        return
    missing = lacking(os.environ)
    if TUNABLES in missing and _is_a_program() and os.environ.get(RESTARTED) != str(os.getpid()):
        variables = {**os.environ, **missing, RESTARTED: str(os.getpid())}
        hold_signals()  # until the program has its handlers again, Python answers them with a traceback
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
        release_signals()
    os.environ |= missing


def lacking(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to `variables`; those that a user has set, or that replace ours, stay as they are."""
    missing: dict[str, str] = {}
    # torch counts the CPUs of the computer, not those that a container's quota or a Space gives us:
    # `python -m benchmarks.environment --setting OMP_NUM_THREADS`. On macOS it knows the fast cores itself.
    if sys.platform != "darwin" and "OMP_NUM_THREADS" not in variables:
        missing["OMP_NUM_THREADS"] = str(threads(variables))
    if not {"OMP_WAIT_POLICY", *SPIN} & set(variables) and _has_long_pause():
        missing |= SPIN
    if may_ask_for_large_pages():
        missing |= _large_pages(variables)
    return missing


def _has_long_pause() -> bool:
    """Return whether this is Linux, whose libgomp reads SPIN, on a processor whose PAUSE takes 15 ns or more.

    Those are Intel's servers since Skylake and laptops since Tiger Lake, and AMD's since Zen 2; CLWB came with it. On
    other processors, Arm's too, so many polls would end too soon.
    """
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        return "clwb" in next((line for line in lines if line.startswith("flags")), "").split()
    return False


def may_ask_for_large_pages() -> bool:
    """Return whether this is glibc, on a system where programs choose large pages; glibc 2.35 has the tunable."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError):
            return "[madvise]" in HUGE_PAGES_FILE.read_text() and bool(os.confstr("CS_GNU_LIBC_VERSION"))
    return False


def _large_pages(variables: Mapping[str, str]) -> dict[str, str]:
    missing = {} if "THP_MEM_ALLOC_ENABLE" in variables else {"THP_MEM_ALLOC_ENABLE": "1"}
    tunables = variables.get(TUNABLES, "")
    if LARGE_PAGES not in tunables:
        missing[TUNABLES] = ":".join(filter(None, (tunables, f"{LARGE_PAGES}=1")))
    return missing


def _is_a_program() -> bool:
    """Return whether this process runs a file or a module, and so can be restarted."""
    return bool(sys.executable) and hasattr(sys.modules["__main__"], "__file__")


def threads(variables: Mapping[str, str] = os.environ) -> int:
    """Return the number of threads for a large product.

    That is OMP_NUM_THREADS if it is set; on a Hugging Face Space its CPU_CORES; else the physical cores that this
    process may use, on Apple silicon the fast ones.
    """
    asked = variables.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked):
        return int(asked)
    with contextlib.suppress(ValueError, OverflowError):
        if variables.get("SPACE_ID") and (rented := int(float(variables.get("CPU_CORES", "0")))) > 0:
            return rented
    return _physical_cores()


def _physical_cores() -> int:
    """Return the number of physical cores, on Linux and Windows of the CPUs that this process may use."""
    if sys.platform == "linux":
        cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
        return max(1, min(len(cores), int(quota())))
    else:
        import psutil

        physical = _fast_cores() or psutil.cpu_count(logical=False) or 1
        return min(physical, len(psutil.Process().cpu_affinity())) if sys.platform == "win32" else physical


def _fast_cores() -> int:
    """Return the number of fast cores on macOS with Apple silicon, which would wait for the slow ones; else 0."""
    answer = ""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "hw.perflevel0.physicalcpu"]
        answer = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return int(answer) if answer.isdecimal() else 0


def _siblings(cpu: int) -> str:
    """Return the CPUs that share a core with this one, or itself where a container hides them."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def quota(groups: Path = Path("/sys/fs/cgroup"), ours: Path = Path("/proc/self/cgroup")) -> float:
    """Return the CPUs that the control groups (version 2) of this process allow, at most all CPUs."""
    try:
        path = next(line[3:] for line in ours.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        path = "/"
    group, least = groups / path.strip("/"), float(os.cpu_count() or 1)
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):
            allowed, period = (folder / "cpu.max").read_text().split()
            least = min(least, float(allowed) / float(period))  # "max" is no number: no limit
        if folder == groups:
            break
    return least
