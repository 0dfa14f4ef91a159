"""How well each side predicts a text, and how close the others are to the first: one pass, nothing large kept."""

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from gptdesk.comparison import Side, Stage, in_turn_note, prepare, side_names
from gptdesk.comparison.divergence import same_vocabulary
from gptdesk.comparison.prompts import PromptResult, compare_prompts, typical_divergence
from gptdesk.evaluation import (
    Closeness,
    Evaluation,
    check_enough,
    closeness,
    compare,
    evaluation,
    perplexity_ratio,
    score,
    text_windows,
)
from gptdesk.generation import GenerationRequest
from models.manager import ModelKey, ModelManager
from samplers import Chain, build

BEGINNINGS, BEGINNING, GREEDY_TOKENS = 7, 24, 64  # how many, and the tokens of each and of what follows
Scored = TypeVar("Scored")

MOST_CHARACTERS = 20_000_000
OTHER_TOKENS = "the models have different tokenizers, so only figures per character can be compared"


@dataclass(frozen=True)
class Pair:
    """A candidate beside the reference. What cannot be told of them is None, and `absent` says why.

    `first_divergence` is how many tokens of the most likely text both write alike, in the median over beginnings taken
    from the text; None if they do not part within GREEDY_TOKENS.
    """

    perplexity_ratio: float | None
    perplexity_ratio_se: float | None
    closeness: Closeness | None
    absent: str | None
    first_divergence: float | None = None
    bits: tuple[float | None, float | None] | None = None  # per character, of both, if nothing else can be compared


@dataclass(frozen=True)
class Quality:
    """What a text showed: an evaluation of every side, and a pair for each but the first. The last event."""

    evaluations: tuple[Evaluation, ...]
    pairs: tuple[Pair, ...]
    context: int  # tokens in a window


def judge(
    manager: ModelManager, keys: Sequence[ModelKey], text: str, *, stop: threading.Event | None = None
) -> Iterator[Stage | Quality]:
    """Read `text` with every model; the first of `keys` is the reference. Once `stop` is set, it ends without figures.

    All models see windows of the shortest context among them. Raises ValueError for a text that is empty, too short
    or too long, or that a tokenizer cannot write, and as `ModelManager.lend`.
    """
    reading = _Reading(manager, keys, text, stop or threading.Event())
    yield from prepare(manager, keys, stop=stop)
    pairs = []
    try:
        yield from reading.alone(0) if len(keys) == 1 else ()
        for i in range(1, len(keys)):
            pair = yield from reading.pair(i)
            pairs.append(replace(pair, first_divergence=(yield from reading.first_divergence(i))))
    except _Stopped:
        return
    yield Quality(tuple(reading.evaluations[i] for i in range(len(keys))), tuple(pairs), reading.context)


def check_text(manager: ModelManager, keys: Sequence[ModelKey], text: str) -> None:
    """ValueError if one of these models cannot be judged by this text."""
    _Reading(manager, keys, text, threading.Event())


def _check_size(text: str) -> None:
    if not text.strip():
        raise ValueError("the text to judge by is empty; give at least a few sentences")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"the text to judge by has {len(text):,} characters, and at most {MOST_CHARACTERS:,} are read; give a part"
        )


def not_by_token(manager: ModelManager, keys: tuple[ModelKey, ModelKey]) -> str | None:
    """Why two models with the same tokenizer cannot be compared token by token; None if they can."""
    widths = [manager.library.info(key.name).vocab_size for key in keys]
    if widths[0] != widths[1]:
        return f"their networks have {widths[0]:,} and {widths[1]:,} outputs"
    return in_turn_note(manager, keys)


class _Stopped(Exception):
    """Somebody set the stop event."""


