"""Top-k: the k most probable tokens."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Sampler
from samplers.ranking import keep_best


class TopK(Sampler):
    """Keep exactly the k most probable tokens (Fan et al. 2018)."""

    name = "top_k"
    neutral: ClassVar = {"top_k": 0}

    top_k: int = Field(
        50,
        ge=0,
        description="Number of tokens kept; 0 keeps all",
        json_schema_extra={"step": 1, "slider_max": 200},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        return keep_best(logits, self.top_k)
