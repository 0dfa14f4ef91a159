"""Decoding under constraints: rows that draw from allowed tokens only, and go back where a banned phrase began."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gptdesk.generation.constraints import Constraints
from gptdesk.generation.events import FinishReason, GenerationStep
from gptdesk.generation.request import GenerationRequest
from gptdesk.generation.row import Clock, Row
from gptdesk.token_logprobs import Alternatives, log_probabilities
from models.batching import Batcher
from models.cache import KVCache
from models.manager import LoadedModel

MOST_REWINDS = 1_000  # one after the other, without a token that stays


class _Drawn(NamedTuple):
    """A token that was drawn."""

    token: int
    logprob: float
    top: Alternatives
    end: int  # characters of the text after it


class Beginning(NamedTuple):
    """A prompt that has been read: its ids (T,), their KV cache of one row, and the logits (1, V) after them."""

    prompt: Tensor
    cache: KVCache
    logits: Tensor


class GuidedRow:
    """Row of its own, in a KV cache of one row, so that its text is the same alone and beside others.

    Tokens that may yet be taken back are held: those whose text may begin a banned phrase.
    """

    def __init__(
        self,
        index: int,
        loaded: LoadedModel,
        request: GenerationRequest,
        constraints: Constraints,
        beginning: Beginning,
        *,
        seed: int,
    ) -> None:
        prompt, cache, logits = beginning
        self._row = Row(index, loaded, request.stop)
        self._request, self._constraints, self._tokenizer = request, constraints, loaded.tokenizer
        self._sampling = request.chain.start(seed=seed, first=index)
        self._engine, self._cache, self._first_logits, self._prompt = loaded.model, cache, logits, len(prompt)
        self._ids = torch.empty(1, cache.capacity + 1, dtype=torch.int64)  # (1, T): prompt and what was drawn
        self._ids[:, : len(prompt)] = prompt
        self._drawn: list[_Drawn] = []
        self._released = 0  # tokens that stay
        self._forbidden: dict[int, list[int]] = {}  # by place: tokens with which a banned phrase began there
        self._rewinds = 0  # since a token was released
        self._decoder = self._tokenizer.stream()
        self._text = constraints.before
        self._is_stopped = False  # by a stop string

    @property
    def finished(self) -> bool:
        """True if the row has ended."""
        return self._row.finished

    def advance(self, batcher: Batcher) -> None:
        """Draw one token, by one step of the model; go back if it completes a banned phrase.

        Raises ValueError if no token is left to draw.
        """
        if self._drawn:
            batcher.step(torch.tensor([[self._drawn[-1].token]]), self._cache, self._draw)
        else:
            self._draw(self._first_logits)
        since = len(self._text)
        if self._drawn[-1].token not in self._tokenizer.special_ids.eos:
            self._text += self._decoder.push(self._drawn[-1].token)
        self._drawn[-1] = self._drawn[-1]._replace(end=len(self._text))
        phrase = self._constraints.phrases.find(self._text, since=since)
        stop = self._end_of_stop(since)
        if stop is not None and (phrase is None or stop <= phrase.end):
            self._is_stopped = True
        elif phrase is not None:
            # the first token whose text goes beyond the place where the phrase starts
            first = next(i for i, drawn in enumerate(self._drawn) if drawn.end > phrase.start)
            # of a phrase that begins in a text that stays, such as the prompt, the first token that does not
            self._rewind(max(first, self._released))

    def release(self, reason: FinishReason | None, seconds: float) -> Iterator[GenerationStep]:
        """Yield the tokens that stay; a `reason` to end, that of the request or of this row, releases them all."""
        reason = reason or self._finish_reason()
        ends = self._is_stopped or (self._drawn and self._drawn[-1].token in self._tokenizer.special_ids.eos)
        sure = len(self._text) - (0 if reason or ends else self._constraints.phrases.held(self._text))
        while not self.finished and self._released < len(self._drawn) and self._drawn[self._released].end <= sure:
            drawn = self._drawn[self._released]
            self._released, self._rewinds = self._released + 1, 0
            last = reason if self._released == len(self._drawn) else None
            yield self._row.add_token(drawn.token, drawn.logprob, drawn.top, last, seconds)
        if reason and not self.finished:
            yield self._row.end(reason, seconds)

    def _draw(self, logits: Tensor) -> None:
        """Draw a token from logits (1, V)."""
        length = self._prompt + len(self._drawn)
        token = int(self._sampling(self._allowed(logits), self._ids[:, :length]))
        self._ids[0, length] = token
        [(logprob, top)] = log_probabilities(
            self._engine, logits.float().cpu(), torch.tensor([token]), top=self._request.top_logprobs
        )
        self._drawn.append(_Drawn(token, logprob, top, end=len(self._text)))

    def _allowed(self, logits: Tensor) -> Tensor:
        """Return the logits (1, V) with -inf for every token that must not come here; ValueError if none is left."""
        logits = logits.float().cpu().masked_fill(self._constraints.banned, -math.inf)
        words, length = self._constraints.words, self._prompt + len(self._drawn)
        for token, bias in words.added(self._ids[0, max(0, length - words.longest) : length].tolist()).items():
            logits[0, token] += bias
        logits[0, self._forbidden.get(len(self._drawn), [])] = -math.inf
        if choices := self._constraints.choices:
            ids = choices.allowed(self._written(), left=self._constraints.room - len(self._drawn))
            kept = torch.full_like(logits, -math.inf)
            kept[0, ids] = logits[0, ids]
            logits = kept
        if bool((logits == -math.inf).all()):
            raise self._stuck()
        return logits

    def _rewind(self, place: int) -> None:
        """Take back the tokens from `place` on, and forbid the first of them there."""
        self._rewinds += 1
        if self._rewinds > MOST_REWINDS:
            raise self._stuck()
        self._forbidden = {i: tokens for i, tokens in self._forbidden.items() if i <= place}
        self._forbidden.setdefault(place, []).append(self._drawn[place].token)
        self._sampling.rewind(len(self._drawn) - place)
        del self._drawn[place:]
        # the last token that stays is read once more, for its logits
        self._cache.rewind(self._prompt + max(0, place - 1))
        self._decoder = self._tokenizer.stream()
        written = "".join([self._decoder.push(drawn.token) for drawn in self._drawn])
        self._text = self._constraints.before + written

    def _finish_reason(self) -> FinishReason | None:
        """Return why the row ends after its last token, if it does."""
        choices, left = self._constraints.choices, self._constraints.room - len(self._drawn)
        if choices and choices.is_complete(self._written(), left=left):
            return "stop"
        if left > 0:
            return None
        return "length" if len(self._drawn) >= self._request.max_new_tokens else "context"

    def _written(self) -> bytes:
        """Return the bytes of the text so far."""
        return b"".join(self._tokenizer.token_bytes(drawn.token) for drawn in self._drawn)

    def _end_of_stop(self, since: int) -> int | None:
        """Return where the first stop string ends in the text, if one has ended after the character `since`."""
        ends, first = [], len(self._constraints.before)
        for stop in self._request.stop:
            if (at := self._text.find(stop, max(first, since - len(stop) + 1))) >= 0:
                ends.append(at + len(stop))
        return min(ends, default=None)

    def _stuck(self) -> ValueError:
        """Return the error of a place at which no token is left."""
        choices = " and the choices together" if self._constraints.choices else ""
        return ValueError(
            f"the banned phrases{choices} leave no token that could follow {self._text[-30:]!r}; ban fewer of them"
        )


def write_guided(
    loaded: LoadedModel,
    request: GenerationRequest,
    constraints: Constraints,
    beginning: Beginning,
    *,
    seed: int,
    clock: Clock,
) -> Iterator[GenerationStep]:
    """Yield the steps of all rows after the beginning, as `generate`."""
    copies = [beginning, *(beginning._replace(cache=beginning.cache.copy()) for _ in range(request.n - 1))]
    rows = [GuidedRow(i, loaded, request, constraints, own, seed=seed) for i, own in enumerate(copies)]
    while writing := [row for row in rows if not row.finished]:
        for row in writing:
            row.advance(loaded.batcher)
            yield from row.release(clock.finish_reason(), clock.seconds())
