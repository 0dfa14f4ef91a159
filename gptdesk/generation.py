"""Decode loop from a prompt to a stream of text, used by the page, the API, the command line and Compare."""

import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, StringConstraints, field_validator, model_validator
from torch import Tensor

from gptdesk.context_window import dropped_tokens, new_tokens_after
from gptdesk.encodings import without_surrogates
from gptdesk.formatting import plural
from gptdesk.stop_strings import StopStrings
from gptdesk.token_logprobs import Alternatives, log_probability
from models.cache import KVCache
from models.manager import LoadedModel
from models.prefix import Prefix
from models.tokenizer import Tokenizer
from samplers import Chain, Options, default_chain

FinishReason = Literal["stop", "length", "context", "stopped", "deadline"]
MAX_SEED = 2**63 - 1
LONGEST_STOP = 1_000  # characters of a stop string
MOST_ALTERNATIVES = 5
DRAWN_SEEDS = 2**32  # seeds that we draw are below it, to be short


class GenerationRequest(Options):
    """Options of a generation; the text depends on these and the model alone."""

    prompt: str = Field("", max_length=1_000_000, description="text to continue; empty: a new text")
    prompt_ids: tuple[int, ...] | None = Field(
        None, min_length=1, max_length=1_000_000, description="token ids to continue, instead of the prompt"
    )
    chain: Chain = Field(default_factory=default_chain, description="samplers, in the order in which they apply")
    max_new_tokens: int = Field(
        200,
        ge=1,
        le=100_000,
        description="most tokens to add; where they would not fit, the prompt's front is cut, down to half the context",
    )
    n: int = Field(1, ge=1, le=16, description="sequences to generate from the same prompt")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="same seed, same text; none: a new one is drawn")
    stop: tuple[Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_STOP)], ...] = Field(
        (), max_length=16, description="strings at which a sequence ends; they are not part of the text"
    )
    deadline: float | None = Field(None, gt=0, description="seconds after which every sequence ends")
    parse_special: bool = Field(
        False, description="special tokens typed in the prompt, such as <|endoftext|>, are those tokens, not plain text"
    )

    top_logprobs: int = Field(
        0, ge=0, le=MOST_ALTERNATIVES, description="most probable tokens to report at each step, with log-probabilities"
    )

    @model_validator(mode="after")
    def _have_one_prompt(self) -> Self:
        if self.prompt and self.prompt_ids is not None:
            raise ValueError("a request has either a prompt or prompt_ids; leave one of them out")
        return self

    @field_validator("prompt", mode="before")
    @classmethod
    def _without_lone_surrogates(cls, prompt: object) -> object:
        """Replace lone surrogates, which a page or a terminal can send, by U+FFFD."""
        return without_surrogates(prompt) if isinstance(prompt, str) else prompt


@dataclass(frozen=True)
class GenerationStart:
    """First event, after the prefill. Times are seconds since the model was loaded."""

    seed: int
    prompt_tokens: int  # read by the model ...
    known_tokens: int  # ... of which so many came from the prefix cache
    dropped_tokens: int  # cut from the front of the prompt, to make room for new ones
    context: int  # length of the model's context in tokens
    kernels: str  # kernels of its matrices on this computer
    seconds: float


@dataclass(frozen=True)
class GenerationStep:
    """Token of one sequence. `text` is the text it completes: "" while a character or stop string is incomplete."""

    row: int
    text: str
    token: int | None  # None: the step only ends the sequence and releases held-back text
    logprob: float | None  # of the token under the raw model, before any sampler
    finish_reason: FinishReason | None
    seconds: float
    stop_string: str | None = None  # the one at which the sequence ended, if it did
    top_logprobs: Alternatives = ()  # as many as the request wants, under the raw model


GenerationEvent = GenerationStart | GenerationStep


@dataclass(frozen=True)
class GenerationQueued:
    """Position in the queue; comes before the first event and between events, repeatedly, while others compute."""

    position: int  # in the queue, from 1


