"""Time budget of a run: the step at which its schedule ends, planned anew when the speed is not the expected one."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

RECENT, AT_LEAST = 20, 3  # steps whose mean time counts, at most, and before there is a new plan
TOLERANCE = 0.05  # share of the steps still to come by which a plan may be wrong
FILLED = 0.98  # share of the rest of the time that a new plan fills


@dataclass(frozen=True)
class Replan:
    """Decision after a step that the schedule ends at another step than was planned."""

    after: int
    steps: int


class TimeBudget:
    """Plan of a run of at most `steps` steps in `seconds` of training; with 0 seconds it never changes.

    Decisions in `recorded` are repeated at their steps, whatever the time: so a run that was killed is bit-exact.
    """

    def __init__(self, steps: int, *, seconds: float) -> None:
        self.steps, self.seconds = steps, seconds
        self.replans: list[Replan] = []
        self._recorded: dict[int, int] = {}
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._is_warm = False

    @property
    def end(self) -> int:
        """Step at which the run ends, as planned now."""
        return self.replans[-1].steps if self.replans else self.steps

    def restore(self, replans: Iterable[Replan], recorded: Iterable[Replan]) -> None:
        """Continue a plan after these decisions, and repeat those that were `recorded` later."""
        self.replans = list(replans)
        self._recorded = {replan.after: replan.steps for replan in recorded}

    def proposed_end(self, step: int, *, elapsed: float, spent: float) -> int:
        """Return where the run should end, after a step that took `spent` seconds, `elapsed` in all."""
        if self._recorded and step <= max(self._recorded):
            return self._recorded.get(step, self.end)
        # the first step of a process is slower than the others
        if not self._is_warm:
            self._is_warm = True
            return self.end
        self._recent.append(spent)
        if len(self._recent) < AT_LEAST:
            return self.end
        usual = sum(self._recent) / len(self._recent)
        remaining = max(0.0, self.seconds - elapsed)
        # the plan of the probe has a reserve already: it holds as long as its steps fit
        proposed = self.steps if step + remaining / usual >= self.steps else step + int(remaining * FILLED / usual)
        wrong = abs(proposed - self.end)
        return proposed if wrong > max(1.0, TOLERANCE * (self.end - step)) else self.end

    def move_end(self, end: int, *, after: int) -> None:
        """Let the run end at step `end`, decided after another step."""
        if end != self.end:
            self.replans.append(Replan(after, end))


def scheduled_step(step: int, *, steps: int, replans: Sequence[Replan]) -> float:
    """Return the step of a schedule of `steps` steps whose learning rate this step gets.

    Each decision stretches or compresses the rest of the schedule, so that it ends with the run; without any it is
    the step itself.
    """
    # the step and the scheduled step from which the schedule is linear in the steps, and its end
    begin, scheduled, end = 0, 0.0, steps
    for replan in replans:
        if replan.after >= step:
            break
        scheduled += (replan.after - begin) * (steps - scheduled) / (end - begin)
        begin, end = replan.after, replan.steps
    if begin == 0:
        return step
    return scheduled + (step - begin) * (steps - scheduled) / max(end - begin, 1)


def replans_of(lines: Iterable[Mapping[str, object]], steps: int) -> list[Replan]:
    """Return the decisions that lines of metrics record, in a run that was planned with `steps` steps."""
    replans = []
    for line in lines:
        step, end = line.get("step"), line.get("steps")
        if isinstance(step, int) and isinstance(end, int) and end != steps:
            steps = end
            replans.append(Replan(step, end))
    return replans
