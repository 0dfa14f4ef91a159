"""What other programs take of the processors, which spoils whatever is timed meanwhile."""

import time

import psutil

QUIET = 0.05  # share of all processors that others may take while something is timed


class CpuLoad:
    """Everything that ran since this was made, but this process."""

    def __init__(self) -> None:
        self._before = _processor_seconds()

    def share(self) -> float:
        """Their share of what all processors could have done, between 0 and 1."""
        everyone, us, there = (now - then for now, then in zip(_processor_seconds(), self._before, strict=True))
        return min(1.0, max(0.0, everyone - us) / there)


def _processor_seconds() -> tuple[float, float, float]:
    """What all programs have taken so far, what this one has, and what there was: seconds of all processors."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    inside = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # of `user` and `nice`, once more
    return sum(times) - idle - inside, own.user + own.system, time.perf_counter() * (psutil.cpu_count() or 1)
