"""Min-p: tokens far less probable than the best one are dropped."""

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Sampler

TOLERANCE = 1e-6  # a ratio that is min_p but for float32 rounding counts as reaching it


class MinP(Sampler):
    """Drop tokens less probable than this fraction of the best one's probability (Nguyen et al. 2024)."""

    name = "min_p"
    neutral: ClassVar = {"min_p": 0.0}

    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Lowest probability kept, as a fraction of the best token's; 0 keeps all",
        json_schema_extra={"step": 0.01},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        return logits.masked_fill(logits < self.floor(logits.amax(1, keepdim=True)), -math.inf)

    def floor(self, top: Tensor) -> Tensor:
        """Return the lowest logit that stays, from the best of the row: (B, 1) float32 -> (B, 1) float64."""
        # p >= min_p * p_top, as logarithms: the softmax's denominator cancels.
        return top.double() + (math.log(self.min_p) - TOLERANCE)
