"""Stories: characters, form and exact entropy."""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from gptdesk.starter.world.dice import Dice, even, odds, zipf
from gptdesk.starter.world.frames import messages
from gptdesk.starter.world.lexicon import NAMED, Entity, animal, child, lexicon, place, thing
from gptdesk.starter.world.planner import Planner
from gptdesk.starter.world.teller import Teller

FORMS = ("plain", "titled", "words", "letter", "diary", "asked")
SHORTEST = 90  # words, without the title
HELD_OUT = (("outing 1", "get-deep 3"), ("found-again 0", "get-guard 2"), ("cooking 0", "end-shut 1"))
NAMED_ODDS = odds(5, 4, 2)
FORM_ODDS = odds(0.56, 0.04, 0.15, 0.08, 0.07, 0.10)


@dataclass(frozen=True)
class Story:
    """Generated text with its entropy and composition.

    `nats` is the sum of -ln p of all choices. Some leave no trace, such as weather that is not mentioned, and a few
    texts can result from different choices: the entropy of the text alone is 1 or 2 % lower.
    """

    text: str
    nats: float
    form: str
    signature: tuple[str, ...]
    triple: tuple[str, ...]  # kind of the hero, first thing and first place, if any

    @property
    def twisted(self) -> bool:
        """True if a plot has a turn that never occurs in training."""
        return any((plot, turn) in HELD_OUT for plot in self.signature for turn in self.signature)

    @property
    def held_out(self) -> bool:
        """True if stories of this composition are held out: 1 in 20 triples, and three turns of plots."""
        return self.twisted or (len(self.triple) == 3 and zlib.crc32("/".join(self.triple).encode()) % 20 == 0)


def _cast(dice: Dice, planner: Planner, *, named: bool) -> tuple[Entity, Entity]:
    """Draw two friends of different pronouns, so that "he" and "she" are unambiguous."""
    words = lexicon().lists
    genders = ("he", "she") if dice.chance(0.5) else ("she", "he")
    made: list[Entity] = []
    for who, he in enumerate(genders):
        traits = words["traits"]
        trait = traits[dice.roll(zipf(len(traits), 30.0))]
        if dice.chance(0.5):
            names = words["girls" if he == "she" else "boys"]
            name = names[dice.roll(zipf(len(names), 30.0))]
            made.append(child(name, he, trait=trait, named=_how_named(dice), first_person=named and not who))
            continue
        kinds = tuple(kind for kind in words["kinds"] if not made or kind != made[0].forms["kind"])
        kind = kinds[dice.roll(zipf(len(kinds), 30.0))]
        planner.use(kind)
        pets = words[f"{he}_pets"]
        name, call = "", NAMED[0]
        if named or dice.chance(0.5):
            name, call = pets[dice.roll(zipf(len(pets), 30.0))], _how_named(dice)
        made.append(animal(name, he, kind, trait=trait, named=call, first_person=named and not who))
    return made[0], made[1]


def _how_named(dice: Dice) -> str:
    return NAMED[dice.roll(NAMED_ODDS)]


def generate_story(seed: int, index: int) -> Story:
    """Generate story `index` of the collection `seed`."""
    dice = Dice(seed, index)
    teller = Teller(dice)
    planner = Planner(dice, teller)
    form = FORMS[dice.roll(FORM_ODDS)]
    letter = form in ("letter", "diary")
    a, b = _cast(dice, planner, named=letter)
    scope: dict[str, Entity | str] = {"A": a, "B": b}
    teller.first_person = letter
    if letter:
        planner.do("salute", {"A": a}) if form == "letter" else planner.do("diary", {})
        teller.paragraph()
        planner.do("me", {"A": a})
    planner.do("story", dict(scope))
    while teller.words < SHORTEST:
        planner.do("close", dict(scope))
    if letter:
        teller.paragraph()
        planner.do("love" if form == "letter" else "night", {"A": a})
    if form == "asked":
        teller.paragraph()
        _ask(dice, planner, a, b)
    text = teller.text
    if form in ("titled", "words"):
        text = _header(dice, planner, scope, words=form == "words") + "\n\n" + text
    return Story(text, dice.nats, form, tuple(planner.signature), (a.forms["kind"], *planner.first))


def _ask(dice: Dice, planner: Planner, a: Entity, b: Entity) -> None:
    """Append a question about the final state, and its answer."""
    world, words = planner.world, {"A": a, "B": b}
    asked: list[tuple[str, dict[str, Entity | str]]] = [("q-friend", dict(words))]
    for who in (a, b):
        where = world.place.get(who.key, "")
        if where == f"~{who.key}":
            asked.append(("q-home", {"A": who}))
        elif where[:1] not in ("", "~"):
            asked.append(("q-place", {"A": who, "P": place(where)}))
    if "weather" in world.setting:
        asked.append(("q-weather", {"W": world.setting["weather"]}))
    for what, holder in sorted(world.holder.items()):
        if holder in (a.key, b.key):
            asked.append(("q-thing", {"A": a if holder == a.key else b, "X": thing(what, "")}))
    asked = [(name, scope) for name, scope in asked if planner.possible(name, scope)]
    name, scope = asked[dice.roll(even(len(asked)))]
    planner.happen(name, scope)


def _header(dice: Dice, planner: Planner, scope: dict[str, Entity | str], *, words: bool) -> str:
    """Return a title, and before it, with `words`, up to three words that occur in the story."""
    title = Teller(dice)
    title.tell(messages()["title"], {**scope, "K": planner.plot})
    if not words:
        return title.text
    available = sorted({*planner.drawn, *(who.forms["kind"] for who in scope.values() if isinstance(who, Entity))})
    chosen = [available.pop(dice.roll(even(len(available)))) for _ in range(min(3, len(available)))]
    return f"Words: {', '.join(chosen)}\n{title.text}"


def story(seed: int, index: int) -> str:
    """Return the text of story `index` of the collection `seed`: paragraphs with a blank line between them."""
    return generate_story(seed, index).text


def stories(seed: int, count: int) -> Iterator[str]:
    """Yield the first `count` stories of the collection `seed`."""
    return (story(seed, index) for index in range(count))


def generate_stories(seed: int, count: int, *, held_out: bool = False) -> Iterator[Story]:
    """Yield the first `count` stories of a collection that are not held out, or with `held_out` only those that are."""
    all_stories = map(partial(generate_story, seed), itertools.count())
    return itertools.islice((story for story in all_stories if story.held_out == held_out), count)
