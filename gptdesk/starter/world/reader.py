"""Parser of stories: recognises their frames and applies the events to a world, which finds contradictions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from gptdesk.starter.world.cast import Cast
from gptdesk.starter.world.frames import parse, varied
from gptdesk.starter.world.lexicon import lexicon
from gptdesk.starter.world.patterns import Group, Pattern, expression, patterns
from gptdesk.starter.world.state import PEOPLE, Atom, World

SENTENCE_END = re.compile(r'[.!?]"?(?=\s|$)')
SMALL_START = re.compile(r'(?:^|[.!?] |\." )"?[a-z]')
WRONG_ARTICLE = re.compile(r"\b(?:[Aa] (?=[aeiou])(?!use|one)|[Aa]n (?=[bcdfghjklmnpqrstvwxyz](?!our)))")
HEADER = re.compile(r"(?:Words: (?P<words>[^\n]*)\n)?(?P<title>Title: [^\n]*)\n\n")
WE = re.compile(r"\b[Ww]e\b")
SPOKEN = re.compile(r'"[^"]*"')
LETTER = re.compile(r"(?:My dear|Dear|Dearest) ")

Bindings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """Interpretation of a piece of text from a given start to `end` as events."""

    end: int
    events: tuple[tuple[Pattern, tuple[tuple[Group, str], ...]], ...]


@dataclass
class Verdict:
    """Result of reading a story. Contradictions are words like "absent", "has", "pronoun", in the text's order."""

    sentences: int = 0
    in_grammar: int = 0
    contradictions: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)  # names of their operators
    matched: list[str] = field(default_factory=list)  # pieces of text in the grammar
    unmatched: list[str] = field(default_factory=list)  # all others


@cache
def _by_key() -> dict[str, tuple[Pattern, ...]]:
    by_key: dict[str, list[Pattern]] = {}
    for pattern in patterns():
        by_key.setdefault(pattern.key, []).append(pattern)
    return {key: tuple(some) for key, some in by_key.items()}


@cache
def _deeds() -> tuple[Pattern, ...]:
    return tuple(pattern for pattern in patterns() if pattern.frame.deed)


def _groups(pattern: Pattern, match: re.Match[str], *, tail: bool = False) -> tuple[tuple[Group, str], ...]:
    meanings = pattern.groups[1:] if tail else pattern.groups
    return tuple((what, text) for what, text in zip(meanings, match.groups(), strict=True) if text is not None)


def readings(text: str, start: int) -> Iterator[Reading]:
    """Yield all interpretations as one frame, or two joined, from `start` to the end of a sentence."""
    words = {"", *re.findall(r"[a-z']+", text[start : start + 300].lower())}
    for key, some in _by_key().items():
        if key in words:
            for pattern in some:
                match = pattern.whole.match(text, start)
                if match:
                    yield Reading(match.end(), ((pattern, _groups(pattern, match)),))
                elif pattern.frame.deed:
                    yield from _joined(text, start, pattern)


def _joined(text: str, start: int, pattern: Pattern) -> Iterator[Reading]:
    """Yield interpretations as two deeds of one subject: "Mia went to the mill and picked up the kite."."""
    match = pattern.head.match(text, start)
    if not match:
        return
    for other in _deeds():
        joined = other.tail.match(text, match.end())
        if joined:
            subject = ((Group(other.frame.subject, ""), match[1]),)
            both = (pattern, _groups(pattern, match)), (other, subject + _groups(other, joined, tail=True))
            yield Reading(joined.end(), both)