class _Reading:
    """One text, read by several models, and what was found so far: evaluations by the number of the side."""

    def __init__(self, manager: ModelManager, keys: Sequence[ModelKey], text: str, stop: threading.Event) -> None:
        _check_size(text)
        self.evaluations: dict[int, Evaluation] = {}
        self.context = min(manager.library.info(key.name).context for key in keys)
        self._manager = manager
        self._keys = keys
        self._stop = stop
        self._tokenizers = [manager.library.tokenizer(key.name) for key in keys]
        cut: dict[int, list[Tensor]] = {}  # windows by tokenizer, which models share
        for tokenizer in self._tokenizers:
            if id(tokenizer) not in cut:
                cut[id(tokenizer)] = text_windows(text, tokenizer, context=self.context)
                check_enough(sum(len(row) - 1 for row in cut[id(tokenizer)]))
        self._rows = [cut[id(tokenizer)] for tokenizer in self._tokenizers]
        self._nats: dict[int, Tensor] = {}  # of each token, of the sides that were read alone

    def pair(self, i: int) -> Generator[Stage, None, Pair]:
        """Side `i` beside the first: together if that can be, else one after the other with less to tell."""
        if not same_vocabulary(self._tokenizers[0], self._tokenizers[i]):
            yield from self.alone(0)
            yield from self.alone(i)
            bits = self.evaluations[0].bits_per_character, self.evaluations[i].bits_per_character
            return Pair(None, None, None, OTHER_TOKENS, bits=bits)
        if note := not_by_token(self._manager, (self._keys[0], self._keys[i])):
            yield from self.alone(0)
            yield from self.alone(i)
            ratio, error = perplexity_ratio(self._nats[0], self._nats[i])
            return Pair(ratio, error, None, f"not compared token by token: {note}")
        close = yield from self._together(i)
        self.evaluations |= {0: close.reference, i: close.candidate}
        return Pair(close.perplexity_ratio, close.perplexity_ratio_se, close, None)

    def first_divergence(self, i: int) -> Generator[Stage, None, float | None]:
        """Let side `i` and the first continue some beginnings of the text, each token the most likely."""
        if not same_vocabulary(self._tokenizers[0], self._tokenizers[i]):
            return None
        request = GenerationRequest(chain=Chain(samplers=(build("greedy"),)), max_new_tokens=GREEDY_TOKENS, seed=0)
        names = side_names([self._keys[0], self._keys[i]])
        sides = [Side(name, key, request) for name, key in zip(names, (self._keys[0], self._keys[i]), strict=True)]
        starts = range(0, len(self._rows[0]), max(1, len(self._rows[0]) // BEGINNINGS))
        texts = [self._beginning(self._rows[0][j]) for j in starts][:BEGINNINGS]
        found: list[PromptResult] = []
        for event in compare_prompts(self._manager, sides, texts, stop=self._stop):
            if isinstance(event, Stage):
                yield event
            else:
                found.append(event)
        if self._stop.is_set():
            raise _Stopped
        return typical_divergence(found, 1)

    def _beginning(self, row: Tensor) -> str:
        """The text that a window begins with; an end of a text there would be read as its thirteen characters."""
        tokenizer = self._tokenizers[0]
        return tokenizer.decode(id for id in row[:BEGINNING].tolist() if id != tokenizer.end_of_text)

    def alone(self, i: int) -> Generator[Stage, None, None]:
        """Read with one model only, unless it has been so already."""
        if i in self._nats:
            return
        with self._manager.lend(self._keys[i]) as loaded:
            scores = yield from self._counted(score(loaded.model, self._rows[i], stop=self._stop), i)
        self.evaluations[i] = evaluation(scores, self._tokenizers[i])
        self._nats[i] = torch.cat([one.nats for one in scores])

    def _together(self, i: int) -> Generator[Stage, None, Closeness]:
        with self._manager.lend(self._keys[0]) as ours, self._manager.lend(self._keys[i]) as theirs:
            stream = compare(ours.model, theirs.model, self._rows[0], stop=self._stop)
            scores = yield from self._counted(stream, i)
        return closeness(scores, self._tokenizers[0])

    def _counted(self, stream: Iterator[Scored], i: int) -> Generator[Stage, None, list[Scored]]:
        """All of a stream of windows, telling how many there have been."""
        found: list[Scored] = []
        total = len(self._rows[i])
        while True:
            yield Stage(f"reading the text with {self._keys[i]}", len(found) / total)
            one = next(stream, None)
            if self._stop.is_set():
                raise _Stopped
            if one is None:
                return found
            found.append(one)
