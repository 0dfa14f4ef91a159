"""Top-k: keep the k most probable tokens."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from samplers.base import Filter
from samplers.ranking import Shortlist, best, finite


class TopK(Filter):
    """Keep exactly the k most probable tokens (Fan et al. 2018)."""

    name = "top_k"
    neutral: ClassVar = {"top_k": 0}

    top_k: int = Field(
        50,
        ge=0,
        description="How many tokens stay in the draw; 0 keeps all",
        json_schema_extra={"step": 1, "slider_max": 200},
    )

    def choose(self, logits: Tensor) -> Shortlist:
        return best(logits, self.top_k) if self.top_k < logits.shape[1] else finite(logits)
