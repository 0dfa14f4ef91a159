"""Learning rate schedule: linear warmup, then half a cosine or a line down to a floor."""

import math

from gptdesk.training.options import ResolvedTraining


def learning_rate(step: float, options: ResolvedTraining) -> float:
    """Return the learning rate of update 1, 2, ...; one update after the last it would be at the floor, exactly.

    A fraction lies between two updates: see `scheduled_step`.
    """
    peak, warmup = options.learning_rate, options.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    # share of the steps after the warmup that are done before this one: from 0 to just below 1
    done = min(max(0.0, step - 1 - warmup) / (options.steps - warmup), 1.0)
    left = (1 + math.cos(math.pi * done)) / 2 if options.schedule == "cosine" else 1 - done
    # from the peak at left = 1 to floor * peak at left = 0
    return peak * (options.floor + (1 - options.floor) * left)
