"""Comparison of two entries: the settings that differ, and the first token or character that does."""

from dataclasses import replace

import pytest

from gptdesk.history import Entry
from gptdesk.history.comparing import compare_entries
from gptdesk.history.entry import Sequence


def entry(number: int, *texts: tuple[str, tuple[int, ...]], **changes: object) -> Entry:
    """Return an entry with these texts, each with its tokens."""
    chain = {"samplers": [{"name": "top_k", "top_k": 50}, {"name": "temperature", "temperature": 0.8}]}
    one = Entry(
        *(number, 1.75e9, "page", "starter", "float32", "a" * 64, "Once", 7, len(texts)),
        request={"chain": chain, "max_new_tokens": 9, "stop": [], "parse_special": False},
        **{name: 0 for name in ("prompt_tokens", "known_tokens", "dropped_tokens", "context")},
        **{"kernels": "numba", "seconds": 1.0, "seconds_to_first_token": None, "tokens_per_second": None},
        **{"ended": True, "rating": None, "note": "", "tags": ()},
        sequences=tuple(Sequence(text, tokens, (0.0,) * len(tokens), "length") for text, tokens in texts),
    )
    return replace(one, **changes)  # type: ignore[arg-type]


LONG = (" upon a time", (5, 6, 7))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "All settings are the same."),
        (
            {"seed": 8, "precision": "int8"},
            "Entries 1 and 2 differ in precision (float32 and int8) and seed (7 and 8).",
        ),
        ({"weights": "b" * 64}, f"Entries 1 and 2 differ in SHA-256 of the weights ({'a' * 64} and {'b' * 64})."),
        ({"model": "mine", "weights": "b" * 64}, "Entries 1 and 2 differ in model (starter and mine)."),
        ({"prompt": "One\nday"}, r"Entries 1 and 2 differ in prompt (Once and 'One\nday')."),
        ({"weights": None}, "All settings are the same."),
    ],
)
def test_settings_that_differ_are_named(changes: dict[str, object], sentence: str) -> None:
    assert compare_entries(entry(1, LONG), entry(2, LONG, **changes)).sentences()[0] == sentence


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        (
            {"chain": {"samplers": [{"name": "top_k", "top_k": 50}, {"name": "temperature", "temperature": 1.2}]}},
            [("temperature", "0.8", "1.2")],
        ),
        (
            {"chain": {"samplers": [{"name": "greedy"}]}},
            [("samplers", "top_k 50, then temperature 0.8", "greedy")],
        ),
        ({"stop": ["\n"], "parse_special": True}, [("parse_special", "no", "yes"), ("stop strings", "none", r"'\n'")]),
    ],
)
def test_samplers_and_options(changes: dict[str, object], differences: list[tuple[str, str, str]]) -> None:
    other = entry(2, LONG)
    compared = compare_entries(entry(1, LONG), replace(other, request=other.request | changes))
    assert sorted((one.name, one.first, one.second) for one in compared.settings) == differences


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        (LONG, {}, "The texts are the same, 3 tokens (12 characters)."),
        (
            (" upon a day", (5, 6, 9)),
            {},
            "The texts begin with the same 2 tokens (8 characters) and differ from token 3 on.",
        ),
        (
            (" upon a day", (1, 2, 3)),
            {"model": "mine", "weights": None},
            "The texts begin with the same 8 characters and differ from character 9 on.",
        ),
        (
            (" upon", (5,)),
            {},
            "The texts begin with the same 1 token (5 characters); there entry 2 ends, and entry 1 goes on.",
        ),
        ((" upon a time", (5, 66)), {}, "The texts are the same, of other tokens from token 2 on."),
        (("x", (9,)), {}, "The texts differ from their beginning on."),
    ],
)
def test_the_first_difference_of_texts(text: tuple[str, tuple[int, ...]], changes: dict, sentence: str) -> None:
    assert compare_entries(entry(1, LONG), entry(2, text, **changes)).sentences()[1] == sentence


def test_rows_that_both_entries_have_are_compared() -> None:
    compared = compare_entries(entry(1, LONG, LONG), entry(2, LONG, ("x", (9,)), LONG))
    assert [text.identical for text in compared.texts] == [True, False]
    assert compared.sentences()[0] == "Entries 1 and 2 differ in sequences (2 and 3)."
    assert compared.sentences()[2] == "The texts 2 differ from their beginning on."
