"""Word bias: words made more or less probable, by the tokens that spell them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from models.tokenizer import Tokenizer

LARGEST_BIAS = 100.0
_LINE = re.compile(r"\s*(.*\S)\s*:\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*", re.DOTALL)


def read_word_bias(lines: Iterable[str]) -> dict[str, float]:
    """Return the biases of lines such as "dragon: 3", empty ones left out.

    Raises ValueError for a line that has no word or no number, or a word that has two.
    """
    biases: dict[str, float] = {}
    for line in lines:
        if not line.strip():
            continue
        pair = _LINE.fullmatch(line)
        if pair is None:
            raise ValueError(f"a word bias is a word and a number such as dragon: 3, not {line!r:.60}")
        if pair[1] in biases:
            raise ValueError(f"the word {pair[1]!r:.60} has two biases; leave one of them out")
        biases[pair[1]] = float(pair[2])
    return biases


def spelled_word_bias(biases: Mapping[str, float]) -> list[str]:
    """Return biases as lines: the inverse of `read_word_bias`."""
    return [f"{word}: {bias:g}" for word, bias in biases.items()]


class _Spelling(NamedTuple):
    """A word as tokens."""

    ids: tuple[int, ...]
    bias: float


class WordBias:
    """Words by their tokens, with and without a space before them, in upper and lower case as typed.

    A positive bias is added to each token of a word after those before it; a negative one to the last token alone, so
    that other words that begin alike are not touched. Raises ValueError for a word that tokens cannot spell.
    """

    def __init__(self, biases: Mapping[str, float], tokenizer: Tokenizer) -> None:
        spellings: dict[tuple[int, ...], float] = {}
        for word, bias in biases.items():
            alone, *after_space = _spelled(word.strip(), tokenizer)
            for ids in (alone, *after_space):
                spellings.setdefault(ids, bias)
        self._spellings = [_Spelling(ids, bias) for ids, bias in spellings.items()]
        self.longest = max((len(ids) for ids in spellings), default=0)  # in tokens

    def added(self, before: Sequence[int]) -> dict[int, float]:
        """Return what to add to logits, by token id, after the ids `before`; of these only the last few count."""
        added: dict[int, float] = {}
        for ids, bias in self._spellings:
            for place in range(len(ids)) if bias > 0 else [len(ids) - 1]:
                if place <= len(before) and tuple(before[len(before) - place :]) == ids[:place]:
                    added[ids[place]] = added.get(ids[place], 0.0) + bias
        return added


def _spelled(word: str, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Return the ids of a word without, and where they can be spelled, with a space before it."""
    try:
        alone = tokenizer.encode(word)
    except ValueError as error:
        raise ValueError(f"the word {word!r:.60} cannot be spelled: {error}") from None
    try:
        return [tuple(alone), tuple(tokenizer.encode(f" {word}"))]
    except ValueError:  # a model of characters that has no space
        return [tuple(alone)]
