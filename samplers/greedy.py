"""Greedy: always the most probable token."""

from torch import Tensor

from samplers.base import Filter
from samplers.ranking import Shortlist


class Greedy(Filter):
    """Always take the most probable token (of equal ones the lowest id)."""

    name = "greedy"

    def choose(self, logits: Tensor) -> Shortlist:
        return Shortlist(*logits.max(dim=1, keepdim=True))
