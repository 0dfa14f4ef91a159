"""Verdicts and votes: bands at their edges, exact sentences, p-values as computed by scipy."""

import json
import math
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from gptdesk.comparison.blind import Tally, Vote, tally_sentence
from gptdesk.comparison.divergence import Chances, Divergence
from gptdesk.comparison.measuring import Spread, Timing
from gptdesk.comparison.prompts import MOST_PROMPTS, PromptResult, read_prompts, typical_divergence
from gptdesk.comparison.quality import OTHER_TOKENS, Pair
from gptdesk.comparison.verdict import band, divergence_sentence, is_identical, summary, verdict
from gptdesk.evaluation import Closeness, Evaluation

ONE = Evaluation(
    tokens=100,
    nats_per_token=2.0,
    nats_per_token_se=0.1,
    perplexity=math.exp(2),
    nats_per_character=0.5,
    bits_per_character=0.72,
    bits_per_byte=0.72,
)
SPEED = Spread(100.0, 90.0, 110.0)
TIMING = Timing("k", 3, 40_000_000, 40_000_000, 0.5, SPEED, SPEED, SPEED, SPEED, SPEED, (0.01,))


def close(kl: float, *, ratio: float = 1.0, error: float = 0.001, most: float | None = None) -> Closeness:
    """Made by hand: what is not asked for is as good as identical."""
    return Closeness(
        reference=ONE,
        candidate=ONE,
        perplexity_ratio=ratio,
        perplexity_ratio_se=error,
        kl_mean=kl,
        kl_mean_se=0.0,
        kl_median=kl,
        kl_p99=kl,
        kl_max=kl if most is None else most,
        same_top1=0.979,
        same_top1_se=0.01,
        top5_overlap=0.9,
        probability_change_mean=0.0,
        probability_change_rms=0.01 if kl else 0.0,
    )


def pair(closeness: Closeness) -> Pair:
    return Pair(closeness.perplexity_ratio, closeness.perplexity_ratio_se, closeness, None)


def just_under(value: float) -> float:
    return math.nextafter(value, 0)


@pytest.mark.parametrize(
    ("kl", "name"),
    [
        (0, "negligible"),
        (just_under(0.01), "negligible"),
        (0.01, "small"),
        (just_under(0.05), "small"),
        (0.05, "moderate"),
        (just_under(0.15), "moderate"),
        (0.15, "large"),
        (1e30, "large"),
    ],
)
def test_bands_at_their_edges(kl: float, name: str) -> None:
    assert band(kl) == name


def test_identical_is_only_what_differs_nowhere() -> None:
    assert is_identical(close(0))
    assert not is_identical(close(0, most=1e-300))
    assert not is_identical(replace(close(0), probability_change_rms=1e-300))


@pytest.mark.parametrize(
    ("closeness", "words"),
    [
        (close(0), "identical: not one probability differs"),
        (close(1e-9), "practically the same"),
        (close(0.009, ratio=1.5), "practically the same"),
        (close(0.02), "a small difference"),
        (close(0.02, ratio=1 + 2**-9, error=2**-10), "a small difference"),  # just two standard errors are not enough
        (close(0.02, ratio=1.0021, error=0.001), "a small difference, for the worse"),
        (close(0.06, ratio=0.99, error=0.001), "a moderate difference, for the better on this text"),
        (close(0.9, ratio=3, error=0.1), "a large difference, for the worse"),
        (close(0.9, ratio=3, error=1.5), "a large difference"),
    ],
)
def test_the_verdict(closeness: Closeness, words: str) -> None:
    assert verdict(closeness) == words


def test_the_summary_says_it_all_in_a_sentence() -> None:
    faster = replace(TIMING, memory_bytes=10_256_000, speed=Spread(240.0, 201.0, 999.0))
    found = summary("int8", TIMING, faster, pair(close(0.001, ratio=1.0004)))
    assert found == (
        "int8: 3.9 x smaller, 2.4 x faster, perplexity x 1.0004, same next word 97.9 % of the time: "
        "practically the same"
    )
    back = summary("float32", faster, TIMING, pair(close(0.2, ratio=0.9)))
    assert back == (
        "float32: 3.9 x larger, 2.4 x slower, perplexity x 0.9000, same next word 97.9 % of the time: "
        "a large difference, for the better on this text"
    )


