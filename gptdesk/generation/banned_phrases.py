"""Banned phrases: their places in a text, text that may begin one, and tokens that hold one by themselves."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.tokenizer import Tokenizer


class Place(NamedTuple):
    """Characters of a text that are a phrase: from `start` up to `end`."""

    start: int
    end: int


class BannedPhrases:
    """Texts that a generated text must not contain."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = tuple(phrases)
        self.longest = max(map(len, self._phrases), default=0)  # in characters

    def find(self, text: str, *, since: int) -> Place | None:
        """Return the phrase in `text` that ends first after its character `since`, the shortest of several."""
        found = []
        for phrase in self._phrases:
            at = text.find(phrase, max(0, since - len(phrase) + 1))
            if at >= 0:
                found.append(Place(at, at + len(phrase)))
        return min(found, key=lambda place: (place.end, -place.start), default=None)

    def held(self, text: str) -> int:
        """Return the length of the longest end of `text` with which a phrase begins."""
        return max((_overlap(text, phrase) for phrase in self._phrases), default=0)

    def tokens(self, tokenizer: Tokenizer, size: int) -> Tensor:
        """Return for each of `size` ids whether the token's own text holds a phrase: (V,) bool.

        Tokens that end a text are not written, so they hold none.
        """
        # valid UTF-8 is found in bytes where it is found in the text
        phrases = [phrase.encode() for phrase in self._phrases]
        ends = tokenizer.special_ids.eos
        texts = map(tokenizer.token_bytes, range(size))
        held = [any(phrase in text for phrase in phrases) for text in texts] if phrases else [False] * size
        return torch.tensor([here and token not in ends for token, here in enumerate(held)])


def _overlap(text: str, phrase: str) -> int:
    """Return the length of the longest end of `text` that `phrase` begins with, shorter than the phrase."""
    longest = min(len(phrase) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(phrase[:size])), 0)
