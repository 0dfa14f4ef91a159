"""Curves of runs: smoothing, thinning; differences between the options of runs."""

from collections.abc import Mapping, Sequence

import numpy as np

from gptdesk.training.plan import RunPlan

Point = tuple[float, float]  # step or the like, value


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving average with this `weight` of the past, without bias at the start.

    Raises ValueError for a weight outside 0 to 1.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"the smoothing must be at least 0 and less than 1, not {weight}")
    total = share = 0.0
    smoothed = []
    for value in values:
        total = weight * total + (1 - weight) * value
        share = weight * share + (1 - weight)
        smoothed.append(total / share)
    return smoothed


def thin(points: Sequence[Point], most: int = 500) -> list[Point]:
    """Return at most `most` of these points, in order: first, last, and the lowest and highest of each stretch between.

    Raises ValueError for fewer than 4.
    """
    if most < 4:
        raise ValueError(f"a curve needs at least 4 points, not {most}")
    if len(points) <= most:
        return list(points)
    inner, stretches = points[1:-1], (most - 2) // 2
    values = np.array([value for _, value in inner])
    kept = [points[0]]
    for part in range(stretches):
        start, end = len(inner) * part // stretches, len(inner) * (part + 1) // stretches
        stretch = values[start:end]
        kept += [inner[start + i] for i in sorted({int(stretch.argmin()), int(stretch.argmax())})]
    return [*kept, points[-1]]


def differences(plans: Mapping[str, RunPlan]) -> list[tuple[str, dict[str, object]]]:
    """Return the options in which the plans, by the names of their runs, differ: each with its value in every run."""
    flat = {run: plan.options() for run, plan in plans.items()}
    options = dict.fromkeys(option for values in flat.values() for option in values)
    rows = [(option, {run: values[option] for run, values in flat.items()}) for option in options]
    return [(option, values) for option, values in rows if len({repr(value) for value in values.values()}) > 1]
