"""Registry: names and options are unique, and bad classes are refused with one sentence."""

import re
from pathlib import Path

import pytest
from pydantic import Field
from torch import Tensor

import samplers
from samplers import Sampler, build, get, names, register


class Good(Sampler):
    """Change nothing."""

    name = "good"
    goodness: float = Field(0.5, ge=0, le=1, description="how good it is")

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits


def test_the_built_ins_are_there_in_the_default_order() -> None:
    built_in = [
        "repetition_penalty",
        "presence_frequency",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical",
        "greedy",
        "logit_bias",
        "dry",
        "top_n_sigma",
        "xtc",
    ]
    assert names() == built_in
    assert samplers.default_chain().to_data()[2] == {"name": "temperature", "temperature": 0.8}


def test_register_makes_a_sampler_known_once() -> None:
    assert register(register(Good)) is Good
    assert names()[-1] == "good"
    assert names().count("good") == 1
    assert get("good") is Good
    assert build("good", goodness=1) == Good(goodness=1)


def test_a_class_made_anew_takes_the_place_of_the_old() -> None:
    register(Good)
    again = type("Good", (Good,), {"__module__": __name__, "__qualname__": "Good", "__doc__": "Again."})
    assert get(register(again).name) is again


class TakesName(Good):
    """A name that is taken."""

    name = "top_k"


class TakesOption(Good):
    """An option that is taken."""

    name = "other"
    temperature: float = 1.0


class TakesReserved(Good):
    """An option that requests need themselves."""

    name = "other"
    seed: int = 1


class BadName(Good):
    """Not a plain name."""

    name = "Top-K"


class NoDocstring(Good):
    name = "other"


class NoDefault(Good):
    """An option without a default."""

    name = "other"
    must: int


class NoCall(Sampler):
    """Nothing to call."""

    name = "other"


class NoName(Sampler):
    """No name."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (TakesName, "the name 'top_k' is already taken by samplers.top_k.TopK"),
        (TakesOption, "the option 'temperature' already belongs to the sampler temperature"),
        (TakesReserved, "the name 'seed' is reserved"),
        (BadName, "BadName needs a name in lower case such as \"top_k\", not 'Top-K'"),
        (NoName, 'NoName needs a name in lower case such as "top_k", not None'),
        (NoDocstring, "NoDocstring needs a docstring"),
        (NoDefault, "NoDefault cannot be made with its defaults: other needs a value for must"),
        (NoCall, "NoCall cannot be made with its defaults: Can't instantiate abstract class"),
        (int, "<class 'int'> is not a class derived from samplers.Sampler"),
        (Good(), "Good(goodness=0.5) is not a class derived"),
    ],
)
def test_a_bad_class_is_refused_and_leaves_no_trace(cls: type[Sampler], words: str) -> None:
    before = names()
    with pytest.raises(ValueError, match="^" + re.escape(words)):
        register(cls)
    assert names() == before


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(
        ValueError,
        match=r"^there is no sampler 'topk'; the samplers are: repetition_penalty, .*greedy, .*top_n_sigma, xtc$",
    ):
        get("topk")
    with pytest.raises(ValueError, match=r"^there is no sampler 'x{10}") as caught:
        build("x" * 10_000_000)
    assert len(str(caught.value)) < 300


def test_the_packages_imported_are_ours() -> None:
    """`samplers` is a common name: another one on the path would be found first."""
    assert samplers.__file__ == str(Path(__file__).parents[2] / "samplers" / "__init__.py")
