"""Options: every mistake is one plain sentence."""

import math
import re
from typing import Literal

import pytest
from pydantic import Field, field_validator

from samplers import OptionError, Options, build, get, names


class Request(Options):
    """Every kind of field."""

    prompt: str = Field(max_length=5)
    size: Literal["small", "big"] = "small"
    loud: bool = False
    tries: int = Field(1, gt=0)

    @field_validator("prompt")
    @classmethod
    def _polite(cls, prompt: str) -> str:
        if prompt == "rude":
            raise ValueError("prompt must be polite")
        return prompt


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("top_p", {"top_p": 2}, "top_p must be less than or equal to 1, not 2"),
        ("top_p", {"top_p": 0}, "top_p must be greater than 0, not 0"),
        ("temperature", {"temperature": -1}, "temperature must be greater than or equal to 0, not -1"),
        ("temperature", {"temperature": math.nan}, "temperature must be a finite number, not nan"),
        ("temperature", {"temperature": -math.inf}, "temperature must be a finite number, not -inf"),
        ("temperature", {"temperature": "hot"}, "temperature must be a valid number, not 'hot'"),
        ("top_k", {"top_k": 1.5}, "top_k must be a valid integer, not 1.5"),
        ("top_k", {"top_k": None}, "top_k must be a valid integer, not None"),
        ("top_k", {"top_k": -3}, "top_k must be greater than or equal to 0, not -3"),
        ("top_k", {"kk": 3}, "top_k has no option 'kk'; its options are: top_k"),
        ("greedy", {"top_k": 3}, "greedy has no option 'top_k'; it has none"),
        (
            "repetition_penalty",
            {"repetition_penalty": 0},
            "repetition_penalty must be greater than or equal to 0.1, not 0",
        ),
    ],
)
def test_a_bad_value_is_one_sentence(name: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$") as caught:
        build(name, **options)
    assert type(caught.value) is OptionError


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "Request needs a value for prompt"),
        ({"prompt": "a", "size": "huge"}, "size must be 'small' or 'big', not 'huge'"),
        ({"prompt": "a", "loud": "very"}, "loud must be a valid boolean, not 'very'"),
        ({"prompt": "a" * 10_000}, "prompt may have at most 5 characters, not 10,000"),
        ({"prompt": "rude"}, "prompt must be polite"),
        ({"prompt": 3.5}, "prompt must be a valid string, not 3.5"),
        ({"prompt": "a", "seed": 1}, "Request has no option 'seed'; its options are: prompt, size, loud, tries"),
    ],
)
def test_so_is_any_other_options_class(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Request(**values)


def test_options_cannot_be_changed_later() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build("top_k").top_k = 3  # type: ignore[attr-defined]


def test_every_number_can_be_shown_as_a_slider() -> None:
    shown = {name: (get(name).__doc__ or "").splitlines()[0] for name in names()}
    assert all(20 < len(line) < 120 for line in shown.values()), shown
    for name in names():
        for option, field in get(name).model_fields.items():
            assert field.description, option
            if field.annotation is not str:
                assert isinstance(field.json_schema_extra, dict), option
                assert field.json_schema_extra["step"], option
