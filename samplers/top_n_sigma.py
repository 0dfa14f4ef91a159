"""Top-n-sigma: tokens within n standard deviations of the best logit."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from samplers.base import Sampler


class TopNSigma(Sampler):
    """Drop tokens more than n standard deviations below the best logit (Tang et al. 2024).

    Temperature moves no token over the border: it scales both the distance and the deviation.
    """

    name = "top_n_sigma"
    neutral: ClassVar = {"n_sigma": 0.0}

    n_sigma: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Standard deviations below the best logit that are kept; 0 keeps all",
        json_schema_extra={"step": 0.05, "slider_max": 5},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        present = logits > -math.inf  # (B, V): tokens removed before have no part in the deviation
        values = logits.double().masked_fill(~present, 0)
        count = present.sum(1, keepdim=True)  # (B, 1)
        mean = values.sum(1, keepdim=True) / count
        squares = ((values - mean) ** 2).masked_fill(~present, 0).sum(1, keepdim=True)
        # the sample's deviation, divided by one less than the count, as in the authors' code; 0 for a lone token
        deviation = torch.sqrt(squares / (count - 1).clamp_min(1))  # (B, 1)
        floor = logits.double().amax(1, keepdim=True) - self.n_sigma * deviation
        return logits.masked_fill(logits.double() < floor, -math.inf)
