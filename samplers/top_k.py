"""Top-k: keep the k most probable tokens."""

from typing import ClassVar

from pydantic import Field

from samplers.base import Cutoff
from samplers.ranking import Ranked, Rows, Shortlist


class TopK(Cutoff):
    """Keep exactly the k most probable tokens (Fan et al. 2018)."""

    name = "top_k"
    neutral: ClassVar = {"top_k": 0}

    top_k: int = Field(
        50,
        ge=0,
        description="How many tokens stay in the draw; 0 keeps all",
        json_schema_extra={"step": 1, "slider_max": 200},
    )

    def of_rows(self, rows: Rows) -> Shortlist:
        return rows.best(self.top_k) if self.top_k < rows.scores.shape[1] else rows.finite()

    def of_ranked(self, ranked: Ranked) -> Ranked:
        return ranked.first(self.top_k)
