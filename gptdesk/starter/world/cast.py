"""Reference resolution of a story's characters: names, kinds and pronouns."""

import re
from dataclasses import dataclass, field, replace
from functools import cache

from gptdesk.starter.world.clashes import Clash, clash, person_name
from gptdesk.starter.world.lexicon import NAMED, lexicon
from gptdesk.starter.world.state import PEOPLE, PLACES, THINGS

PRONOUNS = {"he": "he", "him": "he", "his": "he", "himself": "he", "she": "she", "her": "she", "herself": "she"}
NARRATOR = ("I", "me", "my", "myself")
NAMED_AS = f"(?:{'|'.join(NAMED)})"
HELPERS = ("climber", "diver", "wise", "elder", "owner", "guard", "tiny", "nester", "teacher", "glower")


@dataclass(frozen=True)
class Person:
    """Main character, as far as known from the text."""

    gender: str = ""
    kind: str = ""
    trait: str = ""


@cache
def _known() -> dict[str, dict[str, str]]:
    """Return names with their gender, helpers by kind, things and places of the lexicon."""
    lists, maps = lexicon().lists, lexicon().maps
    things = {noun for looks in maps.values() for noun in looks} - set(maps["place"])
    genders = {name: he for he, names in (("she", "girls"), ("he", "boys")) for name in lists[names]}
    genders |= {name: he for he in ("he", "she") for name in lists[f"{he}_pets"]}
    helpers = {full.rsplit(" ", 1)[-1]: full for name in HELPERS for full in lists[name]}
    places: dict[str, str] = {}
    for name, (at, *_) in maps["place"].items():
        preposition, _, adjective = at.partition(" ")
        the = f"the {adjective} {name}" if adjective else f"the {name}"
        places |= {the: name, f"{preposition} {the}": name, f"to {the}": name}
    return {"gender": genders, "helper": helpers, "place": places, "thing": dict.fromkeys(things, "")}


