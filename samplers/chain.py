"""Chain: samplers applied in order, then one draw per row."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import torch
from pydantic import field_serializer, field_validator
from torch import Tensor

from samplers.base import OptionValue, Sampler
from samplers.draw import KeyStream, draw
from samplers.options import Options
from samplers.ranking import Shortlist, spread
from samplers.registry import build, get, names
from samplers.steps import SHORTCUTS, apply, is_shortcut, started

DEFAULT_ORDER = ("repetition_penalty", "presence_frequency", "temperature", "top_k", "top_p", "min_p")
LARGEST_SEED = 2**63 - 1
ONE_THREAD = 32_768  # numbers from which on torch computes on several threads
NO_TEXT = torch.empty(0, 0, dtype=torch.int64)  # for chains that do not look at it

# (logits (B, V), keys (B,)) -> ids (B,) as a chain draws them, but faster, or None where it cannot.
FastDraw: TypeAlias = Callable[[Tensor, Tensor], Tensor | None]


@dataclass(frozen=True, eq=False)
class Link:
    """Distribution after one link of a chain: its name, and probabilities (B, V) float32."""

    name: str
    probabilities: Tensor


class Chain(Options):
    """Samplers from left to right. The order is part of the data: another order is another chain."""

    samplers: tuple[Sampler, ...]

    @classmethod
    def from_data(cls, data: Iterable[Mapping[str, object]]) -> Self:
        """Build a chain from the data that `to_data` returns; options left out take their defaults.

        Raises ValueError with one sentence that names the sampler or the option.
        """
        return cls(samplers=data)  # the validator below builds the samplers

    def to_data(self) -> list[dict[str, OptionValue]]:
        """Return the chain as plain data, for JSON: [{"name": "top_k", "top_k": 50}, ...]."""
        return [sampler.to_data() for sampler in self.samplers]

    def start(self, *, seed: int, rows: int = 1, first: int = 0, fast: FastDraw | None = None) -> "Sampling":
        """Begin one generation of `rows` sequences: row i draws from its own generator, seeded by (seed, i).

        The rows are those from `first` on: row 3 alone is drawn as it is among others. `fast` draws the same tokens
        from `steps`, where it can.
        """
        return Sampling(self, seed=seed, rows=rows, first=first, fast=fast)

    def steps(self) -> list[tuple[str, float]] | None:
        """Return the name and the option of each sampler that changes something, 0 if it has none.

        None if one has several, or is not one of ours.
        """
        steps = []
        for sampler in self.samplers:
            options = list(sampler.model_dump().values())
            if not sampler.is_neutral and (type(sampler) not in SHORTCUTS or len(options) > 1):
                return None
            if not sampler.is_neutral:
                steps.append((sampler.name, float(options[0]) if options else 0.0))
        return steps

    def explain(self, logits: Tensor, tokens: Tensor) -> list[Link]:
        """Return the distribution of the model, then after every sampler: (B, V), (B, T) -> one Link for each."""
        links = []
        for name, candidates in apply(started(self.samplers), logits, tokens):
            links.append(Link(name, spread(candidates, logits.shape[1]).softmax(dim=1)))
        return links

    def candidates(self, logits: Tensor, tokens: Tensor) -> Shortlist:
        """Return the tokens that the chain leaves, with their final logits: (B, V), (B, T) -> two of (B, W).

        `samplers.draw.draw` draws from them as a generation does.
        """
        *_, (_, candidates) = apply(started(self.samplers), logits, tokens)
        return candidates.finite()

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
    """State of one generation: call it once per step to draw the next token of every row."""

    def __init__(self, chain: Chain, *, seed: int, rows: int = 1, first: int = 0, fast: FastDraw | None = None) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
            raise ValueError(f"seed must be a whole number from 0 to {LARGEST_SEED}, not {seed!r:.60}")
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise ValueError(f"rows must be a whole number of at least 1, not {rows!r:.60}")
        self._steps = started(chain.samplers)
        self._next_keys = KeyStream(seed, rows, first=first)
        self._rows, self._fast = rows, fast
        judged_by_logits = all(step is None or is_shortcut(step) for _, step in self._steps)
        # what generations have in common that can be drawn together; None: the text so far counts, or a plugin's state
        self.key = repr(chain.to_data()) if judged_by_logits else None

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Draw the next ids: logits (B, V) and the text so far (B, T) -> (B,) int64 on the CPU.

        Logits of any device and float type are drawn from in float32 on the CPU. A logit of +inf is taken as the
        limit: such tokens share the whole probability. Raises ValueError, naming the model or the sampler, when a row
        has NaN or no token that can be drawn.
        """
        assert logits.ndim == 2, f"logits must be (B, V), not {tuple(logits.shape)}"
        assert logits.shape[0] == tokens.shape[0] == self._rows, "logits, tokens and this Sampling differ in rows"
        # The keys come first: after an error the next step must still use the next ones.
        return self._drawn(logits, tokens, self._next_keys())

    @staticmethod
    def together(samplings: Sequence["Sampling"], logits: Sequence[Tensor]) -> list[Tensor | ValueError]:
        """Draw for several generations of the same `key`: logits (B, V) of each -> (B,) of each, as each alone.

        In the place of one whose logits cannot be drawn from is the error. One call for all takes little longer than
        one for a single generation, which is many small operations.
        """
        keys = [sampling._next_keys() for sampling in samplings]
        if (fast := samplings[0]._fast) is not None:
            together = fast(join_rows(logits), torch.cat(keys))
            if together is not None:
                return [*together.split([*map(len, keys)])]
            return _drawn_one_by_one(samplings, logits, keys)
        drawn: list[Tensor | ValueError] = []
        most = max(one.numel() for one in logits)
        # so few at a time that torch computes them on one thread: to wake a second one may take a millisecond. It has
        # more for one of them alone with a large vocabulary, whose rows are looked at in blocks.
        size = (ONE_THREAD - 1) // most or len(keys)
        for first in range(0, len(keys), size):
            part = slice(first, first + size)
            drawn += _drawn_together(samplings[part], logits[part], keys[part])
        return drawn

    def _drawn(self, logits: Tensor, tokens: Tensor, keys: Tensor) -> Tensor:
        """Draw ids by these keys: (B, V), (B, T), (B,) -> (B,)."""
        if self._fast is not None and (drawn := self._fast(logits, keys)) is not None:
            return drawn
        with torch.inference_mode():
            *_, (_, candidates) = apply(self._steps, logits, tokens)
            left = candidates.finite()
        return draw(left, keys)  # an ordinary tensor again

    def rewind(self, steps: int) -> None:
        """Go back: the noise of the last `steps` steps comes again. A sampler that keeps state keeps it as it is."""
        self._next_keys.rewind(steps)


