"""Min-p: drop the tokens that are far less probable than the best one."""

import math
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Cutoff
from samplers.ranking import Ranked, Rows, Shortlist

TOLERANCE = 1e-6  # a ratio that is min_p but for float32 rounding counts as reaching it


class MinP(Cutoff):
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

    def of_rows(self, rows: Rows) -> Shortlist:
        return rows.reaching(self._floor(rows.top))

    def of_ranked(self, ranked: Ranked) -> Ranked:
        return ranked.up_to((ranked.values >= self._floor(ranked.values[:, :1])).sum(1, keepdim=True) - 1)

    def _floor(self, top: Tensor) -> Tensor:
        return top.double() + (math.log(self.min_p) - TOLERANCE)
