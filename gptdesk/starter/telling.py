"""A small world whose state cannot contradict itself, and the teller who puts what happens in it into words."""

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gptdesk.starter import lexicon

Item = TypeVar("Item")
HOME = "home"  # of the one the story is about
NEXT_DOOR = "next door"  # where the friend lives


@dataclass(frozen=True)
class Character:
    """Someone in a story; `str()` is how the others and the teller call them, "Mia" or "the fox"."""

    call: str
    kind: str
    trait: str
    home: str
    he: str = "he"

    def __str__(self) -> str:
        return self.call

    @property
    def him(self) -> str:
        return {"he": "him", "she": "her"}[self.he]

    @property
    def his(self) -> str:
        return {"he": "his", "she": "her"}[self.he]

    @property
    def first(self) -> str:
        """How they enter a story: "a shy girl named Mia", "a shy fox"."""
        return f"a {self.trait} {self.kind} named {self.call}" if self.named else f"a {self.trait} {self.kind}"

    @property
    def named(self) -> bool:
        return not self.call.startswith("the ")

    @property
    def what(self) -> str:
        """What they are, for who knows the name: "a shy girl"; of the fox, that it is "shy"."""
        return f"a {self.trait} {self.kind}" if self.named else self.trait


@dataclass(frozen=True)
class Thing:
    """Something that can be held: `str()` is its plain name, `full` says what it looks like too."""

    name: str
    look: str

    def __str__(self) -> str:
        return self.name

    @property
    def full(self) -> str:
        return f"{self.look} {self.name}"


@dataclass(frozen=True)
class Event:
    """A change of the world: who did what, with which thing, and the other person or the place it concerns."""

    who: str
    verb: str
    thing: str = ""
    other: str = ""


@dataclass
class World:
    """Who is where, and who or which place holds each thing; what is not possible raises AssertionError."""

    place: dict[str, str] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def go(self, place: object, *people: object) -> None:
        for who in people:
            self.place[str(who)] = str(place)
            self.events.append(Event(str(who), "go", other=str(place)))

    def appear(self, holder: object, thing: object) -> None:
        """A thing enters the story, in somebody's hands or lying at a place."""
        assert str(thing) not in self.holder, f"{thing} is already there"
        self.holder[str(thing)] = str(holder)
        self.events.append(Event(str(holder), "appear", str(thing)))

    def take(self, who: object, thing: object) -> None:
        assert self.holder[str(thing)] == self.place[str(who)], f"{who} cannot reach {thing}"
        self.holder[str(thing)] = str(who)
        self.events.append(Event(str(who), "take", str(thing)))

    def drop(self, who: object, thing: object, *, place: object = None) -> None:
        """Put or lose a thing where one is, or at a `place` it is carried to (by the wind, say)."""
        assert self.holder[str(thing)] == str(who), f"{who} does not have {thing}"
        self.holder[str(thing)] = str(place or self.place[str(who)])
        self.events.append(Event(str(who), "drop", str(thing), self.holder[str(thing)]))

    def give(self, who: object, thing: object, *, to: object) -> None:
        assert self.holder[str(thing)] == str(who), f"{who} does not have {thing}"
        assert self.place[str(who)] == self.place[str(to)], f"{who} and {to} are not in one place"
        self.holder[str(thing)] = str(to)
        self.events.append(Event(str(who), "give", str(thing), str(to)))

    def use_up(self, who: object, thing: object) -> None:
        assert self.holder.pop(str(thing)) == str(who), f"{who} does not have {thing}"
        self.events.append(Event(str(who), "use up", str(thing)))


class Dice:
    """Private chance: the same (seed, index) rolls the same on every machine.

    Built on `Random.random()` alone, the one method whose sequence Python promises to keep.
    """

    def __init__(self, seed: int, index: int) -> None:
        digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:8], "big")).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, items: Sequence[Item], *, flat: float = 3.0) -> Item:
        """One item, the first ones more often: item k has weight 1 / (k + flat), Zipf's law."""
        weights = [1.0 / (k + flat) for k in range(len(items))]
        left = self._random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            left -= weight
            if left < 0:
                return item
        return items[-1]

    def pick_some(self, items: Sequence[Item], count: int) -> list[Item]:
        rest = list(items)
        return [rest.pop(rest.index(self.pick(rest))) for _ in range(count)]


def the(someone: str) -> str:
    """How to call somebody who has come in before: "an old owl" becomes "the old owl"."""
    return re.sub(r"^an? ", "the ", someone)


