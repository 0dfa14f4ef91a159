"""Perplexity, KL divergence and agreement on a text, in one pass without storing logits."""

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
)
from gptdesk.generation import GenerationRequest
from gptdesk.text_windows import text_windows
from models.manager import ModelKey, ModelManager
from samplers import Chain, build

BEGINNINGS, BEGINNING, GREEDY_TOKENS = 7, 24, 64  # how many prompts, and the tokens of each and of its continuation
Scored = TypeVar("Scored")

MOST_CHARACTERS = 20_000_000
OTHER_TOKENS = "the models have different tokenizers, so only figures per character can be compared"


@dataclass(frozen=True)
class Pair:
    """Candidate compared with the reference. A figure that cannot be measured is None, and `absent` says why.

    `first_divergence` is the number of greedy tokens before the first that differs, in the median over prompts taken
    from the text; None if there is none within GREEDY_TOKENS.
    """

    perplexity_ratio: float | None
    perplexity_ratio_se: float | None
    closeness: Closeness | None
    absent: str | None
    first_divergence: float | None = None
    bits: tuple[float | None, float | None] | None = None  # per character, of both, if nothing else can be compared


@dataclass(frozen=True)
class Quality:
    """Result of `judge`, its last event: an evaluation of every side, and a pair for each but the first."""

    evaluations: tuple[Evaluation, ...]
    pairs: tuple[Pair, ...]
    context: int  # tokens in a window


def judge(
    manager: ModelManager, keys: Sequence[ModelKey], text: str, *, stop: threading.Event | None = None
) -> Iterator[Stage | Quality]:
    """Evaluate every model on `text`; the first of `keys` is the reference. Ends without a result once `stop` is set.

    All models read windows of the shortest context among them. Raises ValueError for a text that is empty, too short
    or too long, or that a tokenizer cannot encode, and as `ModelManager.lend`.
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
    """Raise ValueError if one of these models cannot be evaluated on this text."""
    _Reading(manager, keys, text, threading.Event())


def check_size(text: str) -> None:
    """Raise ValueError for an evaluation text that is empty or too long."""
    if not text.strip():
        raise ValueError("the evaluation text is empty; give at least a few sentences")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"the evaluation text has {len(text):,} characters, and at most {MOST_CHARACTERS:,} are read; give a part"
        )


def not_by_token(manager: ModelManager, keys: tuple[ModelKey, ModelKey]) -> str | None:
    """Return the reason why two models with one tokenizer cannot be compared token by token; None if they can."""
    widths = [manager.library.info(key.name).vocab_size for key in keys]
    if widths[0] != widths[1]:
        return f"their networks have {widths[0]:,} and {widths[1]:,} outputs"
    return in_turn_note(manager, keys)


class _Stopped(Exception):
    """Raised once the stop event is set."""


class _Reading:
    """Text read by several models, with the evaluations so far, by the number of the side."""

    def __init__(self, manager: ModelManager, keys: Sequence[ModelKey], text: str, stop: threading.Event) -> None:
        check_size(text)
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
        """Compare side `i` with the first: together if possible, else one after the other with fewer figures."""
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
        """Return the median number of tokens before the greedy texts of side `i` and the first diverge."""
        if not same_vocabulary(self._tokenizers[0], self._tokenizers[i]):
            return None
        request = GenerationRequest(chain=Chain(samplers=(build("greedy"),)), max_new_tokens=GREEDY_TOKENS, seed=0)
        names = side_names([self._keys[0], self._keys[i]])
        sides = [Side(name, key, request) for name, key in zip(names, (self._keys[0], self._keys[i]), strict=True)]
        starts = range(0, len(self._rows[0]), max(1, len(self._rows[0]) // BEGINNINGS))
        texts = [self._beginning(self._rows[0][j]) for j in starts][:BEGINNINGS]
        results: list[PromptResult] = []
        for event in compare_prompts(self._manager, sides, texts, stop=self._stop):
            if isinstance(event, Stage):
                yield event
            else:
                results.append(event)
        if self._stop.is_set():
            raise _Stopped
        return typical_divergence(results, 1)

    def _beginning(self, row: Tensor) -> str:
        """Return the text of a window's first BEGINNING tokens.

        End-of-text tokens are left out: a tokenizer would encode their text as thirteen characters.
        """
        tokenizer = self._tokenizers[0]
        return tokenizer.decode(id for id in row[:BEGINNING].tolist() if id not in tokenizer.special_ids.bounds)

    def alone(self, i: int) -> Generator[Stage, None, None]:
        """Evaluate side `i` alone, unless that is done."""
        if i in self._nats:
            return
        with self._manager.lend(self._keys[i]) as loaded:
            scores = yield from self._with_progress(score(loaded.model, self._rows[i], stop=self._stop), i)
        self.evaluations[i] = evaluation(scores, self._tokenizers[i])
        self._nats[i] = torch.cat([one.nats for one in scores])

    def _together(self, i: int) -> Generator[Stage, None, Closeness]:
        with self._manager.lend(self._keys[0]) as ours, self._manager.lend(self._keys[i]) as theirs:
            stream = compare(ours.model, theirs.model, self._rows[0], stop=self._stop)
            scores = yield from self._with_progress(stream, i)
        return closeness(scores, self._tokenizers[0])

    def _with_progress(self, stream: Iterator[Scored], i: int) -> Generator[Stage, None, list[Scored]]:
        """Yield the progress of a stream of scored windows; return them all."""
        scores: list[Scored] = []
        total = len(self._rows[i])
        while True:
            yield Stage(f"reading the text with {self._keys[i]}", len(scores) / total)
            one = next(stream, None)
            if self._stop.is_set():
                raise _Stopped
            if one is None:
                return scores
            scores.append(one)
