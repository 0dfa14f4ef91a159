"""The stats line of a generation, part by part, without a page."""

from dataclasses import replace

import pytest

from gptdesk.generation import GenerationResult, GenerationStart, GenerationStep
from gptdesk.page.stats import stats_details, stats_line
from models.manager import ModelKey

KEY = ModelKey("starter")
START = GenerationStart(
    seed=7, prompt_tokens=12, known_tokens=0, dropped_tokens=0, context=256, kernels="addmm", seconds=0.05
)


def parts(result: GenerationResult) -> list[str]:
    """Return the parts of the line and of the details, but for the memory, which is that of this process."""
    details = stats_details(result, KEY).replace(str(KEY), KEY.name).removeprefix("- ").split("\n- ")
    found = stats_line(result).split(" · ") + details
    (memory,) = [part for part in found if part.startswith("memory ")]
    assert 0.01 < float(memory.split()[1]) < 100
    return [part for part in found if part != memory]


def result(*events: GenerationStart | GenerationStep, n: int = 1) -> GenerationResult:
    found = GenerationResult(n)
    for event in events:
        found.add(event)
    return found


def step(row: int, seconds: float, *, token: int | None = 5, ended: str | None = None) -> GenerationStep:
    return GenerationStep(row, "x", token, -1.0, ended, seconds)  # type: ignore[arg-type]


def test_before_the_prompt_is_read_there_are_no_figures() -> None:
    assert stats_line(GenerationResult(1)) == "Reading the prompt …"
    assert stats_details(GenerationResult(1), KEY) == ""


def test_a_prompt_that_is_read_has_no_speed_yet() -> None:
    assert str(KEY) in stats_details(result(START), KEY)
    assert parts(result(START)) == ["0 tokens", "**starter** by addmm", "prompt 12 tokens in 50 ms", "seed 7"]


def test_known_tokens_are_named() -> None:
    found = parts(result(replace(START, prompt_tokens=1500, known_tokens=1400)))
    assert "prompt 1,500 tokens (1,400 of them known) in 50 ms" in found


def test_the_speed_is_of_all_sequences_after_their_first_token() -> None:
    events = [step(row, 0.06) for row in (0, 1)] + [step(row, 0.06 + i / 10) for i in range(1, 6) for row in (0, 1)]
    found = parts(result(START, *events, n=2))
    assert found[:2] == ["12 tokens", "20 tokens/s"]
    assert "first token after 60 ms" in found
    assert not any("ended" in part for part in found)


def test_one_token_has_no_speed() -> None:
    assert not any("tokens/s" in part for part in parts(result(START, step(0, 0.06, ended="stop"))))


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (("stopped",), "you stopped it"),
        (("length", "length"), "max new tokens reached"),
        (("stop", "length", "stop"), "end of text (texts 1, 3), max new tokens reached (text 2)"),
        (("context",), "context is full"),
        (("deadline",), "time limit reached"),
    ],
)
def test_the_end_is_told_once_all_have_ended(reasons: tuple[str, ...], words: str) -> None:
    found = result(START, n=len(reasons))
    for row, reason in enumerate(reasons):
        assert not any("ended" in part for part in parts(found))
        found.add(step(row, 0.1, token=None, ended=reason))
    assert f"ended: {words}" in parts(found)


def test_a_stop_string_is_named_as_one_would_type_it() -> None:
    found = result(START, replace(step(0, 0.1, ended="stop"), stop_string='a*"\n'), step(1, 0.1, ended="stop"), n=2)
    assert found.finish_reasons == ["stop", "stop"]
    assert 'ended: stop string "a\\*\\\\"\\\\n" (text 1), end of text (text 2)' in parts(found)


def test_a_cut_prompt_is_a_sentence_below_the_line() -> None:
    line, empty, cut = stats_line(result(replace(START, prompt_tokens=236, dropped_tokens=1200))).split("\n")
    assert line == "0 tokens"
    assert empty == ""
    assert cut == (
        "⚠ The model reads 256 tokens at most, new ones included, so it did not read the first 1,200 tokens of the "
        "prompt: that makes room for 21 new tokens."
    )


def test_a_text_to_which_nothing_was_added_is_taken_as_finished() -> None:
    ended = result(START, replace(step(0, 0.1, ended="stop"), text=""))
    line, _, note = stats_line(ended).split("\n")
    assert line == "1 token · ended: end of text"
    assert note.startswith("The model takes the text as finished: it added nothing.")
    by_string = replace(step(0, 0.1, ended="stop"), text="", stop_string="a")
    for more in (step(0, 0.1, ended="stop"), by_string, replace(step(0, 0.1, ended="stopped"), text="")):
        assert "finished" not in stats_line(result(START, more))