class Reader:
    """Parser of one story; `verdict` is the result so far."""

    def __init__(self) -> None:
        self.verdict = Verdict()
        self.world = World()
        self.cast = Cast()

    def read(self, text: str) -> None:
        """Read one or more paragraphs."""
        at = 0
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            candidates = sorted(readings(text, at), key=lambda reading: -reading.end)
            end = SENTENCE_END.search(text, at)
            stop = candidates[0].end if candidates else end.end() if end else len(text)
            understood = self._best(candidates) if candidates else None
            if understood:
                stop = understood.end
            piece = text[at:stop]
            narration = "" if piece.startswith("Question: ") else SPOKEN.sub("", piece)
            if understood and "I" not in self.cast.people and WE.search(narration):
                self.verdict.contradictions.append("pronoun")  # the narrator is not a character
            count = max(1, len(SENTENCE_END.findall(piece)))
            self.verdict.sentences += count
            if understood and not SMALL_START.search(piece) and not WRONG_ARTICLE.search(piece):
                self.verdict.in_grammar += count
                self.verdict.matched.append(piece)
            else:
                self.verdict.unmatched.append(piece)
            at = stop

    def _best(self, candidates: list[Reading]) -> Reading | None:
        """Choose the reading with the fewest contradictions, the longest of those, and apply its events."""
        best: tuple[int, Reading, World, Cast, list[str]] | None = None
        for reading in candidates:
            world, cast = self.world.copy(), self.cast.copy()
            wrong = self._happen(reading, world, cast)
            if wrong is not None and (best is None or len(wrong) < best[0]):
                best = (len(wrong), reading, world, cast, wrong)
                if not wrong:
                    break
        if best is None:
            return None
        _, reading, self.world, self.cast, wrong = best
        self.verdict.contradictions += wrong
        self.verdict.events += [pattern.operator.name for pattern, _ in reading.events]
        return reading

    def _happen(self, reading: Reading, world: World, cast: Cast) -> list[str] | None:
        """Apply a reading's events to `world`; return the contradictions, or None if a word is not in the lexicon."""
        wrong: list[str] = []
        for pattern, groups in reading.events:
            keys = self._resolved(pattern, groups, cast, wrong)
            if keys is None:
                return None
            cast.note(keys)
            described = [(keys.get(what.variable, ""), value) for what, value in groups if what.form == "what"]
            if not all(cast.describe(key, value) for key, value in described):
                return None
            wrong += cast.clashes
            cast.clashes.clear()
            self._complete(pattern, keys, world, cast)
            wrong += self._misplaced(groups, keys, cast)
            wrong += world.violations(pattern.operator, keys)
            world.apply(pattern.operator, keys)
        return wrong

    def _resolved(
        self, pattern: Pattern, groups: tuple[tuple[Group, str], ...], cast: Cast, wrong: list[str]
    ) -> Bindings | None:
        """Return the key of each variable of a frame; names are resolved before pronouns."""
        keys: Bindings = {}
        plain = [(what, value) for what, value in groups if not what.map_name and what.form != "what"]
        for what, value in plain:
            if what.variable in PEOPLE and cast.is_pronoun(value):
                continue
            key = cast.resolve(what.variable, what.form, value)
            if key is None:
                return None
            if keys.setdefault(what.variable, key) != key:
                wrong.append("name")
        named = [key for variable, key in keys.items() if variable in PEOPLE]
        if len(set(named)) < len(named):  # two variables are two people
            wrong.append("name")
        for what, value in plain:
            if what.variable in PEOPLE and cast.is_pronoun(value):
                usual = {"A": cast.hero, "B": cast.friend}.get(what.variable, "")
                key = cast.meant(value, keys.get(what.variable, usual))
                if key and keys.setdefault(what.variable, key) != key:
                    wrong.append("pronoun")
        return keys

    def _complete(self, pattern: Pattern, keys: Bindings, world: World, cast: Cast) -> None:
        """Complete variables that a frame does not name from the state."""
        for letter, key in (("A", cast.hero), ("B", cast.friend)):
            if letter in pattern.operator.sorts and key:
                keys.setdefault(letter, key)
        for atom in sorted(pattern.operator.before, key=lambda atom: atom.predicate in ("has", "lies")):
            if atom.positive:
                self._unify(atom, keys, world)

    def _unify(self, atom: Atom, keys: Bindings, world: World) -> None:
        missing = [arg for arg in atom.args if arg.isupper() and arg not in keys]
        if not missing:
            return
        if atom.predicate == "at":
            known = [(who, where) for who, where in world.place.items()]
        elif atom.predicate == "has":
            known = [(holder, thing) for thing, holder in world.holder.items()]
        elif atom.predicate == "lies":
            known = [(thing, holder[1:]) for thing, holder in world.holder.items() if holder[:1] == "@"]
        else:
            known = sorted(fact[1:] for fact in world.facts if fact[0] == atom.predicate)  # type: ignore[misc]
        for values in known:
            given = dict(zip(atom.args, values, strict=False))
            if all(keys.get(arg, value) == value for arg, value in given.items() if arg.isupper()):
                keys.update(given)
                return

    def _misplaced(self, groups: tuple[tuple[Group, str], ...], keys: Bindings, cast: Cast) -> list[str]:
        """Return the maps for whose keys the lexicon does not have the text."""
        wrong = []
        for what, value in groups:
            if what.map_name and what.variable in keys:
                key = keys[what.variable]
                if what.form:
                    key = cast.form(key, what.form)
                if key and not _fits(what.map_name, key, value):
                    wrong.append(what.map_name)
        return wrong


@cache
def _fits(name: str, key: str, value: str) -> bool:
    if ("home" if key[0] == "~" else key) not in lexicon().maps[name]:
        return False
    either = "|".join(expression(parse(varied(item))) for item in lexicon().keyed(name, key))
    return re.fullmatch(either, value, re.IGNORECASE) is not None


def read(text: str, *, whole: bool = True) -> Verdict:
    """Return the verdict on a story; one that was cut off (not `whole`) may leave its goal open."""
    reader = Reader()
    header = HEADER.match(text)
    if LETTER.match(text):
        reader.cast.begin_letter()
    body = text[header.end() :] if header else text
    reader.read(body)
    wrong = reader.verdict.contradictions
    if header:
        titled = Reader()
        titled.cast = reader.cast
        titled.world = reader.world
        titled.read(header["title"])
        reader.verdict.sentences += 1
        reader.verdict.in_grammar += titled.verdict.in_grammar > 0
        reader.verdict.unmatched += titled.verdict.unmatched
        words = set(re.findall(r"\w+", body.lower()))
        wrong += ["words" for word in (header["words"] or "").split(", ") if word and word.lower() not in words]
    if whole:
        wrong += ["unresolved" for fact in reader.world.facts if fact[0] == "goal"]
    return reader.verdict
