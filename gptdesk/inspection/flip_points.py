"""Flip points of a draw: the option values at which the same seed draws another token.

A draw is keyed by token id, so that it is a race of fixed noise against the logits. Along one option of a chain whose
later samplers keep the most probable tokens, a token wins on one interval: raising the temperature lets less probable
tokens overtake it and never gives it back to those it has overtaken, and likewise for the number of tokens kept. Its
ends are found by bisection, with real draws on both sides, down to neighbouring float32 numbers.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from samplers import Chain, Sampler
from samplers.draw import KeyStream, draw

MONOTONE = frozenset({"temperature", "top_k", "top_p", "min_p"})  # samplers that keep the most probable tokens, or all
SCANNED = 40  # steps of the search where a later sampler may make the region no interval
SMALLEST_P = 1e-6


@dataclass(frozen=True)
class Flip:
    """The nearest value of an option beyond which another token is drawn, and that token."""

    value: float  # the first, in float32, at which `token` is drawn
    token: int


@dataclass(frozen=True)
class FlipPoints:
    """Flips of a draw along one option, below and above its present value; None: not within its range."""

    option: str
    value: float  # at present
    below: Flip | None
    above: Flip | None
    nearest: bool  # True: nothing lies between; False: a flip and back within a SCANNED-th of the range may


def key_of_draw(seed: int, *, step: int, row: int = 0) -> Tensor:
    """Return the key (1,) of the draw of token `step` (from 0) in sequence `row` of a generation with this seed."""
    keys = KeyStream(seed, row + 1)
    *_, key = islice(iter(keys, None), step + 1)
    return key[row : row + 1]


@torch.inference_mode()
def drawn_token(logits: Tensor, tokens: Sequence[int], chain: Chain, key: Tensor) -> int:
    """Return the token that is drawn from logits (1, V) after `tokens`, with this key (1,)."""
    text = torch.tensor(tokens, dtype=torch.int64)[None]  # (1, T)
    return int(draw(chain.candidates(logits, text), key))


def flip_points(logits: Tensor, tokens: Sequence[int], chain: Chain, key: Tensor) -> list[FlipPoints]:
    """Return the flip points of a draw for each of temperature, top-k, top-p and min-p that the chain has.

    Logits (1, V) of the model after `tokens`, key (1,) of the draw. An option that is there twice is left out.
    """
    names = [sampler.name for sampler in chain.samplers]
    points = []
    for i, sampler in enumerate(chain.samplers):
        if sampler.name not in MONOTONE or names.count(sampler.name) > 1:
            continue
        is_interval = all(name in MONOTONE for name in names[i + 1 :])
        points.append(_along(_Option(chain, i, logits, tokens, key), is_interval=is_interval))
    return points


class _Option:
    """One option of a chain as a number line of whole numbers, in the order of the option's values."""

    def __init__(self, chain: Chain, index: int, logits: Tensor, tokens: Sequence[int], key: Tensor) -> None:
        sampler = chain.samplers[index]
        self.name = sampler.name  # the sampler's one option has its name
        self.value = float(getattr(sampler, self.name))
        self._chain, self._index, self._key = chain, index, key
        self._logits, self._tokens = logits, tokens
        self._drawn: dict[int, int] = {}  # by place
        if self.name == "top_k":
            size = logits.shape[1]
            self.low, self.high = 1, size
            # 0 keeps all
            self.place = min(int(self.value), size) or size
        else:
            bottom, top = {"temperature": (0.0, 2.0), "top_p": (SMALLEST_P, 1.0), "min_p": (0.0, 1.0)}[self.name]
            self.low, self.high, self.place = _bits(bottom), _bits(top), _bits(self.value)

    def at(self, place: int) -> float:
        """Return the option's value at a place."""
        return float(place) if self.name == "top_k" else _number(place)

    def near(self, value: float) -> int:
        """Return the place of a value."""
        return round(value) if self.name == "top_k" else _bits(value)

    def drawn(self, place: int) -> int:
        """Return the token drawn at a place."""
        if place not in self._drawn:
            value = self.value if place == self.place else self.at(place)
            self._drawn[place] = drawn_token(self._logits, self._tokens, self._with(value), self._key)
        return self._drawn[place]

    def _with(self, value: float) -> Chain:
        samplers: list[Sampler] = list(self._chain.samplers)
        changed = int(value) if self.name == "top_k" else value
        samplers[self._index] = samplers[self._index].model_copy(update={self.name: changed})
        return self._chain.model_copy(update={"samplers": tuple(samplers)})


def _along(option: _Option, *, is_interval: bool) -> FlipPoints:
    ends = [
        _nearest(option, end, is_interval=is_interval) if end != option.place else None
        for end in (option.low, option.high)
    ]
    return FlipPoints(option.name, option.value, ends[0], ends[1], nearest=is_interval)


def _nearest(option: _Option, end: int, *, is_interval: bool) -> Flip | None:
    """Return the nearest flip between the present place and the `end` of the line."""
    winner, inside = option.drawn(option.place), option.place
    if is_interval:
        outside = end
    else:
        first, last = option.at(inside), option.at(end)
        places = [option.near(first + (last - first) * i / SCANNED) for i in range(1, SCANNED + 1)]
        outside = next((place for place in places if option.drawn(place) != winner), end)
    if option.drawn(outside) == winner:
        return None
    edge = _bisected(lambda place: option.drawn(place) == winner, inside, outside)
    return Flip(option.at(edge), option.drawn(edge))


def _bisected(holds: Callable[[int], bool], inside: int, outside: int) -> int:
    """Return the place next to one where the condition holds, and where it does not, between the two given."""
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return outside


def _bits(value: float) -> int:
    """Return a number above or at 0 as the bits of its float32, which are in the order of the numbers."""
    [bits] = struct.unpack("<I", struct.pack("<f", value))
    return int(bits)


def _number(bits: int) -> float:
    [value] = struct.unpack("<f", struct.pack("<I", bits))
    return float(value)
