"""Top-p, or nucleus sampling: keep the most probable tokens that together hold the share p."""

from typing import ClassVar

from pydantic import Field

from samplers.base import Cutoff
from samplers.ranking import Ranked, Rows, heaviest, nucleus


class TopP(Cutoff):
    """Keep the fewest most probable tokens whose share reaches p (nucleus sampling, Holtzman et al. 2020)."""

    name = "top_p"
    neutral: ClassVar = {"top_p": 1.0}

    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Share of the probability that stays in the draw; 1 keeps all",
        json_schema_extra={"step": 0.01},
    )

    def of_rows(self, rows: Rows) -> Ranked:
        return Ranked(*heaviest(rows.whole(), rows, self.top_p))

    def of_ranked(self, ranked: Ranked) -> Ranked:
        return nucleus(ranked, self.top_p)
