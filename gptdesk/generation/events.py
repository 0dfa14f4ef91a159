"""Events of a generation, and the result that they add up to."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from gptdesk.context_window import new_tokens_after
from gptdesk.formatting import plural
from gptdesk.token_logprobs import Alternatives

FinishReason = Literal["stop", "length", "context", "stopped", "deadline"]


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
    first = "token" if start.dropped_tokens == 1 else f"{start.dropped_tokens:,} tokens"
    return (
        f"the model reads {plural(start.context, 'token')} at most, new ones included, so it did not read the first "
        f"{first} of the prompt: that makes room for {plural(room, 'new token')}"
    )
