"""Greedy: always the most probable token."""

from torch import Tensor

from samplers.base import Sampler
from samplers.ranking import keep_best


class Greedy(Sampler):
    """Always take the most probable token (of equal ones the lowest id)."""

    name = "greedy"

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        return keep_best(logits, 1)
