"""Contradictions: each with its kind, its reason in words, and the part of the state that it clashes with."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from gptdesk.starter.world.lexicon import TEXT, place
from gptdesk.starter.world.state import PEOPLE, PLACES, Atom, Part, World

SLOT = re.compile(r"\{([A-Z])(\.at)?\}")


@dataclass(frozen=True, slots=True)
class Clash:
    """Contradiction of an event with the state.

    `why` holds if a sentence has set one of the `parts` of the state, `untold` if none has; both are sentences.
    """

    kind: str  # "absent", "has", "pronoun", ...
    why: str
    parts: tuple[Part, ...] = ()
    untold: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Contradiction in a text: the numbers of the sentence that has it and of the one that it breaks, if any."""

    kind: str
    why: str
    sentence: int
    breaks: int | None = None


@cache
def meanings() -> dict[str, tuple[tuple[str, ...], str, str]]:
    """Read facts.txt: the variables of each predicate, and what it means while it holds and once it does not."""
    found = {}
    for line in (TEXT / "facts.txt").read_text("utf-8").splitlines():
        if line and line[0] != "#":
            fact, _, words = line.partition(": ")
            predicate, *variables = fact.split()
            holds, _, ended = words.partition(" / ")
            found[predicate] = (tuple(variables), holds, ended)
    return found


def person_name(key: str) -> str:
    """Return what to call a person: "Mia", "the fox", or the narrator."""
    return "the narrator" if key == "I" else key


def spot(key: str) -> str:
    """Return where somebody at a place is: "in the old mill", "at Mia's home"."""
    if key[0] == "~":
        return f"at {person_name(key[1:])}'s home" if key[1:] else "at home"
    return place(key).forms["at"]


def spoken(variable: str, key: str) -> str:
    """Return what to call the value of a variable: "Mia", "the kite", "the old mill"."""
    if variable in PEOPLE:
        return person_name(key)
    if variable in PLACES:
        return place(key).forms[""] if key[0] != "~" else spot(key).removeprefix("at ")
    return f"the {key}"


def clash(kind: str, why: str, parts: Iterable[Part] = (), untold: str = "") -> Clash:
    """Return a contradiction; the sentences of the reasons begin with a capital."""
    first, second = (text[:1].upper() + text[1:] for text in (why, untold or why))
    return Clash(kind, first, tuple(parts), second)


def within(one: Clash, changed: set[Part]) -> Clash:
    """Return a contradiction without the parts of the state that its own sentence has changed."""
    if changed.isdisjoint(one.parts):
        return one
    return replace(one, parts=tuple(part for part in one.parts if part not in changed), untold=one.why)


def violated(event_atoms: Sequence[Atom], keys: Mapping[str, str], world: World) -> list[Clash]:
    """Return the contradictions that violated conditions of an event are."""
    return [_violated(atom, keys, world) for atom in event_atoms]


def _violated(atom: Atom, keys: Mapping[str, str], world: World) -> Clash:
    kind, args = atom.predicate, atom.args
    if kind in ("weather", "time"):
        return clash(kind, f"it is {world.setting[kind]} by then", [(kind,)])
    if kind == "is":
        return clash(kind, f"{spoken(args[1], keys[args[1]])} is not a {args[0]} place")
    if kind == "door":
        return clash(kind, f"no way leads from {spoken(args[0], keys[args[0]])} to {spoken(args[1], keys[args[1]])}")
    if kind in ("at", "exit"):
        return _misled(atom, keys, world)
    if kind in ("has", "lies"):
        return _held(atom, keys, world)
    variables, *words = meanings()[kind]
    values = {variable: keys[arg] for variable, arg in zip(variables, args, strict=True)}
    if len(values) > len(set(values.values())):
        return clash(kind, f"this sentence is about two, and {person_name(keys[args[0]])} is both")
    holds, ended = (_filled(text, values) for text in words)
    part = (kind, *(keys[arg] for arg in args))
    if atom.positive:
        return clash(kind, f"{ended} by then", [part], f"nothing before says that {holds}")
    return clash(kind, f"{holds}, as was told", [part])


def _filled(text: str, values: Mapping[str, str]) -> str:
    return SLOT.sub(lambda m: spot(values[m[1]]) if m[2] else spoken(m[1], values[m[1]]), text)


def _misled(atom: Atom, keys: Mapping[str, str], world: World) -> Clash:
    who, goal = keys[atom.args[0]], atom.args[1]
    name, here = person_name(who), world.place.get(who, "")
    there = "~" + keys[goal[1:]] if goal[0] == "~" else keys[goal]
    if here == there:
        why = f"{name} is {spot(here)} already"
    elif atom.predicate == "exit" and here:
        why = f"{name} is {spot(here)}, and no way leads from there to {spoken('P', there)}"
    else:
        why = f"{name} is {spot(here) if here else 'nowhere'}, not {spot(there)}"
    return clash(atom.predicate, why, [("at", who)], f"nothing before says where {name} is")


def _held(atom: Atom, keys: Mapping[str, str], world: World) -> Clash:
    """Return the contradiction that a thing is not with somebody (has A X), or does not lie somewhere (lies X P)."""
    has = atom.predicate == "has"
    thing, where = keys[atom.args[1 if has else 0]], keys[atom.args[0 if has else 1]]
    wanted = f"{person_name(where)} has the {thing}" if has else f"the {thing} lies {spot(where)}"
    holder = world.holder.get(thing, "")
    if not holder:
        why = f"the {thing} is gone by then"
    elif holder[0] == "@":
        why = f"the {thing} lies {spot(holder[1:])} by then"
    else:
        why = f"{person_name(holder)} has the {thing} by then"
    return clash(atom.predicate, why, [("holder", thing)], f"nothing before says that {wanted}")


def apart(people: Sequence[str], world: World) -> Clash:
    """Return the contradiction that people who meet are not in one place."""
    lost = [key for key in people if key not in world.place]
    if lost:
        return clash("absent", f"nothing before says where {person_name(lost[0])} is")
    where = [f"{person_name(key)} is {spot(world.place[key])}" for key in dict.fromkeys(people)]
    return clash("absent", f"{', '.join(where[:-1])} and {where[-1]} by then", [("at", key) for key in people])
