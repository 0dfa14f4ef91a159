"""The story generator tells correct English about a world that never contradicts itself, and never changes."""

import hashlib
import random
import re
from collections import Counter

import pytest

from gptdesk.starter.stories import PLOTS, Told, stories, story, tell
from gptdesk.starter.telling import Dice, Event, World, polish

# The shipped model learnt from these very stories: who changes this line retrains it.
GOLDEN = "f73d9dd812116294a4efa1fbed7efc1ad8d4d047b71660f5d9ffa37c397c5558"


@pytest.fixture(scope="module")
def told() -> list[Told]:
    return [tell(7, index) for index in range(2000)]


def test_the_first_hundred_stories_never_change() -> None:
    digest = hashlib.sha256("\0".join(stories(1, 100)).encode()).hexdigest()
    assert digest == GOLDEN


def test_a_story_depends_on_its_seed_and_index_only() -> None:
    random.seed(1)
    first = story(3, 5)
    random.seed(2)
    assert [story(3, 4), story(3, 5)] == list(stories(3, 6))[4:]
    assert story(3, 5) == first
    assert len({story(seed, index) for seed in range(20) for index in range(20)}) == 400


def test_stories_leave_global_chance_alone() -> None:
    state = random.getstate()
    story(1, 1)
    assert random.getstate() == state


def test_every_plot_is_told_and_none_too_often(told: list[Told]) -> None:
    counts = Counter(t.plot for t in told)
    assert len(counts) == len(PLOTS)
    assert min(counts.values()) > 0.04 * len(told)
    assert max(counts.values()) < 0.15 * len(told)


def test_stories_are_80_to_200_words_long(told: list[Told]) -> None:
    lengths = [len(t.text.split()) for t in told]
    assert min(lengths) >= 80
    assert max(lengths) <= 200


def test_the_vocabulary_is_that_of_a_small_world(told: list[Told]) -> None:
    words = {word.lower() for t in told for word in re.findall(r"[A-Za-z']+", t.text)}
    assert 800 <= len(words) <= 1500


def sentences(text: str) -> list[str]:
    """Sentences by their end marks; speech and what follows it ("...!" cried the fox.) stay one."""
    return [s for paragraph in text.split("\n\n") for s in re.split(r'(?<=[.!?]) |(?<=\.") ', paragraph)]


def test_sentences_begin_with_a_capital_and_end_with_a_mark(told: list[Told]) -> None:
    for t in told:
        for sentence in sentences(t.text):
            assert re.match(r'"?[A-Z]', sentence) or re.match(r"[a-z]+ ", sentence), sentence
            assert re.search(r'[.!?]"?$', sentence), sentence
        for paragraph in t.text.split("\n\n"):
            assert re.match(r'"?[A-Z]', paragraph), paragraph
            assert paragraph.count('"') % 2 == 0, paragraph


def test_a_small_letter_after_a_mark_follows_speech_only(told: list[Told]) -> None:
    for t in told:
        for found in re.finditer(r'[.!?]"? [a-z]', t.text):
            assert found[0][1] == '"', t.text[found.start() - 40 : found.end() + 20]
            assert found[0][0] != ".", t.text[found.start() - 40 : found.end() + 20]


def test_a_and_an_agree_with_the_next_word(told: list[Told]) -> None:
    for t in told:
        assert not re.search(r"\b[Aa] [aeiouAEIOU]|\b[Aa]n (?!hour)[^aeiou]", t.text), t.text


def test_no_frame_shows_through(told: list[Told]) -> None:
    for t in told:
        assert not re.search(r"[{}<>_]|\.\.|,,| ,| \.|,\.|  |None|\bthe the\b|\ba the\b", t.text), t.text


def test_openings_are_diverse(told: list[Told]) -> None:
    starts = Counter(" ".join(t.text.split()[:4]) for t in told)
    assert starts.most_common(1)[0][1] <= 0.12 * len(told)
    assert len({t.text.split(".")[0] for t in told}) > 0.7 * len(told)
    first_words = {t.text.split()[0] for t in told}
    assert {"Once", "The", "One", "Mia"} <= first_words


