"""World and reader: rules of the world, and verdicts on generated stories, changed ones and nonsense."""

import random
import re
from collections.abc import Callable

import pytest

from gptdesk.starter.stories import generate_story, story
from gptdesk.starter.world.frames import messages, synonyms
from gptdesk.starter.world.lexicon import exits, lexicon
from gptdesk.starter.world.novelty import Reference, novelty
from gptdesk.starter.world.planner import tasks
from gptdesk.starter.world.reader import read
from gptdesk.starter.world.scores import score, sentences, words_of
from gptdesk.starter.world.state import World, operator
from gptdesk.starter.world.variety import variety

STORIES = 160


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [story(5, index) for index in range(STORIES)]


def test_own_stories_are_in_grammar_and_without_contradictions(texts: list[str]) -> None:
    verdicts = [read(text) for text in texts]
    for verdict, text in zip(verdicts, texts, strict=True):
        assert not verdict.unmatched, text
        assert not verdict.contradictions, (verdict.contradictions, text)
    found = score(verdicts)
    assert (found.in_grammar, found.contradictions, found.texts) == (1.0, 0.0, STORIES)
    assert found.events > 120


Change = Callable[[str, random.Random], str | None]


def other_thing(text: str, chance: random.Random) -> str | None:
    """Replace one mention of a thing by another thing."""
    nouns = {noun for name in ("toy", "flyer", "ingredient", "remedy", "material") for noun in lexicon().lists[name]}
    found = [match for match in re.finditer(r"\bthe ([a-z]+)\b", text) if match[1] in nouns]
    if not found:
        return None
    match = chance.choice(found)
    other = chance.choice([noun for noun in ("trumpet", "crown", "teapot") if noun not in text])
    return text[: match.start(1)] + other + text[match.end(1) :]


def shuffled(text: str, chance: random.Random) -> str | None:
    """Shuffle the sentences of the longest paragraph."""
    paragraphs = text.split("\n\n")
    longest = max(range(len(paragraphs)), key=lambda index: len(paragraphs[index]))
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", paragraphs[longest])
    chance.shuffle(sentences)
    changed = "\n\n".join([*paragraphs[:longest], " ".join(sentences), *paragraphs[longest + 1 :]])
    return changed if changed != text else None


def reversed_story(text: str, chance: random.Random) -> str | None:
    """Reverse the order of the paragraphs."""
    return "\n\n".join(reversed(text.split("\n\n"))) if "\n\n" in text else None


def without_a_journey(text: str, chance: random.Random) -> str | None:
    """Remove a sentence in which somebody goes somewhere."""
    journeys = re.findall(r"(?<=[.!?] )(?:They|So off they|And off they)\b[^.\"]* to the [^.\"]*\. ", text)
    return text.replace(chance.choice(journeys), "") if journeys else None


@pytest.mark.parametrize(
    ("change", "caught"), [(other_thing, 0.95), (shuffled, 0.9), (reversed_story, 0.85), (without_a_journey, 0.7)]
)
def test_changed_stories_are_caught(texts: list[str], change: Change, caught: float) -> None:
    chance = random.Random(1)
    changed = [new for text in texts if (new := change(text, chance)) is not None]
    assert len(changed) >= 15
    verdicts = [read(text) for text in changed]
    assert sum(bool(v.contradictions or v.unmatched) for v in verdicts) >= caught * len(verdicts)
    assert sum(len(v.contradictions) for v in verdicts) >= 0.7 * len(verdicts)


MIA = "Tom's best friend was a brave girl named Mia."
KITE = "Once upon a time, there was a shy boy named Tom. Tom had a red kite and took it everywhere."


@pytest.mark.parametrize(
    ("text", "contradiction"),
    [
        (f"{KITE} Now Tom had the kite back, and all was well.", "goal"),  # it was never lost
        (f"{KITE} They went to the old mill. They went to the beach.", "exit"),
        (f"{KITE} The owl gave the kite to Tom.", "absent"),
        (f"{KITE} She took the kite and held it tight.", "pronoun"),
        (f"{KITE} But now the kite was gone.", "unresolved"),
        (f"{KITE} We went to the beach.", "pronoun"),  # nobody tells this who was there
        (f"{KITE} {MIA} Tom and Tom were playing tag.", "name"),
        (f"{KITE} Tom's best friend was a brave girl named Tom.", "kind"),
        (KITE.replace("boy", "girl"), "kind"),
        (KITE.replace("boy named Tom", "fox named Mia").replace("Tom", "Mia"), "kind"),
        (f"{KITE} The tree shook with laughter.", ""),
    ],
)
def test_contradictions_have_names(text: str, contradiction: str) -> None:
    verdict = read(text)
    if contradiction:
        assert contradiction in verdict.contradictions
        assert not verdict.unmatched
    else:
        assert verdict.unmatched


def test_wrong_english_is_out_of_grammar() -> None:
    assert read(KITE).unmatched == []
    assert read(f"{KITE} {MIA} They passed a useless rope with a cat on top.").unmatched == []
    for wrong in ("Tom had an red kite and took it everywhere.", "tom had a red kite.", "Kite the Tom had.", "xyz"):
        assert read(f"{KITE} {wrong}").unmatched == [wrong]
    assert read("Tom had a wooden kite and took it everywhere.").unmatched  # no kite looks like that