@dataclass
class Cast:
    """Characters so far. `clashes` gathers contradictions, such as a pronoun that nobody has."""

    people: dict[str, Person] = field(default_factory=dict)
    helpers: set[str] = field(default_factory=set)
    clashes: list[Clash] = field(default_factory=list)

    hero: str = ""
    friend: str = ""

    def copy(self) -> "Cast":
        """Return an independent copy."""
        return Cast(dict(self.people), set(self.helpers), hero=self.hero, friend=self.friend)

    def begin_letter(self) -> None:
        """Make the narrator the hero."""
        self.people[NARRATOR[0]] = Person()
        self.hero = NARRATOR[0]

    def note(self, keys: dict[str, str]) -> None:
        """Set the hero and the friend: the first A and the first B."""
        self.hero = self.hero or keys.get("A", "")
        self.friend = self.friend or keys.get("B", "")

    def describe(self, key: str, text: str) -> bool:
        """Store that somebody is "a shy fox", or an unnamed fox "shy"; return whether the lexicon has the words."""
        match = re.fullmatch(r"(?:an? )?([a-z]+)(?: ([a-z]+))?", text.lower())
        if not match or match[1] not in lexicon().lists["traits"]:
            return False
        kind = match[2] or key.removeprefix("the ")
        if kind not in lexicon().maps["lives"]:
            return False
        known = self.people.get(key, Person(_known()["gender"].get(key, "")))
        self.people[key] = replace(known, kind=kind, trait=match[1])
        return True

    def form(self, key: str, form: str) -> str:
        """Return the value of a frame's {X.form}: the kind of a helper, the kind or trait of a main character."""
        if key in self.people:
            return {"kind": self.people[key].kind, "trait": self.people[key].trait}.get(form, "")
        return key.rsplit(" ", 1)[-1] if form == "kind" else ""

    def is_pronoun(self, text: str) -> bool:
        """Return whether a text is a pronoun of the third person."""
        return text.lower() in PRONOUNS

    def resolve(self, variable: str, form: str, text: str) -> str | None:
        """Return the key that a form of a variable refers to; None for words outside the lexicon."""
        if variable in PEOPLE:
            return self._person(form, text)
        if variable in PLACES:
            return _known()["place"].get(text.lower())
        if variable in THINGS:
            return self._thing(form, text)
        return text.lower()

    def _thing(self, form: str, text: str) -> str | None:
        noun = re.sub(r"^(?:an?|some) ", "", text.lower()) if form == "one" else text.lower().rsplit(" ", 1)[-1]
        if noun not in _known()["thing"]:
            return None
        if form == "a" and not _looks_right(text.lower(), noun):
            return None
        return noun

    def _person(self, form: str, text: str) -> str | None:
        if text in NARRATOR or text.lower() in ("my", "me", "myself"):
            self.people.setdefault("I", Person())
            return "I"
        if form == "first":
            return self._introduced(text)
        call = text.removesuffix("'s") if form == "s" else text
        if form == "a":
            return self._helper(call)
        if form == "voc":
            if call.lower() == "my friend":
                return self.hero
            return call if call in self.people else "I" if "I" in self.people and call in _known()["gender"] else None
        return self._named(call)

    def _named(self, call: str) -> str | None:
        if call[:4].lower() == "the ":
            call = call.lower()
            kind = call[4:]
            if call in self.people or kind in _known()["helper"] or kind in lexicon().lists["kinds"]:
                return call
            return None
        if call in _known()["gender"]:
            if call not in self.people and len(self.people) < 2:
                self.people[call] = Person(_known()["gender"][call])
            return call
        return call if call in _known()["helper"] else None

    def _helper(self, full: str) -> str | None:
        kind = full.rsplit(" ", 1)[-1]
        if kind not in _known()["helper"]:
            return None
        listed = any(full.lower() == known.lower() for name in HELPERS for known in lexicon().lists[name])
        character = re.sub(r"^an? ", "", full.lower()).rsplit(" ", 1)[0]
        if not listed and character not in lexicon().lists["character"]:
            return None
        key = kind if kind[0].isupper() and " " not in full else f"the {kind.lower()}"
        self.helpers.add(key)
        return key

    def _introduced(self, text: str) -> str | None:
        """Store an introduction, such as "a shy fox named Otto", and return the key."""
        match = re.fullmatch(rf"(?:an? )?([a-z]+)(?: ([a-z]+))?(?: {NAMED_AS} ([A-Z][a-z]+))?", text, re.IGNORECASE)
        if not match or match[1].lower() not in lexicon().lists["traits"]:
            return None
        trait, kind, name = match[1].lower(), (match[2] or "").lower(), match[3]
        if kind not in lexicon().maps["lives"]:
            return None
        key = name or f"the {kind}"
        gender = _known()["gender"].get(name or "", "")
        known = self.people.get(key, Person(gender))
        if (known.kind or kind, known.trait or trait) != (kind, trait):
            was = f"{person_name(key)} is a {known.trait} {known.kind}, not a {trait} {kind}"
            self.clashes.append(clash("kind", was, [("person", key)]))
        elif not _suits(name or "", kind):
            self.clashes.append(clash("kind", f"{key} is not a name for a {kind}"))
        self.people[key] = replace(known, kind=kind, trait=trait)
        return key

    def meant(self, text: str, candidate: str) -> str:
        """Return the main character a pronoun refers to: the one who has it, or the candidate, if it has none yet.

        It has this pronoun from then on.
        """
        gender = PRONOUNS.get(text.lower(), "")
        if not gender:
            return NARRATOR[0]
        others = [key for key, person in self.people.items() if person.gender == gender]
        if others:
            return others[0]
        unknown = [key for key, person in self.people.items() if not person.gender and key != NARRATOR[0]]
        if not unknown:
            parts = [("person", key) for key in self.people]
            self.clashes.append(clash("pronoun", f"nobody in the story is a “{gender}”", parts))
            return candidate or self.hero
        key = candidate if candidate in unknown else unknown[0]
        self.people[key] = replace(self.people[key], gender=gender)
        return key


def _suits(name: str, kind: str) -> bool:
    """Return whether a character of this kind can have this name: children have their own names."""
    lists = lexicon().lists
    if kind in ("girl", "boy"):
        return name in lists["girls" if kind == "girl" else "boys"]
    return name not in lists["girls"] and name not in lists["boys"]


@cache
def _looks_right(text: str, noun: str) -> bool:
    """Return whether a description such as "a little red kite" or "a jar of golden honey" is in the lexicon."""
    described = re.sub(r"^an? ", "", text)
    for looks in lexicon().maps.values():
        for look in looks.get(noun, ()):
            if "*" in look:
                if described == look.replace("*", noun):
                    return True
            elif described == f"{look} {noun}" or (
                described.endswith(f" {look} {noun}")
                and described.removesuffix(f" {look} {noun}") in lexicon().lists["first_look"]
            ):
                return True
    return False
