"""Penalties on tokens that are already in the text."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from samplers.base import Sampler


class RepetitionPenalty(Sampler):
    """Lower tokens already in the text: logits above 0 divided, below 0 multiplied (Keskar et al. 2019)."""

    name = "repetition_penalty"
    neutral: ClassVar = {"repetition_penalty": 1.0}

    repetition_penalty: float = Field(
        1.0,
        ge=0.1,
        le=10,
        description="Penalty factor; 1 changes nothing, 1.2 is usual",
        json_schema_extra={"step": 0.01, "slider_max": 2},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        ids = _known(tokens, logits.shape[1])  # (B, T)
        padded = functional.pad(logits, (0, 1))  # (B, V + 1)
        # Gathered before and scattered after: a token that occurs twice gets the same value twice, one penalty.
        seen = padded.gather(1, ids)  # (B, T)
        seen = torch.where(seen > 0, seen / self.repetition_penalty, seen * self.repetition_penalty)
        return padded.scatter_(1, ids, seen)[:, :-1]


class PresenceFrequency(Sampler):
    """Subtract one penalty from every token in the text, and another for each occurrence (OpenAI's API)."""

    name = "presence_frequency"
    neutral: ClassVar = {"presence_penalty": 0.0, "frequency_penalty": 0.0}

    presence_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="Subtracted once from every token in the text",
        json_schema_extra={"step": 0.05},
    )
    frequency_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="Subtracted from a token for each of its occurrences in the text",
        json_schema_extra={"step": 0.05},
    )

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        ids = _known(tokens, logits.shape[1])  # (B, T)
        padded = functional.pad(logits, (0, 1))  # (B, V + 1)
        # How often each token of the text occurs in it, again at every place where it does: (B, T).
        counts = torch.zeros_like(padded).scatter_add_(1, ids, torch.ones_like(ids, dtype=padded.dtype)).gather(1, ids)
        seen = padded.gather(1, ids) - (self.frequency_penalty * counts + self.presence_penalty)
        return padded.scatter_(1, ids, seen)[:, :-1]


def _known(tokens: Tensor, vocabulary: int) -> Tensor:
    """Return the ids, those outside the vocabulary moved to an extra column behind it, which is cut off afterwards."""
    return torch.where((tokens >= 0) & (tokens < vocabulary), tokens, vocabulary)