def test_the_summary_says_what_there_is() -> None:
    assert summary("b", TIMING, TIMING, None) == "b: as large, as fast"
    assert summary("b", TIMING, replace(TIMING, speed=None), None) == "b: as large"
    assert summary("b", None, None, pair(close(0))).startswith("b: perplexity x 1.0000, same next word 97.9 % of the")
    assert summary("b", None, None, Pair(1.25, 0.01, None, "in turn")) == "b: perplexity x 1.2500"
    assert summary("b", TIMING, TIMING, Pair(None, None, None, OTHER_TOKENS)) == "b: as large, as fast"
    assert summary("b", None, None, None) == "b: nothing was measured"


@pytest.mark.parametrize(
    ("speed", "words"), [(104.0, "as fast"), (96.0, "as fast"), (106.0, "1.1 x faster"), (94.0, "1.1 x slower")]
)
def test_what_is_nearly_even_is_called_so(speed: float, words: str) -> None:
    assert summary("b", TIMING, replace(TIMING, speed=Spread(speed, 1e3, 1e3)), None) == f"b: as large, {words}"


def test_speeds_whose_ranges_overlap_are_about_the_same() -> None:
    timings = [replace(TIMING, speed=spread) for spread in (Spread(100, 80, 120), Spread(150, 119, 160))]
    words = "about as fast (ranges overlap)"
    assert summary("b", *timings, None) == f"b: as large, {words}"
    assert summary("b", *timings[::-1], None) == f"b: as large, {words}"


# Where texts part

FLIP, SURE = Chances(0.62, 0.30, 0.31, 0.61), Chances(0.62, 0.30, 0.80, 0.10)
RARE = Chances(0.00034, 0.052, 0.041, 0.0001, candidate_cut="top_p")


@pytest.mark.parametrize(
    ("divergence", "words"),
    [
        (Divergence(9, 30, None, None, None), "B wrote the same as A, word for word."),
        (Divergence(9, 30, None, None, None, True), "B wrote the same as A as far as both got (9 tokens)."),
        (Divergence(1, 3, None, None, None, True), "B wrote the same as A as far as both got (1 token)."),
        (Divergence(5, 9, None, " x", None), "After 5 tokens alike, A ended and B went on with “x”."),
        (Divergence(1, 9, " x", None, None), "After 1 token alike, B ended and A went on with “x”."),
        (Divergence(1, 9, "\n", None, None), "After 1 token alike, B ended and A went on with “⏎”."),
        (Divergence(1, 9, " a", "a", None), "After 1 token alike, A wrote “·a” and B “a”."),
        (
            Divergence(5, 9, " a", " b", FLIP),
            "After 5 tokens alike, A wrote “a” and B “b”. To “a” A gave 62 %, B 61 %; to “b” A gave 30 %, B 31 %"
            ": nearly equal chances on both sides, so the draw decided.",
        ),
        (
            Divergence(0, 0, " a", " b", SURE),
            "After 0 tokens alike, A wrote “a” and B “b”. To “a” A gave 62 %, B 10 %; to “b” A gave 30 %, B 80 %"
            ": A preferred “a”, B “b”.",
        ),
        (
            Divergence(0, 0, " a", " b", RARE),
            "After 0 tokens alike, A wrote “a” and B “b”. To “a” A gave 0.034 %, B 0.01 %, which top-p cut off; "
            "to “b” A gave 5.2 %, B 4.1 %: both sides preferred “b”.",
        ),
        (
            Divergence(None, 7, "so", "no", None),
            "B and A write the same 7 characters first; they have different tokenizers, so no probabilities can be "
            "compared.",
        ),
    ],
)
def test_divergence_sentences(divergence: Divergence, words: str) -> None:
    assert divergence_sentence(divergence, "A", "B") == words


LEFT = Chances(0.7, 0.0, 0.007, 0.68, reference_cut="top_k")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (Chances(0.62, 0.0066, 0.0066, 0.62, reference_cut="top_k"), "The model gave “a” 62 % and “b” 0.66 %."),
        (SURE, "To “a” A gave 62 %, B 10 %; to “b” A gave 30 %, B 80 %."),
    ],
)
def test_what_the_samplers_left_is_said_where_they_differ(raw: Chances, words: str) -> None:
    divergence = Divergence(5, 9, " a", " b", raw, after_samplers=LEFT)
    assert divergence_sentence(divergence, "A", "B", coupled=False) == (
        f"After 5 tokens alike, A wrote “a” and B “b”. {words} After the samplers, A had “a” at 70 % and “b” at 0 % "
        "(cut off by top-k); B had “a” at 68 % and “b” at 0.7 %."
    )


