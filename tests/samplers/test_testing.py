"""check_sampler: accepts what keeps the contract, and names a breach in one sentence."""

import math
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor

from samplers import Sampler, check_sampler


class Sharpen(Sampler):
    """Multiply the logits."""

    name = "sharpen"
    neutral: ClassVar = {"sharpness": 1.0}
    sharpness: float = Field(1.0, gt=0, le=4, description="what the logits are multiplied by")

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return (logits - logits.amax(1, keepdim=True)) * self.sharpness


class Alternate(Sharpen):
    """Flatten and sharpen in turn: state, where it belongs."""

    def start(self) -> Callable[[Tensor, Tensor], Tensor]:
        steps: list[int] = []

        def step(logits: Tensor, tokens: Tensor) -> Tensor:
            steps.append(1)
            return logits if len(steps) % 2 or self.is_neutral else logits / 2

        return step


def test_the_contract_kept() -> None:
    check_sampler(Sharpen)
    check_sampler(Alternate)


class InPlace(Sharpen):
    """Saves memory."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.sub_(1)


class Shape(Sharpen):
    """Loses the batch."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits[0]


class Double(Sharpen):
    """Too exact."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.double()


class Nothing(Sharpen):
    """Forgets to return."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return None  # type: ignore[return-value]


class NotANumber(Sharpen):
    """0 * -inf."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits * 0


class Empty(Sharpen):
    """Removes all."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits - math.inf


class Revives(Sharpen):
    """Brings tokens back."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits.clamp(min=-9)


class RowsMix(Sharpen):
    """Looks at its neighbours."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits - (logits.amax() if self.sharpness == 1 else 0.1 * len(logits) * logits.clamp(-9, 9))


class Remembers(Sharpen):
    """Keeps its state in the class."""

    seen: ClassVar[list[int]] = []

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        self.seen.append(1)
        return logits if self.is_neutral else logits / len(self.seen)


class Random(Sharpen):
    """Draws numbers of its own."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits if self.is_neutral else logits + torch.rand_like(logits)


class NotNeutral(Sharpen):
    """Acts although it is neutral."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits * 1.5


class NoDescription(Sharpen):
    """Options nobody explains."""

    sharpness: float = Field(1.0, gt=0, le=4)


class NoBounds(Sharpen):
    """A slider without an end."""

    sharpness: float = Field(1.0, gt=0, description="what the logits are multiplied by")


class NoWidget(Sharpen):
    """A type no widget shows."""

    words: tuple[str, ...] = Field((), description="words")


class Raises(Sharpen):
    """Fails on an empty text."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        tokens[:, -1]
        return super().__call__(logits, tokens)


class Unnamed(Sharpen):
    """No name."""

    name = ""


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (InPlace, "changed the logits it was given"),
        (Shape, r"returned shape \(40,\) for \(3, 40\)"),
        (Double, r"returned torch.float64 for torch.float32"),
        (Nothing, "returned NoneType, not a tensor"),
        (NotANumber, "returned NaN|changes the distribution"),
        (Empty, "removed every token of a row"),
        (Revives, r"brought back a token|changes the distribution"),
        (RowsMix, "treats a row differently"),
        (Remembers, "gives other logits in a second generation"),
        (Random, "gives other logits in a second generation"),
        (NotNeutral, "changes the distribution although its options are neutral"),
        (NoDescription, "the option 'sharpness' of NoDescription needs a description of one line"),
        (NoBounds, "the option 'sharpness' of NoBounds needs bounds for its slider"),
        (NoWidget, "the option 'words' of NoWidget must be a bool, int, float, str or Literal"),
        (Raises, "failed with IndexError: index -1 is out of bounds"),
        (Unnamed, "Unnamed needs a name"),
        (int, "is not a class derived"),
    ],
)
def test_a_breach_is_told_in_a_sentence(cls: type[Sampler], words: str) -> None:
    with pytest.raises(AssertionError, match=words) as caught:
        check_sampler(cls)
    assert "\n" not in str(caught.value)


def test_a_class_inside_a_function_cannot_be_pickled() -> None:
    class Local(Sharpen):
        """Nobody finds it."""

    with pytest.raises(AssertionError, match="cannot be pickled: define its class at the top of a module"):
        check_sampler(Local)
