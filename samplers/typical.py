"""Locally typical sampling: the tokens whose surprise is about as large as the model expects."""

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Sampler
from samplers.ranking import keep_heaviest


class Typical(Sampler):
    """Keep the tokens whose surprise is nearest the expected one, up to this share (Meister et al. 2022)."""

    name = "typical"
    neutral: ClassVar = {"typical_p": 1.0}

    typical_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the probability kept, most typical tokens first; 1 keeps all",
        json_schema_extra={"step": 0.01},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        return keep_heaviest(logits, self.scores(logits), self.typical_p)

    def scores(self, logits: Tensor) -> Tensor:
        """Return how typical every token is, 0 at most, -inf where it was removed: (B, V) -> (B, V) float64."""
        surprise = -logits.double().log_softmax(dim=1)  # (B, V), in nats
        # The expected surprise (B, 1). A removed token has no part in it: inf * 0 is NaN, which nansum leaves out.
        entropy = (surprise * (-surprise).exp()).nansum(dim=1, keepdim=True)
        return (surprise - entropy).abs().neg_().masked_fill_(logits == -math.inf, -math.inf)
