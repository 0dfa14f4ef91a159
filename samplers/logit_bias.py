"""Logit bias: chosen tokens made more or less probable by their ids."""

import re
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from samplers.base import Sampler

MOST = 1_000  # tokens
LARGEST = 100.0
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_PAIR = re.compile(rf"([0-9]{{1,18}}):({_NUMBER})")


class LogitBias(Sampler):
    """Add a number to the logits of chosen tokens: -100 bans a token, 100 forces it (OpenAI's API)."""

    name = "logit_bias"
    neutral: ClassVar = {"logit_bias": ""}

    logit_bias: str = Field(
        "",
        max_length=40_000,
        description="Token ids, each with a number from -100 to 100: 50256:-100, 11:2.5",
    )

    @field_validator("logit_bias")
    @classmethod
    def _is_list_of_pairs(cls, text: str) -> str:
        if len(_parsed(text)) > MOST:
            raise ValueError(f"logit_bias may have at most {MOST:,} tokens, not {len(_parsed(text)):,}")
        return text

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:  # (B, V), (B, T) -> (B, V)
        biases = _parsed(self.logit_bias)
        if not biases:
            return logits
        vocabulary = logits.shape[1]
        if (largest := max(biases)) >= vocabulary:
            raise ValueError(f"logit_bias names the token {largest}, and the model knows ids up to {vocabulary - 1}")
        ids = torch.tensor(list(biases))  # (N,), distinct
        added = torch.tensor(list(biases.values()), dtype=logits.dtype)  # (N,)
        # a token that was removed, at -inf, stays removed
        return logits.index_add(1, ids, added.expand(len(logits), -1))


def spelled(biases: dict[int, float]) -> str:
    """Return biases by token id as the option is spelled."""
    return ", ".join(f"{token}:{float(bias)!r}" for token, bias in biases.items())


def _parsed(text: str) -> dict[int, float]:
    """Return the biases by token id; ValueError for a text that is no list of pairs."""
    biases: dict[int, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        pair = _PAIR.fullmatch(part)
        if pair is None:
            raise ValueError(
                f"logit_bias is a list such as 50256:-100, 11:2.5 of token ids and numbers, not {part!r:.60}"
            )
        token, bias = int(pair[1]), float(pair[2])
        if not -LARGEST <= bias <= LARGEST:
            raise ValueError(f"logit_bias takes numbers from -100 to 100, not {part!r:.60}")
        if token in biases:
            raise ValueError(f"logit_bias names the token {token} twice; leave one of them out")
        biases[token] = bias
    return biases
