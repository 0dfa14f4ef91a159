"""The process that torch runs in: what must be set before torch loads, and how many threads torch may use.

Imported before anything else, so it is light: the standard library, and on Windows and macOS psutil for a moment.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gptdesk.system.terminal import hold_signals, release_signals

# OpenMP's threads wait for their next task by looking for it this often, about a millisecond, and then sleep. Its own
# 300,000 looks are no faster; but when another program is busy, two threads may meet on one core, where one looks for
# work while the other should do it. A tenth of a millisecond would not last from one product of a step to the next.
PATIENCE = {"GOMP_SPINCOUNT": "30000"}
# Large pages for weights, from malloc and from torch; only where the system leaves the choice to the program.
TUNABLES, LARGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
HUGE_PAGES_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
STARTED_OVER = "GPTDESK_STARTED_OVER"  # the id of a process that has been through `prepare` once


def prepare() -> None:
    """Set what the environment lacks, as the first act of a program, before torch is imported.

    What glibc reads, it reads when a process starts: on Linux the program may start over here, once, as the same
    process with the same command line. An interactive Python and programs that have loaded torch never do.
    """
    release_signals()
    if "torch" in sys.modules:
        return
    missing = lacking(os.environ)
    if TUNABLES in missing and _is_a_program() and os.environ.get(STARTED_OVER) != str(os.getpid()):
        variables = {**os.environ, **missing, STARTED_OVER: str(os.getpid())}
        hold_signals()  # Python answers them with a traceback until the program has its handlers again
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
        release_signals()
    os.environ |= missing


def lacking(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to these; what a user has set stays, and what it decides is not decided again."""
    missing: dict[str, str] = {}
    if sys.platform != "darwin" and "OMP_NUM_THREADS" not in variables:  # on macOS torch knows the fast cores itself
        missing["OMP_NUM_THREADS"] = str(threads(variables))
    if not {"OMP_WAIT_POLICY", *PATIENCE} & set(variables) and _looks_take_long():
        missing |= PATIENCE
    if may_ask_for_large_pages():
        missing |= _large_pages(variables)
    return missing


def _looks_take_long() -> bool:
    """Whether this is Linux, where OpenMP knows PATIENCE, and one look takes 15 ns or more.

    That is the PAUSE of Intel's servers since Skylake and laptops since Tiger Lake, and of AMD since Zen 2; CLWB came
    with it. On other processors, Arm's too, so many looks would be over too soon.
    """
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        return "clwb" in next((line for line in lines if line.startswith("flags")), "").split()
    return False


def may_ask_for_large_pages() -> bool:
    """Whether this is glibc (2.35 and newer understand) on a system where asking for large pages changes anything."""
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
    """Whether this process runs a file or a module: it can be started over without asking anyone."""
    return bool(sys.executable) and hasattr(sys.modules["__main__"], "__file__")


def threads(variables: Mapping[str, str] = os.environ) -> int:
    """How many threads a large product is worth.

    What the user says in OMP_NUM_THREADS; on a Hugging Face Space what its CPU_CORES says; else the physical cores
    that this process may use, on Apple silicon the fast ones.
    """
    asked = variables.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked):
        return int(asked)
    with contextlib.suppress(ValueError, OverflowError):
        if variables.get("SPACE_ID") and (rented := int(float(variables.get("CPU_CORES", "0")))) > 0:
            return rented
    return _physical_cores()


def _physical_cores() -> int:
    """Physical cores, on Linux and Windows only those of CPUs that are allowed to this process."""
    if sys.platform == "linux":
        cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
        return max(1, min(len(cores), int(quota())))
    else:
        import psutil

        physical = _fast_cores() or psutil.cpu_count(logical=False) or 1
        return min(physical, len(psutil.Process().cpu_affinity())) if sys.platform == "win32" else physical


def _fast_cores() -> int:
    """On macOS with Apple silicon the cores that are not slow, which the others would wait for; else 0."""
    found = ""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "hw.perflevel0.physicalcpu"]
        found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return int(found) if found.isdecimal() else 0


def _siblings(cpu: int) -> str:
    """The CPUs that share a core with this one, or itself where the system hides them, as in some containers."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def quota(groups: Path = Path("/sys/fs/cgroup"), ours: Path = Path("/proc/self/cgroup")) -> float:
    """CPUs that the control groups (version 2) of this process give it time for, at most all there are."""
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