class Slots(dict[str, object]):
    """What fills a frame's {words}: the story's own, else a draw from the lexicon's synonyms."""

    def __init__(self, dice: Dice, own: Mapping[str, object]) -> None:
        super().__init__(own)
        self._dice = dice

    def __missing__(self, word: str) -> str:
        return self._dice.pick(lexicon.SYNONYMS[word])


def polish(text: str) -> str:
    """Turn "a" into "an" where a vowel follows, and start every sentence with a capital."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r'(?:^|[.!?] |\." )"?[a-z]', lambda match: match[0][:-1] + match[0][-1].upper(), text)


class Teller:
    """Casts two friends who never share a pronoun, so that "he" and "she" are always clear, and tells what they do."""

    def __init__(self, dice: Dice, *, weather: str) -> None:
        self.dice = dice
        self.world = World()
        self.weather = dice.pick(weather.split())
        self.place = dice.pick(lexicon.PLACES, flat=6)
        traits = dice.pick_some(list(lexicon.HABITS), 2)
        he, she = ("he", "she") if dice.chance(0.5) else ("she", "he")
        animals = dice.pick_some(list(lexicon.ANIMAL_HOMES), 2)
        children = dice.pick(("ca", "cc", "aa", "ac"))  # c: a child, a: an animal
        self.a = self._cast(children[0] == "c", traits[0], he, animals[0])
        self.b = self._cast(children[1] == "c", traits[1], she, animals[1], taken=self.a.call)
        self.slots: dict[str, object] = {"a": self.a, "b": self.b, "place": self.place, "weather": self.weather}
        self._paragraphs: list[list[str]] = [[]]
        self._subject = ""
        self._introduced = False

    def _cast(self, child: bool, trait: str, he: str, animal: str, *, taken: str = "") -> Character:
        if child:
            kind, names = ("girl", lexicon.GIRLS) if he == "she" else ("boy", lexicon.BOYS)
            return Character(self.dice.pick(names, flat=5), kind, trait, self.dice.pick(lexicon.CHILD_HOMES), he)
        named = self.dice.chance(0.4)
        names = [name for name in lexicon.PETS if name != taken]
        call = self.dice.pick(names, flat=5) if named else f"the {animal}"
        return Character(call, animal, trait, lexicon.ANIMAL_HOMES[animal], he)

    def thing(self, looks: Mapping[str, str], *, names: Sequence[str] = ()) -> Thing:
        name = self.dice.pick([name for name in names or list(looks) if name not in self.world.holder], flat=6)
        return Thing(name, self.dice.pick(looks[name].split()))

    def say(self, *frames: str, **slots: object) -> None:
        """Tell one of the frames, which all mean the same; `slots` also stay known to the sentences after it."""
        self.slots |= slots
        frame = self.dice.pick(frames, flat=4)
        subject = frame[:4] if frame[:4] in ("{a} ", "{b} ") else ""
        if subject and subject == self._subject and not frame[3:].startswith(" and {") and self.dice.chance(0.7):
            frame = subject.replace("}", ".he}") + frame[4:]
        sentence = polish(frame.format_map(Slots(self.dice, self.slots)))
        spoken = self._paragraphs[-1] and self._paragraphs[-1][-1].startswith('"')
        if spoken and sentence.startswith('"'):
            self.paragraph()  # another speaker, another paragraph
        self._paragraphs[-1].append(sentence)
        self._subject = subject

    def maybe(self, probability: float, *frames: str, **slots: object) -> None:
        if self.dice.chance(probability):
            self.say(*frames, **slots)

    def paragraph(self) -> None:
        self._paragraphs.append([])
        self._subject = ""

    def look_around(self, probability: float) -> None:
        """Something small that can be seen or heard here."""
        if self.dice.chance(probability):
            cold = self.weather in ("snowy", "rainy", "cold", "foggy")
            details = lexicon.WEATHER[self.weather] if cold or self.dice.chance(0.4) else self.place.details
            self.say(*details)

    def meet(self) -> None:
        """Say who the friend is, the first time only."""
        if not self._introduced:
            self.already_met()
            self.say(
                "{a.his} best friend was {b.first}.",
                "Next door lived {b.first}.",
                "{a.his} friend was {b.first}, who lived {b.home}.",
                "Not far away lived {b.first}.",
                "{a} had a good friend, {b.first}.",
            )

    def already_met(self) -> None:
        self._introduced = True

    def text(self) -> str:
        return "\n\n".join(" ".join(sentences) for sentences in self._paragraphs if sentences)
