"""DRY (don't repeat yourself): a penalty on tokens that would make a repeated passage longer."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from samplers.base import Sampler
from samplers.token_list import LONGEST, parse_ids


class Dry(Sampler):
    """Lower tokens that would prolong a passage already in the text, more the longer it is (p-e-w 2024).

    A token that would make n tokens repeat n + 1 loses multiplier * base ^ (n - allowed length).
    """

    name = "dry"
    neutral: ClassVar = {"dry_multiplier": 0.0}

    dry_multiplier: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Strength of the penalty; 0 changes nothing, 0.8 is usual",
        json_schema_extra={"step": 0.05, "slider_max": 5},
    )
    dry_base: float = Field(
        1.75,
        ge=1,
        le=10,
        description="Growth of the penalty for each further token that repeats",
        json_schema_extra={"step": 0.05, "slider_max": 4},
    )
    dry_allowed_length: int = Field(
        2,
        ge=1,
        description="Tokens that may repeat without a penalty",
        json_schema_extra={"step": 1, "slider_max": 20},
    )
    dry_range: int = Field(
        0,
        ge=0,
        description="Last tokens of the text in which repetitions are looked for; 0 looks in all",
        json_schema_extra={"step": 1, "slider_max": 1024},
    )
    dry_sequence_breakers: str = Field(
        "",
        max_length=LONGEST,
        description="Token ids that no repetition goes across, such as those of a new line and of a quote",
    )

    @field_validator("dry_sequence_breakers")
    @classmethod
    def _is_list_of_ids(cls, text: str) -> str:
        parse_ids(text, option="dry_sequence_breakers")
        return text

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        if self.is_neutral:
            return logits
        breakers = parse_ids(self.dry_sequence_breakers, option="dry_sequence_breakers")
        changed, lowest = logits.clone(), torch.finfo(logits.dtype).min
        for row, text in zip(changed, tokens[:, -self.dry_range :].tolist(), strict=True):
            penalties = {
                token: self._penalty(length)
                for token, length in repeated(text, breakers).items()
                if length >= self.dry_allowed_length and 0 <= token < len(row)
            }
            if not penalties:
                continue
            ids = torch.tensor(list(penalties), device=row.device)  # (N,), distinct
            lowered = row[ids].double() - torch.tensor(list(penalties.values()), dtype=torch.double, device=row.device)
            # a huge penalty leaves a number, and a token removed before, at -inf, stays removed
            row[ids] = lowered.clamp_min(lowest).to(row.dtype).where(row[ids] > -math.inf, row[ids])
        return changed

    def _penalty(self, length: int) -> float:
        exponent = length - self.dry_allowed_length
        largest = math.inf if self.dry_base == 1 else 80 / math.log(self.dry_base)  # e^80 is beyond any logit
        return self.dry_multiplier * self.dry_base ** min(exponent, largest)


def repeated(text: Sequence[int], breakers: frozenset[int]) -> dict[int, int]:
    """Return the tokens that followed earlier occurrences of the end of `text`, and the longest such occurrence each.

    An occurrence goes back from the last token to the first one that differs, to a breaker, or to the text's start.
    A token that is a breaker itself is left out.
    """
    if not text or text[-1] in breakers:
        return {}
    backwards = text[::-1]
    # tokens from the end to the first breaker: no occurrence is longer
    longest = next((i for i, token in enumerate(backwards) if token in breakers), len(backwards))
    lengths: dict[int, int] = {}
    for i, common in enumerate(_common_prefixes(backwards)):
        if i and common and (following := backwards[i - 1]) not in breakers:
            lengths[following] = max(lengths.get(following, 0), min(common, longest))
    return lengths


def _common_prefixes(sequence: Sequence[int]) -> list[int]:
    """Return for each place how many items from there on equal those from the start on: the Z function, in O(T)."""
    size = len(sequence)
    lengths = [size] + [0] * (size - 1)
    left = right = 0  # the stretch known to equal a prefix that reaches furthest
    for i in range(1, size):
        # what is known of the same place in the prefix holds here, as far as the stretch reaches
        length = min(right - i, lengths[i - left]) if i < right else 0
        while i + length < size and sequence[length] == sequence[i + length]:
            length += 1
        lengths[i] = length
        if i + length > right:
            left, right = i, i + length
    return lengths
