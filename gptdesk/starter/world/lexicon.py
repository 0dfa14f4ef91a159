"""Lexicon: word lists; people, things and places with all forms that a sentence needs."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

TEXT = Path(__file__).parent / "text"
NAMED = ("named", "called", "by the name of")
PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
}


@dataclass(frozen=True, slots=True)
class Entity:
    """Person, thing or place. `key` is its name in the state, `forms` the values of a frame's {X.form}."""

    key: str
    forms: dict[str, str]
    gender: str = ""  # "he" or "she" of the two main characters; helpers have none
    first_person: bool = False


@dataclass(frozen=True)
class Lexicon:
    """Lists by name, most common items first; maps have the values behind each item's colon."""

    lists: dict[str, tuple[str, ...]]
    maps: dict[str, dict[str, tuple[str, ...]]]

    def keyed(self, name: str, key: str) -> tuple[str, ...]:
        """Return the items of a map for one key; all homes have the same."""
        return self.maps[name]["home" if key.startswith("~") else key]


@cache
def lexicon() -> Lexicon:
    """Read the lists of words*.txt: `[name]`, then items between | or line ends, `item` or `item: value / value`."""
    lists: dict[str, tuple[str, ...]] = {}
    maps: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in sorted(TEXT.glob("words*.txt")):
        for block in path.read_text("utf-8").split("\n[")[1:]:
            name, _, body = block.partition("]\n")
            items = [item.strip() for line in body.splitlines() if line[:1] != "#" for item in line.split(" | ")]
            pairs = [item.partition(": ") for item in items if item]
            assert name not in lists, name
            lists[name] = tuple(key for key, _, _ in pairs)
            assert "{" in body or len(set(lists[name])) == len(lists[name]), name
            if any(colon for _, colon, _ in pairs):
                maps[name] = {key: tuple(v.strip() for v in values.split(" / ")) for key, _, values in pairs}
    return Lexicon(lists, maps)


def article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def child(name: str, he: str, *, trait: str, named: str = "named", first_person: bool = False) -> Entity:
    """Return a main character that is a child, with a name."""
    return _main(name, he, "girl" if he == "she" else "boy", trait, named, first_person=first_person)


def animal(name: str, he: str, kind: str, *, trait: str, named: str = "named", first_person: bool = False) -> Entity:
    """Return a main character that is an animal; without a name it is called by its kind."""
    return _main(name or f"the {kind}", he, kind, trait, named, first_person=first_person)


def _main(call: str, he: str, kind: str, trait: str, named: str, *, first_person: bool) -> Entity:
    has_name = call[:4] != "the "
    forms = {"": call, "o": call, "s": f"{call}'s", "kind": kind, "trait": trait, **PRONOUNS[he]}
    forms["voc"] = call if has_name else "my friend"
    forms["first"] = article(f"{trait} {kind}") + (f" {named} {call}" if has_name else "")
    forms["what"] = article(f"{trait} {kind}") if has_name else trait
    if first_person:
        forms |= {"": "I", "o": "me", "s": "my", "he": "I", "him": "me", "his": "my", "himself": "myself"}
    return Entity(call, forms, gender=he, first_person=first_person)


def helper(full: str) -> Entity:
    """Return a helper, introduced as "an old owl" and "the owl" from then on; or "Grandmother"."""
    kind = full.rsplit(" ", 1)[-1]
    call = f"the {kind}" if " " in full else full
    return Entity(call, {"": call, "o": call, "s": f"{call}'s", "a": full, "kind": kind})


def thing(noun: str, look: str) -> Entity:
    """Return a thing: "kite", "red" is a red kite. A look with a * is a measure of a mass noun: "jar of golden *"."""
    if "*" in look:
        return Entity(noun, {"": noun, "one": f"some {noun}", "a": article(look.replace("*", noun))})
    return Entity(noun, {"": noun, "one": article(noun), "a": article(f"{look} {noun}")})


def place(name: str) -> Entity:
    """Return a place by its noun, such as "mill"."""
    at = lexicon().maps["place"][name][0]
    preposition, _, adjective = at.partition(" ")
    the = f"the {adjective} {name}" if adjective else f"the {name}"
    return Entity(name, {"": the, "at": f"{preposition} {the}", "to": f"to {the}"})


@cache
def exits(name: str) -> tuple[str, ...]:
    """Return the places next to this one; every way leads in both directions."""
    ways = lexicon().maps["exits"]
    return tuple(other for other in ways if other in ways[name] or name in ways[other])
