"""Penalties: make tokens that are already in the text less likely."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from samplers.base import Sampler


class RepetitionPenalty(Sampler):
    """Push down tokens already in the text: logits above 0 divided, below 0 multiplied (Keskar et al. 2019)."""

    name = "repetition_penalty"
    neutral: ClassVar = {"repetition_penalty": 1.0}

    repetition_penalty: float = Field(
        1.0,
        ge=0.1,
        le=10,
        description="Factor against repeating: 1 is none, 1.2 is usual",
        json_schema_extra={"step": 0.01, "slider_max": 2},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        if self.repetition_penalty == 1:
            return logits
        ids = _known(tokens, logits.shape[1])
        padded = functional.pad(logits, (0, 1))  # (B, V + 1)
        seen = padded.gather(1, ids)
        seen = torch.where(seen > 0, seen / self.repetition_penalty, seen * self.repetition_penalty)
        return padded.scatter_(1, ids, seen)[:, :-1]


class PresenceFrequency(Sampler):
    """Subtract a penalty once for every token in the text, and one for each time it occurs (OpenAI's API)."""

    name = "presence_frequency"
    neutral: ClassVar = {"presence_penalty": 0.0, "frequency_penalty": 0.0}

    presence_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="Subtracted from every token that is in the text already",
        json_schema_extra={"step": 0.05},
    )
    frequency_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="Subtracted from a token for each time it is in the text",
        json_schema_extra={"step": 0.05},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        if self.presence_penalty == 0 and self.frequency_penalty == 0:
            return logits
        ids = _known(tokens, logits.shape[1])
        padded = functional.pad(logits, (0, 1))  # (B, V + 1)
        counts = torch.zeros_like(padded).scatter_add_(1, ids, torch.ones_like(ids, dtype=padded.dtype)).gather(1, ids)
        seen = padded.gather(1, ids) - (self.frequency_penalty * counts + self.presence_penalty)
        return padded.scatter_(1, ids, seen)[:, :-1]


def _known(tokens: Tensor, vocabulary: int) -> Tensor:
    """Ids outside the vocabulary moved to one extra column behind it, which is cut off afterwards."""
    return torch.where((tokens >= 0) & (tokens < vocabulary), tokens, vocabulary)