def join_rows(logits: Sequence[Tensor]) -> Tensor:
    """Return the rows of several logits (B, V) below each other, in float32 on the CPU; not copied if they lie so."""
    first, place = logits[0], logits[0].data_ptr()
    storage = first.untyped_storage().data_ptr()
    for one in logits:
        is_next = one.data_ptr() == place and one.untyped_storage().data_ptr() == storage
        if not (is_next and one.is_contiguous() and one.dtype == torch.float32 and one.device.type == "cpu"):
            break
        place += one.nbytes
    else:
        V = first.shape[1]
        return first.detach().as_strided((sum(map(len, logits)), V), (V, 1))
    # by numpy, which does it on one thread: torch would wake others
    return torch.from_numpy(np.concatenate([one.detach().to("cpu", torch.float32).numpy() for one in logits]))


def _drawn_together(
    samplings: Sequence[Sampling], logits: Sequence[Tensor], keys: Sequence[Tensor]
) -> list[Tensor | ValueError]:
    """Draw for several generations of the same `key` by one call, or one by one where that raises an error."""
    with contextlib.suppress(ValueError):
        together = samplings[0]._drawn(join_rows(logits), NO_TEXT, torch.cat([*keys]))
        return [*together.split([*map(len, keys)])]
    return _drawn_one_by_one(samplings, logits, keys)


def _drawn_one_by_one(
    samplings: Sequence[Sampling], logits: Sequence[Tensor], keys: Sequence[Tensor]
) -> list[Tensor | ValueError]:
    """Draw for each of several generations whose chains do not look at the text."""
    drawn: list[Tensor | ValueError] = []
    for sampling, one, own in zip(samplings, logits, keys, strict=True):
        try:
            drawn.append(sampling._drawn(one, NO_TEXT, own))
        except ValueError as error:
            drawn.append(error)
    return drawn


def default_chain() -> Chain:
    """Return the default chain, each sampler with its defaults."""
    return Chain(samplers=tuple(build(name) for name in DEFAULT_ORDER))


def chain_of(samplers: Iterable[str], options: Mapping[str, object]) -> Chain:
    """Return the chain of these samplers with these options; an option of another sampler adds that one at the end.

    Raises ValueError for a sampler or an option that does not exist, or a value that it does not take.
    """
    links: dict[str, dict[str, object]] = {name: {"name": name} for name in samplers}
    owners = {option: name for name in names() for option in get(name).model_fields}
    for option, value in options.items():
        if option not in owners:
            raise ValueError(f"there is no option {option!r:.60}; those of samplers are: {', '.join(owners)}")
        links.setdefault(owners[option], {"name": owners[option]})[option] = value
    return Chain.from_data(links.values())


def _built(data: object) -> Sampler:
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise ValueError(f'a sampler in a chain is written {{"name": "top_k", "top_k": 50}}, not {data!r:.60}')
    options = {str(option): value for option, value in data.items() if option != "name"}
    return build(data["name"], **options)
