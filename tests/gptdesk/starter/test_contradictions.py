"""Contradictions of stories: none in true ones, planted ones found with the sentence that they break."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gptdesk.starter import stories
from gptdesk.starter.__main__ import main
from gptdesk.starter.contradictions import ENDINGS, LONGEST, OPENINGS, StoryCheck, find_contradictions
from gptdesk.starter.stories import generate_story, story
from gptdesk.starter.world.clashes import meanings
from gptdesk.starter.world.frames import Message, messages
from gptdesk.starter.world.lexicon import Entity, lexicon, place
from gptdesk.starter.world.planner import Planner
from gptdesk.starter.world.reader import SENTENCE_END
from gptdesk.starter.world.state import PEOPLE, PLACES, THINGS, World
from gptdesk.starter.world.teller import Teller, polish

Scope = Mapping[str, Entity | str]
SPECIAL = {"absent", "at", "door", "exit", "has", "is", "lies", "time", "weather"}  # with reasons of their own


@dataclass(frozen=True)
class Planted:
    """Story with a contradiction: its kind, the text that has it, and the text that it breaks, if it is known."""

    text: str
    kind: str
    lie: str
    breaks: str


class PlantingPlanner(Planner):
    """Planner that tells one impossible event at a given step, and goes on with the true story."""

    plant: Callable[["PlantingPlanner"], Planted | None]
    step: int

    def __init__(self, dice: object, teller: Teller) -> None:
        super().__init__(dice, teller)  # type: ignore[arg-type]
        self.told: dict[tuple[str, ...], str] = {}  # sentence that has set a part of the state
        self.seen: dict[str, Entity | str] = {}
        self.planted: Planted | None = None
        self.steps = 0

    def happen(self, name: str, scope: dict[str, Entity | str]) -> None:
        before = self.world.copy()
        super().happen(name, scope)
        for part in _changed(before, self.world):
            self.told[part] = polish(self.teller._paragraphs[-1][-1])
        self.seen |= {(v.key if isinstance(v, Entity) else v): v for v in scope.values()}
        self.steps += 1
        if self.planted is None and self.steps >= self.step and {"A", "B"} <= set(scope):
            self.planted = type(self).plant(self)

    def tell(self, message: Message, scope: Scope) -> str:
        """Tell an event as a sentence of its own, and return it."""
        self.teller.paragraph()
        self.teller.tell(message, scope)
        sentence = polish(self.teller._paragraphs[-1][-1])
        self.teller.paragraph()
        return sentence


def _changed(before: World, after: World) -> Iterator[tuple[str, ...]]:
    for name, old, new in (("at", before.place, after.place), ("holder", before.holder, after.holder)):
        yield from ((name, key) for key in {*old, *new} if old.get(key) != new.get(key))
    yield from ((key,) for key in after.setting if before.setting.get(key) != after.setting[key])
    yield from before.facts ^ after.facts


def scopes(planner: PlantingPlanner, message: Message, chance: random.Random) -> Iterator[dict[str, Entity | str]]:
    """Yield some ways to give an event variables that were in the story so far."""
    entities = [one for one in planner.seen.values() if isinstance(one, Entity)]
    main = [one for one in entities if one.gender]
    things = [one for one in entities if one.key in planner.world.holder or ("holder", one.key) in planner.told]
    places = [place(name) for name in lexicon().lists["place"]]
    for _ in range(6):
        chance.shuffle(main)
        scope: dict[str, Entity | str] = {}
        for letter, sort in message.operator.sorts.items():
            some: list[Entity] = [main[0]] if letter == "A" else main[1:2] if letter == "B" else []
            some = things if letter in THINGS else places if letter in PLACES else some
            if letter in "CDE":
                some = [one for one in entities if "kind" in one.forms and not one.gender]
            elif letter not in PEOPLE + THINGS + PLACES:
                scope[letter] = chance.choice(lexicon().lists[sort])
                continue
            if not some:
                break
            scope[letter] = chance.choice(some)
        else:
            yield scope


def impossible(kind: str, chance: random.Random) -> Callable[[PlantingPlanner], Planted | None]:
    """Return what plants an event that violates one condition, of this kind, which an earlier sentence has set."""

    def plant(planner: PlantingPlanner) -> Planted | None:
        every = list(messages().values())
        chance.shuffle(every)
        for message in every:
            for scope in scopes(planner, message, chance):
                keys = {letter: v.key if isinstance(v, Entity) else v for letter, v in scope.items()}
                if set(planner.world.violations(message.operator, keys)) != {kind}:
                    continue
                parts: list[tuple[str, ...]]
                if kind == "absent":
                    parts = [("at", one) for one in planner.world.apart(message.operator, keys)]
                else:
                    [atom, *_] = planner.world.violated(message.operator, keys)
                    args = [keys.get(arg, arg) for arg in atom.args]
                    parts = {
                        "has": [("holder", args[-1])],
                        "lies": [("holder", args[0])],
                        "at": [("at", args[0])],
                        "exit": [("at", args[0])],
                        "weather": [("weather",)],
                        "time": [("time",)],
                    }.get(kind, [(kind, *args)])
                told = [planner.told[part] for part in parts if part in planner.told]
                if told and len(told) == len(parts):
                    return Planted("", kind, planner.tell(message, scope), " / ".join(told))
        return None

    return plant


def two_in_one(chance: random.Random) -> Callable[[PlantingPlanner], Planted | None]:
    """Return what plants an event of two people who are one."""

    def plant(planner: PlantingPlanner) -> Planted | None:
        hero = next(one for one in planner.seen.values() if isinstance(one, Entity) and one.gender)
        if hero.first_person:
            return None
        sentence = polish(f"{hero.key} and {hero.key} were playing {chance.choice(['tag', 'skittles'])}.")
        planner.teller.paragraph()
        planner.teller._paragraphs[-1].append(sentence)
        planner.teller.paragraph()
        return Planted("", "name", sentence, "")

    return plant


def other_trait(chance: random.Random) -> Callable[[PlantingPlanner], Planted | None]:
    """Return what plants a second introduction that differs from the first."""

    def plant(planner: PlantingPlanner) -> Planted | None:
        hero = next(one for one in planner.seen.values() if isinstance(one, Entity) and one.gender)
        if "named" not in hero.forms["first"] or hero.first_person:
            return None
        trait = chance.choice([one for one in lexicon().lists["traits"] if one not in hero.forms["first"]])
        first = f"a {trait} {hero.forms['kind']} named {hero.key}"
        other = replace(hero, forms={**hero.forms, "first": first})
        return Planted("", "kind", planner.tell(messages()["intro"], {"A": other}), "")

    return plant


def other_spot(chance: random.Random) -> Callable[[PlantingPlanner], Planted | None]:
    """Return what plants a view that belongs to another place."""

    def plant(planner: PlantingPlanner) -> Planted | None:
        hero = next(one for one in planner.seen.values() if isinstance(one, Entity) and one.gender)
        here = planner.world.place[hero.key]
        if here[0] == "~":
            return None
        other = chance.choice([one for one in lexicon().lists["place"] if one != here])
        shown = replace(place(other), forms=place(here).forms)
        return Planted("", "view", planner.tell(messages()["view"], {"A": hero, "P": shown}), "")

    return plant


def planted(seed: int, index: int, plant: Callable[[PlantingPlanner], Planted | None]) -> Planted | None:
    """Return story `index` of a collection with a contradiction; None if there was no way to plant it."""
    planners: list[PlantingPlanner] = []

    class Planting(PlantingPlanner):
        step = 6 + index % 6

        def __init__(self, dice: object, teller: Teller) -> None:
            super().__init__(dice, teller)
            planners.append(self)

    Planting.plant = staticmethod(plant)  # type: ignore[assignment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stories, "Planner", Planting)
        text = generate_story(seed, index).text
    found = planners[0].planted
    return None if found is None else replace(found, text=text)


def caught(check: StoryCheck, one: Planted) -> tuple[bool, bool]:
    """Return whether a planted contradiction was found, and whether with the sentence that it breaks."""
    begin = check.text.index(one.lie)
    found = [
        c
        for c in check.contradictions
        if check.sentences[c.sentence].begin < begin + len(one.lie) and begin < check.sentences[c.sentence].end
    ]
    linked = [check.part(c.breaks) for c in found if c.breaks is not None]
    return bool(found), any(
        text in sentence or sentence in text for text in linked for sentence in one.breaks.split(" / ")
    )


PLANTS: dict[str, Callable[[random.Random], Callable[[PlantingPlanner], Planted | None]]] = {
    **{
        kind: lambda chance, kind=kind: impossible(kind, chance)  # type: ignore[misc]
        for kind in ("has", "lies", "exit", "absent", "weather", "goal", "friend")
    },
    "name": two_in_one,
    "kind": other_trait,
    "view": other_spot,
}


def test_planted_contradictions_are_found_with_the_sentence_that_they_break() -> None:
    chance, results, linked = random.Random(3), {}, []
    for kind, plant in PLANTS.items():
        made = [one for index in range(8) if (one := planted(2000, index, plant(chance))) is not None][:3]
        outcomes = [caught(find_contradictions(one.text), one) for one in made]
        results[kind] = [found for found, _ in outcomes]
        linked += [link for one, (found, link) in zip(made, outcomes, strict=True) if found and one.breaks]
    every = [found for some in results.values() for found in some]
    assert all(any(some) for some in results.values() if some), results
    assert len(every) >= 24
    assert sum(every) >= 0.75 * len(every), results  # the others name nothing that they contradict
    assert sum(linked) >= 0.9 * len(linked)


def test_true_stories_have_none_wherever_they_break_off() -> None:
    for index in range(40):
        text = story(31, index)
        whole = find_contradictions(text)
        assert (whole.contradictions, whole.uncertain, whole.of_the_world) == ((), 0, True), text
        assert whole.known == len(whole.sentences)
        for end in SENTENCE_END.finditer(text):
            part = find_contradictions(text[: end.end()])
            assert (part.contradictions, part.uncertain) == ((), 0), text[: end.end()]


def test_sentences_cover_the_text_in_order() -> None:
    for index in range(12):
        check = find_contradictions(f"  {story(32, index)}\n\nAnd one more. ")
        ends = [0]
        for one in check.sentences:
            assert not check.text[ends[-1] : one.begin].strip()
            assert one.begin < one.end
            ends.append(one.end)
        assert not check.text[ends[-1] :].strip()
        assert not check.sentences[-1].known


MIA = "Tom's best friend was a brave girl named Mia."
KITE = "Once upon a time, there was a shy boy named Tom. Tom had a red kite and took it everywhere."


@pytest.mark.parametrize(
    ("text", "lie", "breaks", "why"),
    [
        (
            f"{KITE} They went to the old mill. They went to the beach.",
            "They went to the beach.",
            "They went to the old mill.",
            "Tom is at the old mill, and no way leads from there to the beach",
        ),
        (
            f"{KITE} Tom's best friend was a brave girl named Tom.",
            "Tom's best friend was a brave girl named Tom.",
            "Once upon a time, there was a shy boy named Tom.",
            "Tom is a shy boy, not a brave girl",
        ),
        (
            f"{KITE} Now Tom had the kite back, and all was well.",
            "Now Tom had the kite back, and all was well.",
            None,
            "Nothing before says that Tom has a problem to solve",
        ),
    ],
)
def test_reasons_are_plain_sentences(text: str, lie: str, breaks: str | None, why: str) -> None:
    check = find_contradictions(text)
    found = [
        (check.part(one.sentence), None if one.breaks is None else check.part(one.breaks), one.why)
        for one in check.contradictions
    ]
    assert (lie, breaks, f"{why}.") in found
    assert {sentence for sentence, _, _ in found} == {lie}


def test_the_command_lists_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "story.txt"
    file.write_text(f"{KITE} They went to the old mill. They went to the beach.", "utf-8")
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "They went to the beach.",
        "  Tom is at the old mill, and no way leads from there to the beach.",
        "  It breaks: They went to the old mill.",
        "contradictions: 1",
    ]
    file.write_bytes(b"\xff\xfe")
    assert main(["check", str(file)]) == 2
    file.write_text("The train was late.", "utf-8")
    assert main(["check", str(file)]) == 2
    assert "not a story of the starter's world" in capsys.readouterr().err


def test_texts_of_other_worlds_have_none() -> None:
    for text in (
        "The train was late again, and nobody on the platform spoke. It began to rain.",
        "x",
        '"' * 500,
        "<b>",
    ):
        check = find_contradictions(text)
        assert (check.of_the_world, check.contradictions) == (False, ())
    for text, fault in (("  ", "empty"), ("a" * (LONGEST + 1), "at most")):
        with pytest.raises(ValueError, match=fault):
            find_contradictions(text)


def test_nothing_is_said_of_what_an_unknown_sentence_may_have_told() -> None:
    gone = f"{KITE} But now the kite was gone."
    sure = find_contradictions(f"{gone} They went to the old mill. They went to the beach.")
    unsure = find_contradictions(
        f"{gone} They went to the old mill. Then a rocket took them away. They went to the beach."
    )
    assert len(sure.contradictions) == len(unsure.contradictions) + unsure.uncertain == 1
    assert unsure.uncertain == 1
    middle = find_contradictions("Tom gave Mia the kite. They went to the old mill. They went to the beach.")
    assert {one.kind for one in middle.contradictions} <= {"exit"}


def test_an_open_problem_counts_once_the_story_has_ended() -> None:
    gone = f"{KITE} {MIA} But now the kite was gone."
    assert not find_contradictions(gone).contradictions
    ended = find_contradictions(f"{gone} From that day on, they were better friends than ever.")
    assert [(one.kind, ended.part(one.breaks or 0)) for one in ended.contradictions if one.kind == "unresolved"] == [
        ("unresolved", "But now the kite was gone.")
    ]


def test_stories_begin_and_end_as_the_reader_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    happen = Planner.happen
    monkeypatch.setattr(Planner, "happen", lambda self, name, scope: (told.append(name), happen(self, name, scope))[1])
    for index in range(400):
        told.clear()
        generate_story(33, index)
        assert told[0] in OPENINGS
        assert told[-1] in ENDINGS or told[-1].startswith("q-")


def test_every_condition_has_a_reason() -> None:
    for message in messages().values():
        for atom in message.operator.before:
            assert atom.predicate in SPECIAL or len(meanings()[atom.predicate][0]) == len(atom.args), atom
    assert all(holds and ended for _, holds, ended in meanings().values())
