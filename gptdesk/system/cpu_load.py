"""CPU load from other processes, which disturbs measurements."""

import time

import psutil

QUIET = 0.05  # share of all CPUs that other processes may use during a measurement


class CpuLoad:
    """CPU time of all other processes since this object was made."""

    def __init__(self) -> None:
        self._before = _processor_seconds()

    def share(self) -> float:
        """Return their share of all CPU time, between 0 and 1."""
        everyone, us, available = (now - then for now, then in zip(_processor_seconds(), self._before, strict=True))
        return min(1.0, max(0.0, everyone - us) / available)


def _processor_seconds() -> tuple[float, float, float]:
    """Return the CPU seconds used by all processes, used by this one, and available so far."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    inside = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # already counted in `user` and `nice`
    return sum(times) - idle - inside, own.user + own.system, time.perf_counter() * (psutil.cpu_count() or 1)
