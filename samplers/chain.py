"""Chain: samplers applied in order, then one draw per row."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from pydantic import field_serializer, field_validator
from torch import Tensor

from samplers.base import Filter, Monotone, OptionValue, Sampler, Step
from samplers.draw import KeyStream, draw
from samplers.options import Options
from samplers.ranking import Ranked, Rows, Shortlist, spread
from samplers.registry import build

DEFAULT_ORDER = ("repetition_penalty", "presence_frequency", "temperature", "top_k", "top_p", "min_p")
LARGEST_SEED = 2**63 - 1
MODEL = "model"


@dataclass(frozen=True, eq=False)
class Link:
    """The distribution after one link of a chain: its name, and probabilities (B, V) float32."""

    name: str
    probabilities: Tensor


class Chain(Options):
    """Samplers from left to right. The order is part of the data: another order is another chain."""

    samplers: tuple[Sampler, ...]

    @classmethod
    def from_data(cls, data: Iterable[Mapping[str, object]]) -> Self:
        """Read what `to_data` wrote; options left out take their defaults. ValueError says what is wrong."""
        return cls(samplers=data)  # the validator below builds the samplers

    def to_data(self) -> list[dict[str, OptionValue]]:
        """The chain as plain data, for JSON: [{"name": "top_k", "top_k": 50}, ...]."""
        return [sampler.to_data() for sampler in self.samplers]

    def start(self, *, seed: int, rows: int = 1) -> "Sampling":
        """Begin one generation of `rows` sequences: row i draws from its own generator, seeded by (seed, i)."""
        return Sampling(self, seed=seed, rows=rows)

    def explain(self, logits: Tensor, tokens: Tensor) -> list[Link]:
        """The distribution of the model, then after every sampler: (B, V), (B, T) -> one Link for each."""
        links = []
        for name, left in _apply(_started(self), logits, tokens):
            links.append(Link(name, _whole(left, logits.shape[1]).softmax(dim=1)))
        return links

    @field_validator("samplers", mode="before")
    @classmethod
    def _build_from_data(cls, samplers: Iterable[object]) -> tuple[object, ...]:
        if isinstance(samplers, str | Mapping) or not isinstance(samplers, Iterable):
            raise ValueError('a sampler chain is a list such as [{"name": "top_k", "top_k": 50}]')
        built = tuple(sampler if isinstance(sampler, Sampler) else _built(sampler) for sampler in samplers)
        if not built:
            raise ValueError("the sampler chain is empty; give it at least one sampler, for example greedy")
        return built

    @field_serializer("samplers")
    def _serialize(self, samplers: tuple[Sampler, ...]) -> list[dict[str, OptionValue]]:
        return [sampler.to_data() for sampler in samplers]


class Sampling:
    """One generation under way: call it once per step to draw the next token of every row."""

    def __init__(self, chain: Chain, *, seed: int, rows: int = 1) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
            raise ValueError(f"seed must be a whole number from 0 to {LARGEST_SEED}, not {seed!r:.60}")
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ValueError(f"rows must be a whole number of at least 1, not {rows!r:.60}")
        self._steps = _started(chain)
        self._next_keys = KeyStream(seed, rows)
        self._rows = rows

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Draw the next ids: logits (B, V) and the text so far (B, T) -> (B,) int64 on the CPU.

        Logits of any device and float type are drawn from in float32 on the CPU. A logit of +inf is
        taken as the limit: such tokens share everything. Raises ValueError, naming the model or the sampler,
        when a row has NaN or nothing left to draw.
        """
        assert logits.ndim == 2, f"logits must be (B, V), not {tuple(logits.shape)}"
        assert logits.shape[0] == tokens.shape[0] == self._rows, "logits, tokens and this Sampling differ in rows"
        keys = self._next_keys()  # taken first: an error must not put this generation's rows out of step
        with torch.inference_mode():
            *_, (_, left) = _apply(self._steps, logits, tokens)
            drawn = draw(left.finite() if isinstance(left, Rows) else left, keys)
        return drawn.clone()  # an ordinary tensor again


def default_chain() -> Chain:
    """The chain of our choice, each sampler with its defaults."""
    return Chain(samplers=tuple(build(name) for name in DEFAULT_ORDER))


def _built(data: object) -> Sampler:
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise ValueError(f'a sampler in a chain is written {{"name": "top_k", "top_k": 50}}, not {data!r:.60}')
    options = {str(option): value for option, value in data.items() if option != "name"}
    return build(data["name"], **options)


def _started(chain: Chain) -> list[tuple[str, Step | None]]:
    """Every sampler's name and what to call once per token; None for one that would change nothing."""
    return [(sampler.name, None if sampler.is_neutral else sampler.start()) for sampler in chain.samplers]


def _apply(
    steps: Iterable[tuple[str, Step | None]], logits: Tensor, tokens: Tensor
) -> Iterator[tuple[str, Rows | Shortlist]]:
    """Name and tokens of the model, then what every step leaves of them, checked."""
    left: Rows | Shortlist = _sound(Rows.of(logits.detach().to("cpu", torch.float32)), MODEL)
    yield MODEL, left
    for name, step in steps:
        if step is not None:
            try:
                left = _after(step, left, tokens, logits.shape[1])
            except Exception as error:  # whatever a stranger's sampler does, the message says whose fault it is
                said = " ".join(str(error).split())[:300]
                raise ValueError(f"the sampler {name} failed with {type(error).__name__}: {said}") from error
            if not isinstance(step, Monotone):
                left = _sound(left, name)
        yield name, left


def _after(step: Step, left: Rows | Shortlist, tokens: Tensor, vocabulary: int) -> Rows | Shortlist:
    if isinstance(step, Filter):  # from here only the tokens it leaves are carried along ...
        return step.narrow(left)
    if isinstance(step, Monotone):
        return left.changed(step.change)
    given = _whole(left, vocabulary)  # ... until a sampler needs to see whole rows
    changed = step(given, tokens.to("cpu"))
    if not isinstance(changed, Tensor) or changed.shape != given.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise TypeError(f"it returned {shape} for logits of shape {tuple(given.shape)}")
    return Rows.of(changed.to(given))


def _whole(left: Rows | Shortlist, vocabulary: int) -> Tensor:
    return left.whole() if isinstance(left, Rows) else spread(left, vocabulary)


def _sound(left: Rows | Shortlist, name: str) -> Rows | Shortlist:
    """What can be drawn from: no NaN, nothing above the finite, something finite in every row."""
    if isinstance(left, Ranked):
        return left
    top = left.top if isinstance(left, Rows) else left.values.amax(dim=1, keepdim=True)  # NaN if the row has one
    if all(-math.inf < best < math.inf for (best,) in top.tolist()):
        return left
    source = "the model" if name == MODEL else f"the sampler {name}"
    if top.isnan().any():
        raise ValueError(f"{source} gave NaN (not a number) for the next token, so nothing can be drawn")
    if (top == -math.inf).any():
        raise ValueError(f"{source} left no token that can be drawn: every logit in a row is -inf")
    logits = left.whole() if isinstance(left, Rows) else left.values
    certain = torch.where(logits == math.inf, 0.0, -math.inf)
    logits = torch.where(top == math.inf, certain, logits)
    return Rows.of(logits) if isinstance(left, Rows) else Shortlist(logits, left.ids)
