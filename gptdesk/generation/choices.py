"""Choices: a text that is one of several given ones, in any spelling by tokens."""

import math
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from models.tokenizer import Tokenizer

Spellings = Mapping[bytes, Sequence[int]]  # ids of the tokens with these bytes


class Choices:
    """Given texts, and the tokens that lead to one of them: those after which the rest still fits.

    Raises ValueError for a choice that tokens cannot spell, or not within `room` tokens, or that begins another where
    no token of `ends` could end it.
    """

    def __init__(self, texts: Iterable[str], spellings: Spellings, *, ends: Sequence[int], room: int) -> None:
        self._spellings, self._ends = spellings, ends
        self._lengths = sorted({len(spelled) for spelled in spellings} - {0})
        self._left: dict[bytes, list[float]] = {}  # of each choice, from each byte on: fewest tokens to its end
        for text in texts:
            self._left[text.encode()] = fewest = self._fewest(text.encode())
            if fewest[0] == math.inf:
                raise ValueError(
                    f"the choice {text!r:.60} cannot be spelled by tokens of the model that may come; leave it out"
                )
            if fewest[0] > room:
                raise ValueError(
                    f"the choice {text!r:.60} takes at least {fewest[0]:.0f} tokens, and there is room for {room}; "
                    "allow more new tokens, or shorten the choice or the prompt"
                )
        if not ends:
            self._check_ends()

    def allowed(self, written: bytes, *, left: int) -> list[int]:
        """Return the ids that may follow `written` where `left` tokens, this one counted, are left to write."""
        begun, start = [choice for choice in self._left if choice.startswith(written)], len(written)
        allowed: dict[int, None] = {}
        for choice in begun:
            for length in self._lengths:
                if (end := start + length) > len(choice):
                    break
                if self._left[choice][end] < left:
                    allowed |= dict.fromkeys(self._spellings.get(choice[start:end], ()))
        if written in self._left:
            allowed |= dict.fromkeys(self._ends)
        return list(allowed)

    def is_complete(self, written: bytes, *, left: int) -> bool:
        """Return whether `written` is a choice that no token but one of the ends may follow."""
        return written in self._left and set(self.allowed(written, left=left)) <= set(self._ends)

    def _fewest(self, choice: bytes) -> list[float]:
        """Return the fewest tokens that spell the choice from each of its bytes to its end: len(choice) + 1 numbers."""
        fewest = [math.inf] * len(choice) + [0.0]
        for start in reversed(range(len(choice))):
            ends = (start + length for length in self._lengths if start + length <= len(choice))
            steps = (fewest[end] for end in ends if choice[start:end] in self._spellings)
            fewest[start] = 1 + min(steps, default=math.inf)
        return fewest

    def _check_ends(self) -> None:
        """Raise ValueError if a choice begins another."""
        for one in self._left:
            for other in self._left:
                if one != other and other.startswith(one):
                    raise ValueError(
                        f"the choice {one.decode()!r:.60} begins the choice {other.decode()!r:.60}, and the model "
                        "has no token that ends a text; leave one of them out"
                    )


def spellings(tokenizer: Tokenizer, size: int, *, banned: Tensor) -> Spellings:
    """Return the ids below `size` by their bytes, without special tokens and those that are `banned`: (V,) bool."""
    left_out = {*tokenizer.special_tokens.values(), *tokenizer.special_ids.bounds, *banned.nonzero()[:, 0].tolist()}
    ids: dict[bytes, list[int]] = {}
    for token in range(min(size, tokenizer.vocab_size)):
        if token not in left_out:
            ids.setdefault(tokenizer.token_bytes(token), []).append(token)
    return ids