def test_the_typical_divergence_is_a_median() -> None:
    def row(same: int | None, *, ended: bool = False) -> PromptResult:
        return PromptResult("", (), (Divergence(same, 0, None if ended else "a", None if ended else "b", None),))

    assert typical_divergence([row(3), row(9), row(5)], 1) == 5
    assert typical_divergence([row(3), row(9, ended=True), row(5)], 1) == 5
    assert typical_divergence([row(3), row(9, ended=True), row(5, ended=True)], 1) is None
    assert typical_divergence([row(0)], 1) == 0
    assert typical_divergence([], 1) is None


# The blind test


@pytest.mark.parametrize("n", [1, 2, 5, 10, 11, 20, 37, 100, 1500])
def test_the_p_value_is_the_exact_binomial_one(n: int) -> None:
    for k in sorted({0, 1, n // 3, n // 2, (n + 1) // 2, n - 1, n}):
        expected = binomtest(k, n).pvalue
        assert Tally(k, n - k, ties=k).p_value() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("vote", "swapped", "expected"),
    [
        ("left", False, Tally(1, 0, 0)),
        ("right", False, Tally(0, 1, 0)),
        ("left", True, Tally(0, 1, 0)),
        ("right", True, Tally(1, 0, 0)),
        ("tie", False, Tally(0, 0, 1)),
        ("tie", True, Tally(0, 0, 1)),
    ],
)
def test_a_vote_counts_for_who_wrote_the_text(vote: Vote, swapped: bool, expected: Tally) -> None:
    assert Tally().plus(vote, swapped=swapped) == expected
    before = Tally(3, 4, 5)
    after = before.plus(vote, swapped=swapped)
    assert (after.first - 3, after.second - 4, after.ties - 5) == (expected.first, expected.second, expected.ties)
    assert after.decided == 7 + (vote != "tie")


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (Tally(), "No votes yet."),
        (Tally(ties=2), "No vote for either yet (2 x no difference)."),
        (Tally(11, 9), "A 11 of 20 (p = 0.82): you cannot tell them apart."),
        (Tally(1, 2), "B 2 of 3 (p = 1): you cannot tell them apart so far."),
        (Tally(0, 6, 1), "B 6 of 6, 1 x no difference (p = 0.031): you prefer B."),
        (Tally(5, 0), "A 5 of 5 (p = 0.062): you cannot tell them apart so far."),
    ],
)
def test_the_tally_in_words(tally: Tally, words: str) -> None:
    assert tally_sentence(tally, "A", "B") == words


def test_a_tally_survives_the_disk() -> None:
    for tally in (Tally(), Tally(3, 4, 5)):
        assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally


@pytest.mark.parametrize(
    "data",
    [
        *(None, [], "x", 3, {}, {"first": 1}, {"first": 1, "second": 1, "ties": -1}),
        *({"first": True, "second": 1, "ties": 1}, {"first": 1.0, "second": 1, "ties": 1}),
        *({"first": "1", "second": 1, "ties": 1}, {"first": None, "second": 1, "ties": 1}),
    ],
)
def test_anything_else_on_the_disk_is_an_empty_tally(data: object) -> None:
    assert Tally.from_json(data) == Tally()


# Lists of prompts


def test_prompts_are_the_lines_that_are_not_empty() -> None:
    assert read_prompts("One\n\n  \nTwo words \r\nthree\\nlines") == ["One", "Two words ", "three\nlines"]
    assert len(read_prompts("x\n" * MOST_PROMPTS)) == MOST_PROMPTS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "^there are no prompts; write one in each line$"),
        (" \n\n\t\n", "^there are no prompts"),
        ("x\n" * (MOST_PROMPTS + 1), "^there are 501 prompts, and at most 500 are compared in one go$"),
    ],
)
def test_a_list_of_prompts_that_is_none(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_prompts(text)
