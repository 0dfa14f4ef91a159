"""Parser of stories: recognises their frames and applies the events to a world, which finds contradictions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from gptdesk.starter.world.cast import Cast
from gptdesk.starter.world.clashes import Clash, Finding, apart, clash, person_name, spot, violated, within
from gptdesk.starter.world.frames import parse, varied
from gptdesk.starter.world.lexicon import lexicon
from gptdesk.starter.world.patterns import Group, Pattern, expression, patterns
from gptdesk.starter.world.state import PEOPLE, PLACES, Atom, Part, World

SENTENCE_END = re.compile(r'[.!?]"?(?=\s|$)')
SMALL_START = re.compile(r'(?:^|[.!?] |\." )"?[a-z]')
WRONG_ARTICLE = re.compile(r"\b(?:[Aa] (?=[aeiou])(?!use|one)|[Aa]n (?=[bcdfghjklmnpqrstvwxyz](?!our)))")
HEADER = re.compile(r"(?:Words: (?P<words>[^\n]*)\n)?(?P<title>Title: [^\n]*)(?:\n\n|\Z)")
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
    """Result of reading a story, with its contradictions in the text's order."""

    sentences: int = 0
    in_grammar: int = 0
    findings: list[Finding] = field(default_factory=list)  # their sentences by their number in `spans`
    spans: list[tuple[int, int]] = field(default_factory=list)  # of the sentences of a frame, begin and end
    unclear: list[int] = field(default_factory=list)  # numbers of the sentences that are no frame's
    last: int = 0  # number of the last sentence; that of the header is after it
    events: list[str] = field(default_factory=list)  # names of their operators
    matched: list[str] = field(default_factory=list)  # pieces of text in the grammar
    unmatched: list[str] = field(default_factory=list)  # all others

    @property
    def contradictions(self) -> list[str]:
        """Kinds of the contradictions, words like "absent", "has", "pronoun"."""
        return [finding.kind for finding in self.findings]


@cache
def _by_key() -> dict[str, tuple[Pattern, ...]]:
    """Return the patterns by the longest of the words that their texts always have."""
    by_key: dict[str, list[Pattern]] = {}
    for pattern in patterns():
        by_key.setdefault(max(sorted(pattern.keys), key=len, default=""), []).append(pattern)
    return {key: tuple(some) for key, some in by_key.items()}


@cache
def _deeds() -> tuple[Pattern, ...]:
    return tuple(pattern for pattern in patterns() if pattern.frame.deed)


def _groups(pattern: Pattern, match: re.Match[str], *, tail: bool = False) -> tuple[tuple[Group, str], ...]:
    meanings = pattern.groups[1:] if tail else pattern.groups
    return tuple((what, text) for what, text in zip(meanings, match.groups(), strict=True) if text is not None)


def readings(text: str, start: int) -> Iterator[Reading]:
    """Yield all interpretations as one frame, or two joined, from `start` to the end of a sentence."""
    words = frozenset(["", *re.findall(r"[a-z']+", text[start : start + 300].lower())])
    for key, some in _by_key().items():
        for pattern in some if key in words else ():
            if pattern.keys <= words:  # an expression takes far longer to compile
                match = pattern.whole.match(text, start)
                if match:
                    yield Reading(match.end(), ((pattern, _groups(pattern, match)),))
                elif pattern.frame.deed and "and" in words:
                    yield from _joined(text, start, pattern, words)


