"""Typical sampling: keep the tokens that carry about as much surprise as the model expects."""

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Filter
from samplers.ranking import Rows, Shortlist, heaviest


class Typical(Filter):
    """Keep the tokens whose surprise is nearest the expected one, up to this share (Meister et al. 2022)."""

    name = "typical"
    neutral: ClassVar = {"typical_p": 1.0}

    typical_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share that stays, the most typical tokens first; 1 keeps all",
        json_schema_extra={"step": 0.01},
    )

    def choose(self, logits: Tensor) -> Shortlist:
        surprise = -logits.double().log_softmax(dim=1)
        entropy = (surprise * (-surprise).exp()).nansum(dim=1, keepdim=True)  # inf * 0 is a removed token: no part
        scores = -(surprise - entropy).abs()
        return heaviest(logits, Rows.of(scores.masked_fill_(logits == -math.inf, -math.inf)), self.typical_p)
