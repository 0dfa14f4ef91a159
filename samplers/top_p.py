"""Top-p, or nucleus sampling: the most probable tokens that together hold the share p."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Sampler
from samplers.ranking import keep_heaviest


class TopP(Sampler):
    """Keep the fewest most probable tokens whose share reaches p (nucleus sampling, Holtzman et al. 2020)."""

    name = "top_p"
    neutral: ClassVar = {"top_p": 1.0}

    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Share of the probability kept; 1 keeps all",
        json_schema_extra={"step": 0.01},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        # The logits are the scores: the most probable tokens first.
        return keep_heaviest(logits, logits, self.top_p)
