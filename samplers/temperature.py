"""Temperature: flatten or sharpen the distribution."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from samplers.base import Sampler
from samplers.greedy import Greedy


class Temperature(Sampler):
    """Divide the logits: below 1 plays safe, above 1 takes risks, 0 always takes the best (Ackley et al. 1985)."""

    name = "temperature"
    neutral: ClassVar = {"temperature": 1.0}

    temperature: float = Field(
        0.8,
        ge=0,
        le=2,
        description="0: always the likeliest token; 1: chances as the model has them",
        json_schema_extra={"step": 0.05},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        if self.temperature == 1:
            return logits
        if self.temperature == 0:
            return Greedy()(logits, tokens)
        # With the maximum at 0 nothing overflows: what a tiny temperature drives to -inf has probability 0 anyway.
        smallest = torch.finfo(logits.dtype).tiny
        return (logits - logits.amax(dim=1, keepdim=True)).div_(max(self.temperature, smallest))