def test_a_story_that_was_cut_off_may_leave_its_goal_open() -> None:
    text = f"{KITE} But now the kite was gone."
    assert read(text).contradictions == ["unresolved"]
    assert read(text, whole=False).contradictions == []


def test_missing_words_are_missed() -> None:
    titled = next(one for one in (generate_story(5, index) for index in range(100)) if one.form == "words")
    line, rest = titled.text.split("\n", 1)
    assert read(titled.text).contradictions == []
    assert read(f"{line}, submarine\n{rest}").contradictions == ["words"]


def test_no_texts_no_score() -> None:
    with pytest.raises(ValueError, match="no texts"):
        score([])
    with pytest.raises(ValueError, match="no texts"):
        novelty([], Reference([[1]]))


def test_seen_sentences_do_not_count_as_new() -> None:
    verdict = read(f"{KITE} But now the kite was gone. xyz")
    first, second, third = sentences(KITE + " But now the kite was gone.")
    assert score([verdict], seen={first, third}).unseen == pytest.approx(1 / 3)
    assert score([verdict], seen={first, second, third}).unseen == 0
    assert score([verdict]).unseen == 1
    assert score([verdict]).in_grammar == 3 / 4


def test_the_longest_run_is_the_longest() -> None:
    reference = [[1, 2, 3, 4, 1, 5, 6, 7], [8, 9, 10]]
    for text, longest in (([0, 2, 3, 4, 1, 11], 4), ([8, 9, 0], 2), ([12], 0), (reference[0], 8), ([7, 8, 9], 2)):
        assert novelty([text], Reference(reference)).longest_run == longest
    found = novelty([[1, 2, 3, 4], [9, 10, 3, 4]], Reference(reference))
    assert found.unseen[2] == pytest.approx(1 / 6)  # only 10, 3 is new
    assert found.unseen[4] == pytest.approx(1 / 2)
    assert found.usual_run == 4
    assert novelty([[0]] * 19 + [[1, 2]], Reference(reference)).usual_run == 0  # 95 of 100
    assert novelty([[0]] * 18 + [[1, 2]] * 2, Reference(reference)).usual_run == 2
    assert words_of('"No," said the fox.') == ['"', "No", ",", '"', "said", "the", "fox", "."]


def test_copies_are_not_novel(texts: list[str]) -> None:
    ids: dict[str, int] = {}
    rows = [[ids.setdefault(word, len(ids)) for word in words_of(text)] for text in [*texts, *fresh_texts()]]
    reference, beside = rows[:STORIES], Reference(rows[:STORIES])
    fresh, copied = novelty(rows[STORIES:], beside), novelty([reference[3], reference[8][5:]], beside)
    assert set(copied.unseen.values()) == {0.0}
    assert copied.longest_run == max(len(reference[3]), len(reference[8]) - 5)
    assert copied.near_duplicates == 1
    beginnings = [row[: len(row) * 2 // 3] for row in reference]
    assert novelty(beginnings, beside).near_duplicates == 1
    assert (
        novelty([row[:40] + new for row, new in zip(reference, rows[STORIES:], strict=False)], beside).near_duplicates
        < 0.1
    )
    assert fresh.near_duplicates == 0
    assert fresh.longest_run < 50
    assert list(fresh.unseen.values()) == sorted(fresh.unseen.values())
    assert fresh.unseen[12] > 0.8


def fresh_texts() -> list[str]:
    return [story(6, index) for index in range(60)]


def test_one_story_again_and_again_has_no_variety(texts: list[str]) -> None:
    some = texts[:40]
    various = variety(some, [read(text) for text in some], words=4000)
    dull = variety(some[:1] * 40, [read(some[0])] * 40, words=4000)
    assert dull.plots == 1
    assert various.plots >= 10
    assert dull.openings == 1 / 40
    assert various.openings > 0.9
    assert dull.distinct[3] < 0.2 * various.distinct[3]
    assert dull.packed < 0.2 * various.packed


def test_the_world_refuses_what_cannot_be() -> None:
    world = World()
    take = operator("take A X P: at A P, lies X P -> has A X")
    give = operator("give A B X: has A X -> has B X")
    keys = {"A": "Mia", "B": "Tom", "X": "kite", "P": "mill"}
    world.place |= {"Mia": "mill", "Tom": "pond"}
    assert world.violations(take, keys) == ["lies"]
    world.holder["kite"] = "@mill"
    assert world.violations(take, keys) == []
    world.apply(take, keys)
    assert world.violations(give, keys) == ["absent"]
    world.place["Tom"] = "mill"
    assert world.violations(give, keys) == []
    world.apply(give, keys)
    assert world.holder == {"kite": "Tom"}


def test_the_text_files_fit_together() -> None:
    """Every step of every plan is an event or a task, every sort a list, every way leads in both directions."""
    lists = lexicon().lists
    for name, task in tasks().items():
        for method in task.methods:
            for step in method.steps:
                assert step.name == "/" or step.name in tasks() or step.name in messages(), (name, step)
                for _, sort in step.args:
                    assert not sort or sort[0] == "=" or sort.partition(".")[0] in lists, (name, step)
    for message in messages().values():
        for sort in message.operator.sorts.values():
            assert not sort or sort in lists, message.operator
    for place in lists["place"]:
        assert len(exits(place)) >= 2
        assert all(place in exits(other) for other in exits(place))
    assert len(synonyms()[1]) > 80
