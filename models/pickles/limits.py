"""Limits of a process that reads what may be hostile."""

import contextlib
from pathlib import Path


def limit_process(*, memory: int, seconds: int) -> None:
    """Limit this process to `memory` more bytes of address space and to seconds of processor time, where possible."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with contextlib.suppress(OSError, ValueError):  # macOS has no /proc, and does not count so
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