def _joined(text: str, start: int, pattern: Pattern, words: frozenset[str]) -> Iterator[Reading]:
    """Yield interpretations as two deeds of one subject: "Mia went to the mill and picked up the kite."."""
    match = pattern.head.match(text, start)
    if not match:
        return
    for other in _deeds():
        joined = other.tail.match(text, match.end()) if other.keys <= words else None
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
        self._told: dict[Part, int] = {}  # number of the sentence that has set a part of the state

    def read(self, text: str, start: int = 0) -> None:
        """Read one or more paragraphs, from `start` on."""
        at, verdict = start, self.verdict
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
                self._report([clash("pronoun", "nobody tells this story who could say “we”")])
            count = max(1, len(SENTENCE_END.findall(piece)))
            verdict.sentences += count
            if understood and not SMALL_START.search(piece) and not WRONG_ARTICLE.search(piece):
                verdict.in_grammar += count
                verdict.matched.append(piece)
            else:
                verdict.unmatched.append(piece)
            if not understood:
                verdict.unclear.append(len(verdict.spans))
            verdict.last = len(verdict.spans)
            verdict.spans.append((at, stop))
            at = stop

    def _report(self, wrong: list[Clash]) -> None:
        """Add the contradictions of the sentence that is being read, each with the last sentence that it breaks."""
        number = len(self.verdict.spans)
        for one in wrong:
            told = [self._told[part] for part in one.parts if part in self._told]
            why = one.why if told or not one.untold else one.untold
            self.verdict.findings.append(Finding(one.kind, why, number, max(told, default=None)))

    def unresolved(self) -> None:
        """Add a contradiction of the last sentence for each problem that is still open."""
        for fact in sorted(fact for fact in self.world.facts if fact[0] == "goal"):
            why = "The story ends, and its problem is not solved"
            self.verdict.findings.append(Finding("unresolved", why, self.verdict.last, self._told.get(fact)))

    def _best(self, candidates: list[Reading]) -> Reading | None:
        """Choose the reading with the fewest contradictions, the longest of those, and apply its events."""
        best: tuple[int, Reading, World, Cast, list[Clash]] | None = None
        for reading in candidates:
            world, cast = self.world.copy(), self.cast.copy()
            wrong = self._happen(reading, world, cast)
            if wrong is not None and (best is None or len(wrong) < best[0]):
                best = (len(wrong), reading, world, cast, wrong)
                if not wrong:
                    break
        if best is None:
            return None
        _, reading, world, cast, wrong = best
        self._report(wrong)
        parts = world.changed(self.world)
        parts |= {("person", key) for key, _ in cast.people.items() ^ self.cast.people.items()}
        self._told |= dict.fromkeys(parts, len(self.verdict.spans))
        self.world, self.cast = world, cast
        self.verdict.events += [pattern.operator.name for pattern, _ in reading.events]
        return reading

    def _happen(self, reading: Reading, world: World, cast: Cast) -> list[Clash] | None:
        """Apply a reading's events to `world`; return the contradictions, or None if a word is not in the lexicon."""
        wrong: list[Clash] = []
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
            wrong += self._misplaced(groups, keys, world, cast)
            impossible = violated(world.violated(pattern.operator, keys), keys, world)
            if people := world.apart(pattern.operator, keys):
                impossible.append(apart(people, world))
            wrong += [within(one, world.changed(self.world)) for one in impossible]
            world.apply(pattern.operator, keys)
        return wrong

    def _resolved(
        self, pattern: Pattern, groups: tuple[tuple[Group, str], ...], cast: Cast, wrong: list[Clash]
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
            if (other := keys.setdefault(what.variable, key)) != key:
                wrong.append(clash("name", f"{person_name(other)} and {person_name(key)} are one in this sentence"))
        named = [key for variable, key in keys.items() if variable in PEOPLE]
        if len(set(named)) < len(named):  # two variables are two people
            twice = person_name(max(named, key=named.count))
            wrong.append(clash("name", f"this sentence is about two, and {twice} is both", [("person", cast.friend)]))
        for what, value in plain:
            if what.variable in PEOPLE and cast.is_pronoun(value):
                usual = {"A": cast.hero, "B": cast.friend}.get(what.variable, "")
                key = cast.meant(value, keys.get(what.variable, usual))
                if key and (other := keys.setdefault(what.variable, key)) != key:
                    why = f"“{value}” is {person_name(key)}, and this sentence is about {person_name(other)}"
                    wrong.append(clash("pronoun", why, [("person", key)]))
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

    def _misplaced(
        self, groups: tuple[tuple[Group, str], ...], keys: Bindings, world: World, cast: Cast
    ) -> list[Clash]:
        """Return a contradiction for each map that does not have the text for its key."""
        wrong = []
        for what, value in groups:
            if what.map_name and what.variable in keys:
                who = key = keys[what.variable]
                if what.form:
                    key = cast.form(key, what.form)
                if key and not _fits(what.map_name, key, value):
                    misfit = f"belong {spot(key)}" if what.variable in PLACES else f"suit “{key}”"
                    parts: list[Part] = [
                        ("person", who),
                        *(("at", one) for one, at in world.place.items() if at == key),
                    ]
                    wrong.append(clash(what.map_name, f"“{value}” does not {misfit}", parts))
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
    reader.read(text, header.end() if header else 0)
    verdict = reader.verdict
    if header:
        titled = Reader()
        titled.cast = reader.cast
        titled.world = reader.world
        titled.read(header["title"])
        verdict.sentences += 1
        verdict.in_grammar += titled.verdict.in_grammar > 0
        verdict.unmatched += titled.verdict.unmatched
        words = set(re.findall(r"\w+", text[header.end() :].lower()))
        missing = [word for word in (header["words"] or "").split(", ") if word and word.lower() not in words]
        verdict.findings += [Finding("words", f"“{word}” is not in the story", len(verdict.spans)) for word in missing]
        verdict.spans.append((0, header.end("title")))
    if whole:
        reader.unresolved()
    return verdict
