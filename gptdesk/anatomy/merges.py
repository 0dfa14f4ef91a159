"""Tokens of a text, and the merges of byte-level BPE that make them, step by step."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer as HuggingFaceTokenizer
from tokenizers import pre_tokenizers

from models import bpe
from models.tokenizer import BytePairTokenizer, Tokenizer

LONGEST_TEXT = 200  # characters whose merges are shown


@dataclass(frozen=True)
class MergeStep:
    """Parts of a word after a merge."""

    parts: tuple[bytes, ...]
    joined: int  # index of the part that the merge has made
    number: int  # of the merge in the order in which they were learned, from 1


@dataclass(frozen=True)
class Word:
    """Piece of a text within which tokens merge, with the white space in front of it."""

    letters: tuple[bytes, ...]  # single bytes, from which the merges begin
    steps: tuple[MergeStep, ...]

    @property
    def parts(self) -> tuple[bytes, ...]:
        """Tokens at the end."""
        return self.steps[-1].parts if self.steps else self.letters


@dataclass(frozen=True)
class _Rules:
    """Merges of a vocabulary by their pairs, numbered from 1, and the pieces of a text."""

    numbers: Mapping[bpe.Merge, int]
    words: tuple[bytes, ...]


def merge_steps(tokenizer: Tokenizer, text: str) -> tuple[Word, ...]:
    """Return the words of a text with the merges that make their tokens.

    Raises ValueError with a sentence for a tokenizer that does not merge, and for a text that is too long.
    """
    if tokenizer.kind == "characters":
        raise ValueError("this tokenizer has one id for each character, so there is nothing to merge")
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"the text has {len(text):,} characters; merges are shown for {LONGEST_TEXT} at most")
    ids = tokenizer.encode(text)
    rules = _rules(tokenizer, text)
    words = tuple(_merged(word, rules.numbers) for word in rules.words)
    made = [part for word in words for part in word.parts]
    if made != [tokenizer.token_bytes(token) for token in ids]:
        raise ValueError("this tokenizer makes some of these tokens by other rules than merges; try another word")
    return words


def _rules(tokenizer: Tokenizer, text: str) -> _Rules:
    if isinstance(tokenizer, BytePairTokenizer):
        merges = tokenizer.vocabulary.merges
        split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    else:
        backend = tokenizer.to_huggingface()
        merges = tuple(map(bpe.to_merge, json.loads(backend.to_str())["model"]["merges"]))
        split = _split(backend, text)
    numbers: dict[bpe.Merge, int] = {}
    for number, merge in enumerate(merges, start=1):
        numbers.setdefault(merge, number)
    return _Rules(numbers, tuple(bpe.to_bytes(word) for word, _ in split))


def _split(backend: HuggingFaceTokenizer, text: str) -> list[tuple[str, tuple[int, int]]]:
    """Return the pieces of a text in the spelling of the files, as this tokenizer makes them, with their places."""
    normal: str = backend.normalizer.normalize_str(text) if backend.normalizer else text
    if not backend.pre_tokenizer:
        return [(normal, (0, len(normal)))]
    pieces: list[tuple[str, tuple[int, int]]] = backend.pre_tokenizer.pre_tokenize_str(normal)
    return pieces


def _merged(word: bytes, numbers: Mapping[bpe.Merge, int]) -> Word:
    """Return the merges of a word: each time the earliest learned one, from the left."""
    letters = tuple(word[i : i + 1] for i in range(len(word)))
    parts, steps = letters, list[MergeStep]()
    while True:
        known = [(numbers[pair], i) for i, pair in enumerate(itertools.pairwise(parts)) if pair in numbers]
        if not known:
            return Word(letters, tuple(steps))
        number, i = min(known)
        parts = (*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :])
        steps.append(MergeStep(parts, i, number))
