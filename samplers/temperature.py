"""Temperature: a flatter or a sharper distribution."""

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from samplers.base import Sampler
from samplers.ranking import keep_best

SMALLEST = torch.finfo(torch.float32).tiny  # a divisor that float32 rounds to 0 would give NaN


class Temperature(Sampler):
    """Divide the logits: below 1 sharpens the distribution, above 1 flattens it, 0 is greedy (Ackley et al. 1985)."""

    name = "temperature"
    neutral: ClassVar = {"temperature": 1.0}

    temperature: float = Field(
        0.8,
        ge=0,
        le=2,
        description="0 always takes the most probable token; 1 changes nothing; higher is more surprising",
        json_schema_extra={"step": 0.05},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        if self.temperature == 0:
            return keep_best(logits, 1)
        return self.scaling()(logits, logits.amax(1, keepdim=True))

    def scaling(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the division as a function: logits (B, N), the best of each row (B, 1) -> (B, N)."""
        # A tensor, because torch would make one of a number at every use.
        divisor = torch.tensor(max(self.temperature, SMALLEST), dtype=torch.float32)
        # With the maximum at 0 nothing overflows: what a tiny temperature drives to -inf has probability 0 anyway.
        return lambda logits, top: (logits - top).div_(divisor)