def test_only_the_cast_is_named(told: list[Told]) -> None:
    """A capital in the middle of a sentence is a name of this story, I, a day or Grandmother."""
    days = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
    for t in told:
        names = {person.call for person in t.cast} | days | {"I", "Grandmother"}
        assert set(re.findall(r"[a-z,] ([A-Z]\w*)", t.text)) <= names, t.text


def test_the_two_friends_share_neither_name_nor_pronoun(told: list[Told]) -> None:
    for t in told:
        first, second = t.cast
        assert first.call != second.call
        assert {first.he, second.he} == {"he", "she"}
        assert str(first) in t.text.replace("The ", "the ")
        assert str(second) in t.text.replace("The ", "the ")


def replay(events: tuple[Event, ...]) -> None:
    """Go through a story's events with bookkeeping of its own, and check that each was possible."""
    place: dict[str, str] = {}
    holder: dict[str, str] = {}
    for event in events:
        who, thing, other = event.who, event.thing, event.other
        if event.verb == "go":
            place[who] = other
        elif event.verb == "appear":
            assert thing not in holder, event
            holder[thing] = who
        elif event.verb == "take":
            assert holder[thing] == place[who], event
            holder[thing] = who
        else:
            assert holder[thing] == who, event
            if event.verb == "give":
                assert place[who] == place[other], event
                holder[thing] = other
            elif event.verb == "drop":
                holder[thing] = other
            else:
                assert event.verb == "use up", event
                del holder[thing]


def test_nobody_gives_takes_or_uses_what_is_not_there(told: list[Told]) -> None:
    for t in told:
        replay(t.events)
    assert {event.verb for t in told for event in t.events} == {"go", "appear", "take", "drop", "give", "use up"}


def test_what_changes_hands_is_spoken_of(told: list[Told]) -> None:
    for t in told:
        for event in t.events:
            if event.verb in ("give", "use up"):
                assert re.search(rf"\b{event.thing.split()[-1]}\b", t.text), (event, t.text)
            if event.verb == "give":
                for person in (event.who, event.other):
                    assert person.removeprefix("the ") in t.text, (event, t.text)


def test_what_was_lost_or_bought_ends_with_its_owner(told: list[Told]) -> None:
    for t in told:
        first, second = t.cast
        gains = [e for e in t.events if e.verb in ("give", "take")]
        if t.plot in ("lost", "out_of_reach"):
            assert first.call in (gains[-1].who if gains[-1].verb == "take" else gains[-1].other)
        if t.plot in ("gift", "trade", "broken"):
            assert gains[-1].other == second.call


def test_the_world_refuses_what_cannot_be() -> None:
    world = World()
    world.go("garden", "Mia")
    world.go("pond", "Tom")
    world.appear("Mia", "kite")
    with pytest.raises(AssertionError, match="Tom does not have kite"):
        world.give("Tom", "kite", to="Mia")
    with pytest.raises(AssertionError, match="not in one place"):
        world.give("Mia", "kite", to="Tom")
    world.drop("Mia", "kite")
    with pytest.raises(AssertionError, match="Tom cannot reach kite"):
        world.take("Tom", "kite")
    with pytest.raises(AssertionError, match="already there"):
        world.appear("Tom", "kite")


@pytest.mark.parametrize(
    ("frame", "english"),
    [
        ("a owl saw a fox.", "An owl saw a fox."),
        ("it slipped. the cup fell. a orange one!", "It slipped. The cup fell. An orange one!"),
        ('"no!" cried the fox. "go away." the bear went.', '"No!" cried the fox. "Go away." The bear went.'),
    ],
)
def test_polish(frame: str, english: str) -> None:
    assert polish(frame) == english


def test_earlier_items_are_picked_more_often() -> None:
    dice = Dice(0, 0)
    counts = Counter(dice.pick("abcd", flat=1) for _ in range(20_000))
    total = 1 + 1 / 2 + 1 / 3 + 1 / 4
    for rank, item in enumerate("abcd"):
        assert counts[item] / 20_000 == pytest.approx(1 / (rank + 1) / total, abs=0.015)
