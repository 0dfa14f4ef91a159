"""Temperature: flatten or sharpen the distribution."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from samplers.base import Monotone, Sampler, Step
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
        return self._step()(logits, tokens)

    def start(self) -> Step:
        if self.is_neutral or type(self).__call__ is not Temperature.__call__:  # a subclass does otherwise
            return self
        return self._step()

    def _step(self) -> Step:
        return Greedy() if self.temperature == 0 else Scale(self.temperature)


class Scale(Monotone):
    """Division by a temperature."""

    def __init__(self, temperature: float) -> None:
        self._divisor = torch.tensor(max(temperature, torch.finfo(torch.float32).tiny), dtype=torch.float32)

    def change(self, logits: Tensor, top: Tensor) -> Tensor:
        # With the maximum at 0 nothing overflows: what a tiny temperature drives to -inf has probability 0 anyway.
        return (logits - top).div_(self._divisor)
