"""Sentence templates as recognisers: a regular expression for each frame, and the meaning of its groups."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

from gptdesk.starter.world.frames import (
    FIRST_PERSON,
    Both,
    Choice,
    Frame,
    Keyed,
    Part,
    Slot,
    Speech,
    listed,
    messages,
    parse,
    varied,
)
from gptdesk.starter.world.lexicon import NAMED, lexicon
from gptdesk.starter.world.state import PEOPLE, PLACES, THINGS, Operator

NAME = r"(?:the )?[a-z-]+"
FORMS = {  # expressions for the forms of people, things and places
    PEOPLE: {
        "": NAME,
        "o": NAME,
        "s": rf"my|{NAME}'s",
        "he": "he|she|I",
        "him": "him|her|me",
        "his": "his|her|my",
        "himself": "himself|herself|myself",
        "voc": "my friend|[a-z]+",
        "first": f"an? [a-z]+ [a-z]+(?: (?:{'|'.join(NAMED)}) [a-z]+)?",
        "what": "an? [a-z]+ [a-z]+|[a-z]+",
        "a": f"(?:an?|the) [a-z-]+ [a-z]+|{NAME}",
    },
    THINGS: {"": "[a-z]+", "one": "(?:an?|some) [a-z]+", "a": "an? [a-z -]+?"},
    PLACES: {"": "the [a-z ]+?", "at": "[a-z]+ the [a-z ]+?", "to": "to the [a-z ]+?"},
}


@dataclass(frozen=True, slots=True)
class Group:
    """Meaning of a group of a pattern: a form of a variable, or an item of a map for it."""

    variable: str
    form: str
    map_name: str = ""


@dataclass(frozen=True)
class Pattern:
    """Frame as a recogniser."""

    operator: Operator
    frame: Frame
    keys: frozenset[str]  # words that its texts always have, in lower case

    @cached_property
    def _built(self) -> tuple[str, tuple[Group, ...]]:
        return _built(self.frame.part, self.operator)

    @cached_property
    def whole(self) -> re.Pattern[str]:
        """Expression for the frame, with a connective in front if it may have one, up to a space or the end."""
        link = rf"(?:{_list_pattern('link')} )?" if self.frame.moves_on else ""
        return re.compile(f"{link}{self._built[0]}(?=\\s|$)", re.IGNORECASE)

    @cached_property
    def head(self) -> re.Pattern[str]:
        """Expression for a deed to which another is joined, up to the "and"."""
        whole = self.whole.pattern.removesuffix(r"\.(?=\s|$)")
        return re.compile(f"{whole}(?= and )", re.IGNORECASE)

    @cached_property
    def tail(self) -> re.Pattern[str]:
        """Expression for what follows the subject of a deed that is joined to another by "and"."""
        part = self.frame.part
        assert isinstance(part, tuple)
        return re.compile(f" and{_built(part[1:], self.operator)[0]}(?=\\s|$)", re.IGNORECASE)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Meanings of the groups of `whole`; those of `tail` lack the first."""
        return self._built[1]


def _longest_first(item: str) -> tuple[int, str]:
    return -len(item), item


def _either(options: Iterator[str]) -> str:
    return f"(?:{'|'.join(options)})"


def expression(part: Part) -> str:
    """Return a regular expression for all texts of a part."""
    return _built(part, None)[0]


@cache
def _list_pattern(name: str) -> str:
    return expression(listed(name))


def _built(part: Part, operator: Operator | None) -> tuple[str, tuple[Group, ...]]:
    """Return the expression for a part and the meaning of its groups; without an operator it has no groups."""
    groups: list[Group] = []

    def group(variable: str, form: str, inside: str, name: str = "") -> str:
        if operator is None:
            return f"(?:{inside})"
        groups.append(Group(variable, form, name))
        return f"({inside})"

    def build(part: Part) -> str:
        if isinstance(part, str):
            return re.sub(r"\b([Aa])\\ ", r"\1n?\\ ", re.escape(part)).replace(r"\ ", " ")
        if isinstance(part, tuple):
            return "".join(map(build, part))
        if isinstance(part, Choice):
            return _either(map(build, part.options))
        if isinstance(part, Both):
            return f"(?:{part.word}|{FIRST_PERSON[part.word]})"
        if isinstance(part, Speech):
            verbs = _list_pattern(part.name)
            ways = (f"{verbs} {group(part.variable, '', NAME)}", f"{group(part.variable, '', NAME)} {verbs}")
            return f"{_either(iter(ways))}(?: {_list_pattern('manner')})?"
        if isinstance(part, Keyed):
            items = sorted({item for items in lexicon().maps[part.name].values() for item in items}, key=_longest_first)
            return group(
                part.variable, part.form, "|".join(expression(parse(varied(item))) for item in items), part.name
            )
        return group(part.variable, part.form, _slot_pattern(part, operator))

    return build(part), tuple(groups)


def _slot_pattern(slot: Slot, operator: Operator | None) -> str:
    for letters, forms in FORMS.items():
        if slot.variable in letters:
            return forms[slot.form]
    assert operator is not None
    return "|".join(map(re.escape, lexicon().lists[operator.sorts[slot.variable]])).replace(r"\ ", " ")


def _keys(part: Part) -> frozenset[str]:
    """Return the words that a part always has, those of one letter apart."""
    if isinstance(part, str):
        return frozenset(re.findall(r"(?<![\w'])[a-z']{2,}(?![\w'])", part.lower()))
    if isinstance(part, tuple):
        return frozenset().union(*(_keys(one) for one in part if isinstance(one, str)))
    return frozenset()


@cache
def patterns() -> tuple[Pattern, ...]:
    """Return the patterns of all frames."""
    return tuple(
        Pattern(message.operator, frame, _keys(frame.part))
        for message in messages().values()
        for frame in message.frames
    )
