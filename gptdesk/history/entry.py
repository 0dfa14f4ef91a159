"""Entries of the history: a generation with all that repeats it, its line in a list, and the filter of a search."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from gptdesk.inspection.tree import Kind
from samplers import Options

Origin = Literal["page", "cli", "api", "python"]
LIKED, DISLIKED = 1, -1  # ratings
LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 10_000, 40, 20


@dataclass(frozen=True)
class Sequence:
    """One text of a generation, without the prompt."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # of these tokens under the raw model, nats
    finish_reason: str | None  # None: it did not end by itself; the page or the program was closed


@dataclass
class Branch:
    """Place of a generation in a tree of texts; `entry` is set once the generation is saved."""

    parent: int | None  # entry of a text of the tree; None: it is the first
    row: int | None  # of that entry; None: it branches from the prompt of the tree
    kept: int  # characters of the text it branches from that it keeps
    added: str  # what follows those in its prompt
    kind: Kind
    entry: int | None = None


@dataclass(frozen=True)
class Summary:
    """Line of an entry in a list."""

    id: int
    created: float  # seconds since 1970
    origin: Origin
    model: str
    precision: str
    n: int
    tokens: int  # generated, in all sequences
    seconds: float
    rating: int | None
    note: str
    tags: tuple[str, ...]
    prompt: str  # its end, as `ending` cuts it ...
    text: str  # ... and the beginning of the first sequence
    ended: bool  # False: the program ended while it was written, or it is being written
    seed: int
    chain: list[dict[str, object]]  # samplers as `Chain.to_data` returns them


@dataclass(frozen=True)
class Entry:
    """Generation as it was asked for and as it came out."""

    id: int
    created: float
    origin: Origin
    model: str
    precision: str
    weights: str | None  # SHA-256 of the model's weights; None: not known
    prompt: str
    seed: int
    n: int
    request: dict[str, object]  # the other options of the GenerationRequest, as JSON values
    prompt_tokens: int
    known_tokens: int
    dropped_tokens: int
    context: int
    kernels: str
    seconds: float
    seconds_to_first_token: float | None
    tokens_per_second: float | None
    ended: bool
    rating: int | None
    note: str
    tags: tuple[str, ...]
    sequences: tuple[Sequence, ...]

    @property
    def chain(self) -> list[dict[str, object]]:
        """The samplers as data, as `Chain.to_data` returns them."""
        chain = self.request.get("chain")
        links = chain.get("samplers") if isinstance(chain, dict) else None
        return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


class HistoryFilter(Options):
    """Conditions of a search; all that are given must hold."""

    text: str = Field("", max_length=1_000, description="words in prompt, text, note or tags; the last may be begun")
    model: str = Field("", description="name of the model")
    precision: str = Field("", description="precision of the model")
    origin: Origin | None = Field(None, description="page, cli, api or python")
    tag: str = Field("", description="a tag of the entry")
    rating: Literal[-1, 1] | None = Field(None, description="1 liked, -1 disliked")
    since: float | None = Field(None, description="seconds since 1970, the first that counts")
    until: float | None = Field(None, description="seconds since 1970, the first that does not count")
