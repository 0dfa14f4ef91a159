"""Stories: who they are about, which form they take, and what they cost to write down."""

from collections.abc import Iterator
from dataclasses import dataclass

from gptdesk.starter.world.dice import Dice, even, odds, zipf
from gptdesk.starter.world.frames import messages
from gptdesk.starter.world.lexicon import NAMED, Entity, animal, child, lexicon
from gptdesk.starter.world.planner import Planner
from gptdesk.starter.world.teller import Teller

FORMS = ("plain", "titled", "words", "letter", "diary")
SHORTEST = 90  # words, without the title
NAMED_ODDS = odds(5, 4, 2)
FORM_ODDS = odds(0.62, 0.08, 0.15, 0.08, 0.07)


@dataclass(frozen=True)
class Story:
    """A text, what it costs, and how it came about.

    `nats` is -ln of the probability of every choice that was made for it. Few texts can be told in two ways, so it is
    what the best model of these stories could do, or a little more.
    """

    text: str
    nats: float
    form: str
    signature: tuple[str, ...]


def _cast(dice: Dice, planner: Planner, *, named: bool) -> tuple[Entity, Entity]:
    """Two friends of different pronouns, so that "he" and "she" are always clear."""
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


def tell(seed: int, index: int) -> Story:
    """Story `index` of the collection `seed`."""
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
    text = teller.text
    if form in ("titled", "words"):
        text = _header(dice, planner, scope, words=form == "words") + "\n\n" + text
    return Story(text, dice.nats, form, tuple(planner.signature))


def _header(dice: Dice, planner: Planner, scope: dict[str, Entity | str], *, words: bool) -> str:
    """A title, and before it, if wanted, three words that the story keeps to."""
    title = Teller(dice)
    title.tell(messages()["title"], {**scope, "K": planner.plot})
    if not words:
        return title.text
    left = sorted({*planner.drawn, *(who.forms["kind"] for who in scope.values() if isinstance(who, Entity))})
    chosen = [left.pop(dice.roll(even(len(left)))) for _ in range(min(3, len(left)))]
    return f"Words: {', '.join(chosen)}\n{title.text}"


def story(seed: int, index: int) -> str:
    """The text of story `index` of the collection `seed`: paragraphs with a blank line between them."""
    return tell(seed, index).text


def stories(seed: int, count: int) -> Iterator[str]:
    """The first `count` stories of the collection `seed`, one at a time."""
    return (story(seed, index) for index in range(count))
