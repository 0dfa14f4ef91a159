"""Texts whose tokens are shown and generations they come from, by session: kept on the server, and bounded."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from gptdesk.generation import GenerationRequest
from gptdesk.inspection import TextFigures
from models.manager import ModelKey
from models.tokenizer import Tokenizer

MOST_SESSIONS = 64  # each has at most one text open, and the logits of one place: 0.2 MB at 50,000 tokens
Value = TypeVar("Value")


class BySession(Generic[Value]):
    """Values by session, the most recently used MOST_SESSIONS of them; safe from any thread."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, session: str) -> Value | None:
        """Return the value of a session; None if it has none any more."""
        with self._lock:
            if session in self._values:
                self._values.move_to_end(session)
            return self._values.get(session)

    def put(self, session: str, value: Value | None) -> None:
        """Set the value of a session, or remove it with None."""
        with self._lock:
            self._values.pop(session, None)
            if value is not None:
                self._values[session] = value
            while len(self._values) > MOST_SESSIONS:
                self._values.popitem(last=False)


@dataclass(frozen=True)
class Written:
    """Generation of a text card: with it, the tokens of its text are those that were drawn, and have keys."""

    key: ModelKey
    request: GenerationRequest
    seed: int
    row: int
    dropped: int  # tokens cut from the front of the prompt
    text: str  # of the card
    drawn: tuple[int, ...]


def written_by(
    written: Mapping[int, Written], texts: Sequence[str], key: ModelKey, request: GenerationRequest
) -> bool | None:
    """Return whether a request with a seed has written the texts of the cards; None if it is not known what has.

    `written` are the generations of the cards, by index.
    """
    known = [one for one in map(written.get, range(len(texts))) if one is not None]
    if not known or not any(texts):
        return None
    unseeded = request.model_copy(update={"seed": None})
    return len(known) == len(texts) == request.n and all(
        (one.key, one.seed, one.row, one.text) == (key, request.seed, row, text)
        and one.request.model_copy(update={"seed": None}) == unseeded
        for row, (one, text) in enumerate(zip(known, texts, strict=True))
    )


@dataclass(frozen=True)
class Place:
    """Place of a token that was picked, with the logits there."""

    index: int  # in the text; its length: the token that would come next
    logits: Tensor  # (1, V)
    found: tuple[int, ...] = ()  # ids that a search has found


@dataclass(frozen=True)
class Beside:
    """Second model that has read the same tokens."""

    key: ModelKey
    figures: TextFigures
    differences: tuple[float | None, ...]  # nats by which it gives each token a higher log-probability


@dataclass(frozen=True)
class OpenText:
    """Text whose tokens are shown."""

    card: int
    key: ModelKey
    tokens: tuple[int, ...]
    dropped: int  # first tokens, which are not read here: they do not fit the context, or are more than a page shows
    prompt: int  # first tokens, which were not drawn by this seed
    written: Written | None
    figures: TextFigures  # of the tokens after the dropped ones
    context: int  # of the model
    place: Place | None = None
    beside: Beside | None = None

    def draws(self) -> tuple[tuple[int, ...], Written] | None:
        """Return the tokens that were read before the first draw, and the generation; None if it cannot be repeated.

        So it is for a text that was not generated, under constraints, or where tokens that were read are not shown.
        """
        written, given = self.written, self.tokens[self.dropped : self.prompt]
        if written is None or written.request.constraints() or self.dropped != written.dropped or not given:
            return None
        return (given, written) if len(given) + len(written.drawn) <= self.context + 1 else None

    @property
    def own(self) -> int | None:
        """Token of the text at the picked place; None at its end."""
        index = len(self.tokens) if self.place is None else self.place.index
        return self.tokens[index] if index < len(self.tokens) else None

    def text(self, index: int, token: int, tokenizer: Tokenizer) -> str:
        """Return the text of the tokens before a place, and then of `token`; without the one that begins a document."""
        return self._decoded((*self.tokens[:index], token), tokenizer)

    def text_before(self, index: int, tokenizer: Tokenizer) -> str:
        """Return the text of the tokens before a place, as `text` has it."""
        return self._decoded(self.tokens[:index], tokenizer)

    def _decoded(self, tokens: tuple[int, ...], tokenizer: Tokenizer) -> str:
        begins = tokens[:1] == (tokenizer.start,) and tokens[0] in tokenizer.special_ids.eos
        return tokenizer.decode(tokens[1:] if begins else tokens)

    def before(self, index: int) -> Sequence[int]:
        """Return the tokens that the model reads for a place: the last ones that fit its context.

        ValueError as `branch`, and if there are none.
        """
        if not 0 <= index <= len(self.tokens):
            raise ValueError("there is no such token; choose one of those shown")
        if index < self.dropped:
            raise ValueError(
                f"token {index + 1:,} is among the first {self.dropped:,}, which are not read here; choose a later one"
            )
        if index == self.dropped:
            raise ValueError(
                "nothing comes before this token, so that the model does not predict it; choose a later one"
            )
        return self.tokens[self.dropped + self.unread(index) : index]

    def unread(self, index: int) -> int:
        """Return how many tokens after the dropped ones no longer fit the context before a place."""
        return max(0, index - self.dropped - self.context)
