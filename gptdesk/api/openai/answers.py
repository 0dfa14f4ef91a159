"""Answers of /v1/completions: whole, or as the chunks of a stream."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gptdesk import __version__
from gptdesk.api.answering import Call
from gptdesk.api.names import token_name
from gptdesk.api.openai.work import PromptRead, Work, WorkEvent
from gptdesk.desk import Desk
from gptdesk.generation import FinishReason, GenerationQueued, GenerationStep
from gptdesk.token_logprobs import Alternatives
from models.tokenizer import Tokenizer


class LogprobLists:
    """The four lists of a choice's logprobs, filled token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = tokenizer.stream()
        self._offset = 0  # characters of the choice's text before the next token
        self._rows: list[tuple[str, float | None, dict[str, float] | None, int]] = []

    def add(self, token: int, logprob: float | None, top: Alternatives, *, hidden: bool = False) -> None:
        """Add a token; a `hidden` one is not in the text."""
        name = token_name(self._tokenizer, token)
        likely = None
        if logprob is not None:
            likely = {token_name(self._tokenizer, other): value for other, value in top} | {name: logprob}
        self._rows.append((name, logprob, likely, self._offset))
        if not hidden:
            self._offset += len(self._decoder.push(token))

    def pop(self) -> dict[str, list[object]]:
        """Return the lists of the tokens since the last call."""
        rows, self._rows = self._rows, []
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        return {name: [row[i] for row in rows] for i, name in enumerate(names)}


@dataclass
class _Choice:
    """A sequence of one prompt, so far."""

    lists: LogprobLists | None
    text: str = ""
    tokens: int = 0
    nats: float = 0.0  # sum of its log-probabilities
    finish_reason: str | None = None

    @property
    def mean(self) -> float:
        """Mean log-probability of its tokens."""
        return self.nats / max(1, self.tokens)

    def logprobs(self) -> dict[str, list[object]] | None:
        """Return the logprobs of the tokens since the last call; None if they are not wanted."""
        return self.lists.pop() if self.lists else None


@dataclass
class Answer:
    """The answer to one request as its events arrive: the whole with `to_data`, or chunks by `chunks`."""

    desk: Desk
    work: Work
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        wanted = self.work.fields.logprobs is not None
        rows = range(self.work.fields.rows)
        self._choices = [
            [_Choice(LogprobLists(self.work.tokenizer) if wanted else None) for _ in rows] for _ in self.work.requests
        ]

    @property
    def is_stream(self) -> bool:
        """True if server-sent events are wanted."""
        return self.work.fields.stream

    def run(self, call: Call) -> Iterator[WorkEvent]:
        """Yield the events of the work."""
        return self.work.run(self.desk, call)

    def begins(self, event: WorkEvent) -> bool:
        """Return whether this is the first event of a text, after those of the queue and of the prompt."""
        return not isinstance(event[1], GenerationQueued | PromptRead)

    def add(self, event: WorkEvent) -> None:
        """Add an event."""
        self._changed(event)

    def chunks(self, event: WorkEvent) -> Iterator[dict[str, object]]:
        """Add an event and yield the chunks of the stream that it gives, maybe none."""
        prompt, _ = event
        n = self.work.fields.n
        for row, text in self._changed(event):
            choice = self._choices[prompt][row]
            logprobs = choice.logprobs()
            if text or choice.finish_reason or (logprobs and logprobs["tokens"]):
                data = _as_data(prompt * n + row, text, logprobs, choice.finish_reason)
                usage = {"usage": None} if self._tells_usage() else {}
                yield self._head() | {"choices": [data]} | usage

    def last_chunks(self) -> Iterator[dict[str, object]]:
        """Yield the chunk with the usage, if it is wanted."""
        if self._tells_usage():
            yield self._head() | {"choices": [], "usage": self._usage()}

    def to_data(self) -> dict[str, object]:
        """Return the whole answer: of each prompt the n sequences with the highest mean log-probability."""
        choices: list[dict[str, object]] = []
        for rows in self._choices:
            for choice in _best(rows, self.work.fields.n):
                choices.append(_as_data(len(choices), choice.text, choice.logprobs(), choice.finish_reason))
        return self._head() | {"choices": choices, "usage": self._usage()}

    def _changed(self, event: WorkEvent) -> Iterator[tuple[int, str]] | list[tuple[int, str]]:
        """Add an event; return the rows that it changes, each with its new text."""
        prompt, change = event
        rows = self._choices[prompt]
        changed: list[tuple[int, str]] = []
        if isinstance(change, PromptRead) and self.work.fields.echo:
            for row, choice in enumerate(rows):
                choice.text += self.work.texts[prompt]
                self._add_scores(choice, change, prompt)
                changed.append((row, choice.text))
        elif isinstance(change, GenerationStep):
            choice = rows[change.row]
            choice.text += change.text
            choice.finish_reason = _finish_reason(change.finish_reason)
            if change.token is not None:
                choice.tokens += 1
                choice.nats += change.logprob or 0.0
                if choice.lists:
                    choice.lists.add(change.token, change.logprob, change.top_logprobs)
            changed.append((change.row, change.text))
        return changed

    def _add_scores(self, choice: _Choice, read: PromptRead, prompt: int) -> None:
        """Add the log-probabilities of a prompt; tokens that the text does not show have no length."""
        is_text = isinstance(self.work.fields.prompt[prompt], str)
        bounds = self.work.tokenizer.special_ids.bounds
        for score in read.scores if choice.lists else ():
            hidden = is_text and (score.token in bounds or not self.work.texts[prompt])
            choice.lists.add(score.token, score.logprob, score.top, hidden=hidden)  # type: ignore[union-attr]

    def _tells_usage(self) -> bool:
        options = self.work.fields.stream_options
        return options is not None and options.include_usage

    def _head(self) -> dict[str, object]:
        """Return what every chunk has, and the whole answer: with the seed, which may have been drawn."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.work.key.spelled,
            "system_fingerprint": f"gptdesk-{__version__}",
            "seed": self.work.seed,
        }

    def _usage(self) -> dict[str, int]:
        """Return the counts of tokens: prompts once each, and all tokens generated, also of sequences not returned."""
        read = sum(map(len, self.work.ids))
        written = sum(choice.tokens for rows in self._choices for choice in rows)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _best(rows: Sequence[_Choice], n: int) -> Sequence[_Choice]:
    """Return the n sequences with the highest mean log-probability, the best first; all of them in their order."""
    return rows if len(rows) == n else sorted(rows, key=lambda choice: -choice.mean)[:n]


def _finish_reason(reason: FinishReason | None) -> str | None:
    """Return a finish reason in OpenAI's words, which have one for all limits."""
    return reason if reason in (None, "stop") else "length"


def _as_data(index: int, text: str, logprobs: dict[str, list[object]] | None, reason: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}
