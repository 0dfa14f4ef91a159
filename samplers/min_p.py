"""Min-p: drop the tokens that are far less probable than the best one."""

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Filter
from samplers.ranking import Shortlist, reaching

TOLERANCE = 1e-6  # a ratio that is min_p but for float32 rounding counts as reaching it


class MinP(Filter):
    """Drop tokens less probable than this fraction of the best one's probability (Nguyen et al. 2024)."""

    name = "min_p"
    neutral: ClassVar = {"min_p": 0.0}

    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Tokens less likely than this times the best leave; 0 keeps all",
        json_schema_extra={"step": 0.01},
    )

    def choose(self, logits: Tensor) -> Shortlist:
        floor = logits.amax(dim=1, keepdim=True).double() + (math.log(self.min_p) - TOLERANCE)
        return reaching(logits, floor)
