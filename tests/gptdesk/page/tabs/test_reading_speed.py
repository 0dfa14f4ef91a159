"""Reading speed: what is shown of texts at which time, by a clock of the test."""

import pytest

from gptdesk.page.streaming import IDLE
from gptdesk.page.tabs.generate.reading_speed import ReadingPace


class Clock:
    """Time in seconds, as the test sets it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_speed_texts_are_shown_whole(clock: Clock) -> None:
    pace = ReadingPace(0, clock=clock)
    assert pace.shown(["a b c", ""]) == ["a b c", ""]
    assert (pace.is_behind, pace.note) == (False, "")


def test_words_come_at_the_speed_and_the_end_is_the_whole_text(clock: Clock) -> None:
    pace, text = ReadingPace(60, clock=clock), " One two,\n\nthree  four \n"
    clock.now += 50  # the prompt is read
    assert pace.shown([text]) == [" One"]
    assert pace.is_behind
    shown = []
    for _ in range(3):
        clock.now += 0.9
        before = pace.shown([text])
        assert pace.wait == pytest.approx(0.1, abs=1e-3)
        clock.now += pace.wait + 1e-5
        shown += pace.shown([text])
        assert len(before[0]) < len(shown[-1])
    assert shown == [" One two,", " One two,\n\nthree", text]
    assert not pace.is_behind
    assert pace.note == "shown at 60 words a minute"


def test_nothing_is_made_up_for_after_a_pause_of_the_model(clock: Clock) -> None:
    pace = ReadingPace(60, clock=clock)
    assert pace.shown(["one"]) == ["one"]
    assert not pace.is_behind
    clock.now += 100
    assert pace.shown(["ones"]) == ["ones"]  # the word grows
    assert pace.shown(["ones two three four"]) == ["ones"]
    clock.now += 1
    assert pace.shown(["ones two three four"]) == ["ones two"]


def test_each_text_has_its_own_place_and_one_without_spaces_appears_in_parts(clock: Clock) -> None:
    pace, texts = ReadingPace(600, clock=clock), ["a b c", "x" * 50, ""]
    assert pace.shown(texts) == ["a", "x" * 20, ""]
    clock.now += 0.1001
    assert pace.shown(texts) == ["a b", "x" * 40, ""]
    clock.now += 0.1
    assert pace.shown(texts) == texts
    assert 0 < pace.wait <= IDLE


@pytest.mark.parametrize("speed", [-1, 1001, None, "fast", float("nan")])
def test_another_speed_is_refused(speed: object) -> None:
    with pytest.raises(ValueError, match=r"the reading speed is a number from 0 to 1,000 words a minute"):
        ReadingPace(speed)