@dataclass
class GenerationResult:
    """Texts, tokens and times of a stream so far. Lists are per sequence."""

    n: int
    start: GenerationStart | None = None
    texts: list[str] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    finish_reasons: list[FinishReason | None] = field(default_factory=list)
    stop_strings: list[str | None] = field(default_factory=list)  # at which sequences ended
    logprob_sums: list[float] = field(default_factory=list)  # of their tokens under the raw model, nats
    seconds_to_first_token: float | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.texts, self.tokens = [""] * self.n, [[] for _ in range(self.n)]
        self.finish_reasons, self.stop_strings = [None] * self.n, [None] * self.n
        self.logprob_sums = [0.0] * self.n

    def add(self, event: GenerationEvent | GenerationQueued) -> None:
        """Add one event of the stream."""
        if isinstance(event, GenerationQueued):
            return
        self.seconds = event.seconds
        if isinstance(event, GenerationStart):
            self.start = event
            return
        self.texts[event.row] += event.text
        self.finish_reasons[event.row] = event.finish_reason
        self.stop_strings[event.row] = event.stop_string
        if event.token is not None:
            self.tokens[event.row].append(event.token)
            self.logprob_sums[event.row] += event.logprob or 0.0
            if self.seconds_to_first_token is None:
                self.seconds_to_first_token = event.seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Decode speed: tokens of all sequences after the first of each, per second; None before the second."""
        if self.seconds_to_first_token is None or self.seconds <= self.seconds_to_first_token:
            return None
        later = sum(max(0, len(tokens) - 1) for tokens in self.tokens)
        return later / (self.seconds - self.seconds_to_first_token)


def collect(stream: Iterable[GenerationEvent | GenerationQueued], *, n: int) -> GenerationResult:
    """Run a stream of `n` sequences to its end and return the result."""
    result = GenerationResult(n)
    for event in stream:
        result.add(event)
    return result


def cut_prompt(start: GenerationStart) -> str:
    """Return a sentence about the tokens cut from the front of the prompt; empty if there are none."""
    if not start.dropped_tokens:
        return ""
    room = new_tokens_after(start.prompt_tokens, context=start.context)
    left_out = "token was" if start.dropped_tokens == 1 else f"{start.dropped_tokens:,} tokens were"
    return (
        f"the first {left_out} left out of the prompt, so that {plural(room, 'new token')} "
        f"{'fits' if room == 1 else 'fit'} the context of {plural(start.context, 'token')}"
    )


@torch.inference_mode()
def generate(
    loaded: LoadedModel, request: GenerationRequest, *, stop: threading.Event | None = None
) -> Iterator[GenerationEvent]:
    """Yield one GenerationStart, then a GenerationStep for every token of every unfinished row, row by row.

    `stop` is checked before every token and every chunk of the prompt; text generated so far has been yielded.
    Raises ValueError for a prompt that cannot be encoded, or when the model or a sampler gives no usable distribution.
    """
    clock = _Clock(request.deadline, stop)
    seed = draw_seed() if request.seed is None else request.seed
    prompt, dropped = prompt_tokens(loaded, request)
    context = loaded.config.block_size
    capacity = min(context, len(prompt) + request.max_new_tokens)
    engine = loaded.model
    known = loaded.prefixes.find(prompt, chunk=engine.chunk, capacity=capacity)
    known = known or Prefix(KVCache(loaded.config, capacity=capacity, device=engine.device), None)
    cache, known_tokens = known.cache, known.cache.length
    logits = _read(loaded, prompt, known, clock=clock)
    yield GenerationStart(
        seed, len(prompt), known_tokens, dropped, context, kernels=engine.kernels, seconds=clock.seconds()
    )

    rows = [_Row(i, loaded, request.stop) for i in range(request.n)]
    if logits is None:  # ended during the prefill
        yield from (row.end(clock.finish_reason(), clock.seconds()) for row in rows)
        return
    if request.n > 1:
        cache, logits = cache.copy(rows=request.n), logits.expand(request.n, -1)
    tokens = torch.empty(request.n, cache.capacity + 1, dtype=torch.int64)  # (B, T): prompt and what was drawn
    tokens[:, : len(prompt)] = prompt
    draw = request.chain.start(seed=seed, rows=request.n)

    def choose(logits: Tensor) -> tuple[Tensor, list[tuple[float, Alternatives]]]:
        """Draw the next tokens (B,) from the logits (B, V), and return their log-probabilities, too."""
        drawn = draw(logits, tokens[:, : cache.length])
        tokens[:, cache.length] = drawn
        return drawn, _logprobs(logits, drawn, top=request.top_logprobs)

    drawn, logprobs = choose(logits)
    while True:
        length = cache.length
        reason: FinishReason | None = clock.finish_reason()
        if length + 1 - len(prompt) >= request.max_new_tokens:
            reason = reason or "length"
        if length >= context:
            reason = reason or "context"
        seconds = clock.seconds()
        for row in rows:
            if not row.finished:
                yield row.add_token(int(drawn[row.index]), *logprobs[row.index], reason, seconds)
        if all(row.finished for row in rows):
            return
        drawn, logprobs = loaded.batcher.step(drawn[:, None], cache, choose)
        if late := clock.finish_reason():
            yield from (row.end(late, clock.seconds()) for row in rows if not row.finished)
            return


def draw_seed() -> int:
    """Return a random seed below DRAWN_SEEDS."""
    return secrets.randbelow(DRAWN_SEEDS)


def prompt_tokens(loaded: LoadedModel, request: GenerationRequest) -> tuple[Tensor, int]:
    """Return the token ids (T,) the model reads for a prompt, and how many `dropped_tokens` cuts from its front."""
    ids = encode_prompt(loaded.tokenizer, request)
    dropped = dropped_tokens(len(ids), wanted=request.max_new_tokens, context=loaded.config.block_size)
    return torch.tensor(ids[dropped:], dtype=torch.int64), dropped


def encode_prompt(tokenizer: Tokenizer, request: GenerationRequest) -> list[int]:
    """Return the token ids of a prompt; ValueError if it cannot be spelled, or for an id outside the vocabulary.

    An empty prompt becomes the token that precedes every text in training.
    """
    if request.prompt_ids is None:
        return tokenizer.encode_prompt(request.prompt, parse_special=request.parse_special) or [tokenizer.start]
    for token in (min(request.prompt_ids), max(request.prompt_ids)):
        if not 0 <= token < tokenizer.vocab_size:
            raise ValueError(
                f"the prompt has the token {token}; the model knows ids from 0 to {tokenizer.vocab_size - 1}"
            )
    return list(request.prompt_ids)


def _read(loaded: LoadedModel, prompt: Tensor, known: Prefix, *, clock: "_Clock") -> Tensor | None:
    """Read the prompt (T,) after its prefix `known`, in chunks; return the logits (1, V), or None if it must end."""
    if known.logits is not None:
        return None if clock.finish_reason() else known.logits
    engine, logits = loaded.model, None
    for tokens in prompt[None, known.cache.length :].split(engine.chunk, dim=1):
        if clock.finish_reason():
            return None
        logits = engine(tokens, known.cache, last_only=True)[:, -1]  # (1, t) -> (1, V)
    assert logits is not None
    loaded.prefixes.keep(prompt, known.cache, logits)
    return logits


def _logprobs(logits: Tensor, drawn: Tensor, *, top: int) -> list[tuple[float, Alternatives]]:
    """Return the log-probability of each drawn token (B,) under the raw logits (B, V), in nats, and alternatives."""
    logits = logits.float().cpu()
    # row by row, which torch does on one thread: waking a second one may take a hundred times as long as the sum
    return [log_probability(row, token, top=top) for row, token in zip(logits, drawn.tolist(), strict=True)]


class _Clock:
    """Time since the start of the request, checked against its deadline and stop event."""

    def __init__(self, deadline: float | None, stop: threading.Event | None) -> None:
        self._started = time.perf_counter()
        self._deadline = deadline
        self._stop = stop

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._started

    def finish_reason(self) -> FinishReason | None:
        """Return "stopped" or "deadline" if the request must end now, else None."""
        if self._stop is not None and self._stop.is_set():
            return "stopped"
        if self._deadline is not None and self.seconds() >= self._deadline:
            return "deadline"
        return None


class _Row:
    """Sequence in generation: decoder, stop strings and end."""

    def __init__(self, index: int, loaded: LoadedModel, stop: tuple[str, ...]) -> None:
        self.index = index
        self.finished = False
        self._decoder = loaded.tokenizer.stream()
        self._ends = frozenset(loaded.tokenizer.special_ids.eos)
        self._stops = StopStrings(stop)

    def add_token(
        self, token: int, logprob: float, top: Alternatives, reason: FinishReason | None, seconds: float
    ) -> GenerationStep:
        """Add one token; a `reason` ends the row after it, unless the token or a stop string already does."""
        if token in self._ends:
            text, reason = self._flush(), "stop"
        else:
            text = self._stops.push(self._decoder.push(token))
            if self._stops.hit is not None:
                reason = "stop"
            elif reason:
                text += self._flush()
        self.finished = reason is not None
        return GenerationStep(self.index, text, token, logprob, reason, seconds, self._stops.hit, top)

    def end(self, reason: FinishReason | None, seconds: float) -> GenerationStep:
        """End without another token, and release the held-back text."""
        self.finished = True
        return GenerationStep(self.index, self._flush(), None, None, reason, seconds, self._stops.hit)

    def _flush(self) -> str:
        """Return the text that the decoder and the stop strings hold back."""
        return self._stops.push(self._decoder.flush()) + self._stops.flush()
