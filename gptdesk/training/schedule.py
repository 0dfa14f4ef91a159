"""The learning rate of every step: a straight rise, then half a cosine or a straight line down to a floor."""

import math

from gptdesk.training.options import TrainingOptions


def learning_rate(step: int, options: TrainingOptions) -> float:
    """The rate of update 1, 2, ...; one update after the last it would be at the floor, exactly."""
    peak, warmup = options.learning_rate, options.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    done = min((step - 1 - warmup) / (options.steps - warmup), 1.0)
    left = (1 + math.cos(math.pi * done)) / 2 if options.schedule == "cosine" else 1 - done
    return peak * (options.floor + (1 - options.floor) * left)
