"""The curves of runs for a picture: series out of metrics, smoothed, thinned; and in what runs differ."""

from collections.abc import Mapping, Sequence

from gptdesk.training.run_directory import RunPlan

Point = tuple[float, float]  # step or the like, value


def series(metrics: Sequence[Mapping[str, object]], name: str, *, by: str = "step") -> list[Point]:
    """The values logged under `name`, such as val_loss, with their steps, or `by` another figure; gaps are left out."""
    found = []
    for line in metrics:
        place, value = line.get(by), line.get(name)
        if isinstance(place, int | float) and isinstance(value, int | float):
            found.append((float(place), float(value)))
    return found


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """The running mean in which each value weighs `weight` times as much as the one after it; unbiased at the start.

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
    """At most `most` of these points, in order: the first, the last, the lowest and highest of each stretch between.

    Raises ValueError if that are fewer than 4.
    """
    if most < 4:
        raise ValueError(f"a curve needs at least 4 points, not {most}")
    if len(points) <= most:
        return list(points)
    inner, stretches = points[1:-1], (most - 2) // 2
    kept = [points[0]]
    for i in range(stretches):
        stretch = inner[len(inner) * i // stretches : len(inner) * (i + 1) // stretches]
        places = {
            min(range(len(stretch)), key=lambda k: stretch[k][1]),
            max(range(len(stretch)), key=lambda k: stretch[k][1]),
        }
        kept += [stretch[place] for place in sorted(places)]
    return [*kept, points[-1]]


def differences(plans: Mapping[str, RunPlan]) -> list[tuple[str, dict[str, object]]]:
    """The options in which the plans, by the names of their runs, differ: each with its value in every run."""
    flat = {run: options_of(plan) for run, plan in plans.items()}
    options = dict.fromkeys(option for values in flat.values() for option in values)
    rows = [(option, {run: values[option] for run, values in flat.items()}) for option in options]
    return [(option, values) for option, values in rows if len({repr(value) for value in values.values()}) > 1]


def options_of(plan: RunPlan) -> dict[str, object]:
    """The plan's options by their names, which no two groups share."""
    return {"data": plan.data} | dict(plan.model) | dict(plan.split) | dict(plan.training)
