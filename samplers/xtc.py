"""XTC (exclude top choices): the likeliest tokens are dropped now and then, so that the text surprises."""

import math
from typing import ClassVar

from pydantic import Field, field_validator
from torch import Tensor

from samplers.base import Sampler
from samplers.token_list import LONGEST, parse_ids

TOLERANCE = 1e-6  # a probability that is the threshold but for float32 rounding counts as reaching it


class Xtc(Sampler):
    """Of several tokens above a threshold drop all but the least likely, with this probability (p-e-w 2024).

    The authors flip a coin for every token, then draw. Here each probability is that of both together, so one draw is
    enough and one seed gives one text: the same distribution, if no sampler but a temperature of 1 follows.
    """

    name = "xtc"
    neutral: ClassVar = {"xtc_probability": 0.0}

    xtc_probability: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How often the likeliest tokens are dropped; 0 never, 0.5 is usual. Last in the chain",
        json_schema_extra={"step": 0.05},
    )
    xtc_threshold: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Lowest probability of a token to drop; above 0.5 there are never two",
        json_schema_extra={"step": 0.01},
    )
    xtc_never_drop: str = Field(
        "",
        max_length=LONGEST,
        description="Token ids, such as a new line's: where one of them would be dropped, nothing is",
    )

    @field_validator("xtc_never_drop")
    @classmethod
    def _is_list_of_ids(cls, text: str) -> str:
        parse_ids(text, option="xtc_never_drop")
        return text

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        probabilities = logits.double().softmax(1)  # (B, V)
        dropped = self._dropped(logits, probabilities)
        rest = probabilities.masked_fill(dropped, 0)
        # of the coin's two sides: p / sum(rest) for a token that stays, nothing for one that is dropped
        share = self.xtc_probability
        mixed = (1 - share) * probabilities + share * rest / rest.sum(1, keepdim=True)  # (B, V)
        changed = mixed.log().to(logits.dtype)
        # rows without a dropped token keep their logits, and one removed before, at -inf, stays removed
        same = ~dropped.any(1, keepdim=True)
        return logits.where(same | (logits == -math.inf), changed)

    def _dropped(self, logits: Tensor, probabilities: Tensor) -> Tensor:
        """Return which tokens the coin drops: twice (B, V) -> (B, V) bool."""
        reaching = probabilities >= max(self.xtc_threshold - TOLERANCE, 1e-300)  # (B, V)
        # the least likely of them stays, of equal ones the highest id: (B, 1)
        ascending = probabilities.masked_fill(~reaching, math.inf).flip(1)
        stays = logits.shape[1] - 1 - ascending.argmin(1, keepdim=True)
        dropped = reaching.scatter(1, stays, False)
        kept = [token for token in parse_ids(self.xtc_never_drop, option="xtc_never_drop") if token < logits.shape[1]]
        return dropped & ~dropped[:, kept].any(1, keepdim=True)
