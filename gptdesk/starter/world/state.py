"""State of the world: places, holders and facts; operators with conditions and effects."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gptdesk.starter.world.lexicon import exits, lexicon

PEOPLE, THINGS, PLACES = "ABCDE", "XYZ", "PQR"
Part = tuple[str, ...]  # of the state: ("at", who), ("holder", thing), ("weather",), ("time",), or a fact


@dataclass(frozen=True, slots=True)
class Atom:
    """Condition or effect: a predicate and its variables; `~A` is the home of A."""

    predicate: str
    args: tuple[str, ...]
    positive: bool = True


@dataclass(frozen=True, slots=True)
class Operator:
    """Kind of event: its variables with the lists they are drawn from, if any, conditions and effects."""

    name: str
    sorts: dict[str, str]
    before: tuple[Atom, ...]
    after: tuple[Atom, ...]
    gathered: tuple[str, ...] = ()  # the people who must be in one place


def atoms(text: str) -> tuple[Atom, ...]:
    """Parse conditions or effects between commas: "at A P, !high X", "+sad A", "-sad A"."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        predicate, *args = part.lstrip("!-+").split()
        found.append(Atom(predicate, tuple(args), part[0] not in "!-"))
    return tuple(found)


def operator(header: str) -> Operator:
    """Parse "name A X S:list: conditions -> effects".

    The effect `new C` introduces C; the condition `far C` exempts C from being in the same place.
    """
    signature, _, rules = (header + " ").partition(": ")
    name, *variables = signature.split()
    before, _, after = rules.partition("->")
    sorts = {letter: sort for letter, _, sort in (variable.partition(":") for variable in variables)}
    conditions, effects = atoms(before), atoms(after)
    away = {atom.args[0] for atom in (*conditions, *effects) if atom.predicate in ("far", "new")}
    gathered = tuple(letter for letter in sorts if letter in PEOPLE and letter not in away)
    return Operator(
        name,
        sorts,
        tuple(a for a in conditions if a.predicate != "far"),
        tuple(a for a in effects if a.predicate != "far"),
        gathered,
    )


@dataclass
class World:
    """State by the keys of people, things and places; the holder of a thing is "Mia" or, for a place, "@mill"."""

    place: dict[str, str] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    facts: set[tuple[str, ...]] = field(default_factory=set)
    setting: dict[str, str] = field(default_factory=dict)  # of weather and time, once they were told

    def copy(self) -> "World":
        """Return an independent copy."""
        return World(dict(self.place), dict(self.holder), set(self.facts), dict(self.setting))

    def holds(self, atom: Atom, keys: Mapping[str, str]) -> bool:
        """Return whether a condition is true with these keys for its variables."""
        args = [_key(arg, keys) for arg in atom.args]
        return self._true(atom.predicate, args) == atom.positive

    def _true(self, predicate: str, args: list[str]) -> bool:
        if predicate == "at":
            return self.place.get(args[0]) == args[1]
        if predicate == "has":
            return self.holder.get(args[1]) == args[0]
        if predicate == "lies":
            return self.holder.get(args[0]) == "@" + args[1]
        if predicate == "exit":
            here = self.place.get(args[0], "~")
            return here[0] == "~" or args[1][0] == "~" or args[1] in exits(here)
        if predicate == "door":  # from one place to another
            return args[1] in exits(args[0])
        if predicate == "is":
            return args[1] in lexicon().lists[args[0]]
        if predicate in ("weather", "time"):
            return self.setting.get(predicate, args[0]) in args
        return (predicate, *args) in self.facts

    def violations(self, event: Operator, keys: Mapping[str, str]) -> list[str]:
        """Return the violated conditions of an event, one word each: absent, has, lies, at, exit, weather, ..."""
        found = [atom.predicate for atom in self.violated(event, keys)]
        return [*found, "absent"] if self.apart(event, keys) else found

    def violated(self, event: Operator, keys: Mapping[str, str]) -> list[Atom]:
        """Return the conditions of an event that do not hold."""
        return [atom for atom in event.before if _known(atom, keys) and not self.holds(atom, keys)]

    def apart(self, event: Operator, keys: Mapping[str, str]) -> list[str]:
        """Return the people who must be in one place, unless they are."""
        people = [keys[letter] for letter in event.gathered if letter in keys]
        here = {self.place.get(key) for key in people}
        return people if None in here or len(here) > 1 else []

    def changed(self, before: "World") -> set[Part]:
        """Return the parts of the state in which it differs from an earlier one."""
        parts: set[Part] = {("at", key) for key in _differing(self.place, before.place)}
        parts |= {("holder", key) for key in _differing(self.holder, before.holder)}
        parts |= {(key,) for key in _differing(self.setting, before.setting)}
        return parts | (self.facts ^ before.facts)

    def apply(self, event: Operator, keys: Mapping[str, str]) -> None:
        """Apply the effects, whether or not the event was possible."""
        for atom in event.after:
            if not _known(atom, keys):
                continue
            args = [_key(arg, keys) for arg in atom.args]
            if atom.predicate == "at":
                self.place[args[0]] = args[1]
            elif atom.predicate == "new":
                people = [keys[letter] for letter in event.gathered if keys.get(letter) in self.place]
                self.place[args[0]] = self.place[people[0]] if people else "~"
            elif atom.predicate == "has":
                self.holder[args[1]] = args[0]
            elif atom.predicate == "lies":
                self.holder[args[0]] = "@" + args[1]
            elif atom.predicate == "gone":
                self.holder.pop(args[0], None)
            elif atom.predicate in ("weather", "time"):
                self.setting[atom.predicate] = args[0]
            elif atom.positive:
                self.facts.add((atom.predicate, *args))
            else:
                self.facts.discard((atom.predicate, *args))


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    return {key for key, _ in one.items() ^ other.items()}


def _known(atom: Atom, keys: Mapping[str, str]) -> bool:
    """Return whether all variables have values; in a text that is read, some may never be named."""
    return all(arg.lstrip("~") in keys for arg in atom.args if arg.isupper() or arg[0] == "~")


def _key(arg: str, keys: Mapping[str, str]) -> str:
    if arg[0] == "~":
        return "~" + keys.get(arg[1:], "")
    return keys.get(arg, arg)
