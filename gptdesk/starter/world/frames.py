"""Sentence templates (frames) with choices and slots, read once from the text files.

`{A}` somebody, `{A.his}` a form of theirs, `{X.one}` a thing, `{P.at}` a place, `{they}` both friends; `{says A}` who
speaks; `{@list}` an item of a list, `{@map/P}` an item of what a map has for P, `{?list}` an item and a space, or
nothing; `[one|two|three]` a choice, earlier ones more probable. A frame that begins with ~ continues the story: it may
have a connective in front.
"""

import re
from dataclasses import dataclass
from functools import cache

from gptdesk.starter.world.dice import Odds, coin, odds, zipf
from gptdesk.starter.world.lexicon import TEXT, lexicon
from gptdesk.starter.world.state import Operator, operator


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of a form of a variable."""

    variable: str
    form: str


@dataclass(frozen=True, slots=True)
class Keyed:
    """Place of an item that a map has for a variable's value, or for one of its forms."""

    name: str
    variable: str
    form: str


@dataclass(frozen=True, slots=True)
class Speech:
    """Place of the speaker and the verb; `name` is the list of verbs."""

    variable: str
    name: str


@dataclass(frozen=True, slots=True)
class Both:
    """Place of a pronoun for both friends, given in the third person."""

    word: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Place of one of several parts."""

    options: tuple["Part", ...]
    odds: Odds


Part = str | Slot | Keyed | Speech | Both | Choice | tuple["Part", ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Sentence template of an event."""

    part: Part
    subject: str  # the variable it begins with, if it begins with somebody
    moves_on: bool  # may have a connective in front, and be joined to the sentence before
    spoken: bool  # begins with speech
    deed: bool  # a plain sentence about what the subject does, to which another may be joined
    speaker: str  # the variable who speaks, if one does
    source: str


@dataclass(frozen=True, slots=True)
class Message:
    """Operator with all its frames."""

    operator: Operator
    frames: tuple[Frame, ...]
    odds: Odds


SOMETIMES = 0.42
FIRST_PERSON = {"they": "we", "them": "us", "their": "our", "themselves": "ourselves"}
TOKEN = re.compile(r"\{([^}]*)\}|([\[|\]])|([^\[\]|{}]+)")


SHORT = {"will not": "won't", "cannot": "can't", " not": "n't", " am": "'m", " is": "'s", " are": "'re", " will": "'ll"}
SHORT |= {" have": "'ve", " would": "'d", "et us": "et's"}
SHORTENED = re.compile(
    r"(?<![\w'{@])(?<!May )(?:(?:do|does|did|is|was|will|could|would|are) not|cannot|I am|I have|I will|I would|"
    r"[Ii]t is|[Tt]here is|[Tt]hat is|[Yy]ou are|[Ww]e are|[Yy]ou will|[Ll]et us)(?= [\w{\[])"
)


@cache
def listed(name: str) -> Choice:
    """Return a choice among the items of a list, which may have slots; an item given twice is twice as probable."""
    weights: dict[str, float] = {}
    for rank, item in enumerate(lexicon().lists[name]):
        weights[item] = weights.get(item, 0.0) + 1.0 / (rank + 60.0)
    return Choice(tuple(map(parse, weights)), odds(*weights.values()))


def _slot(inside: str) -> Part:
    if inside[0] == "?":
        return Choice(("", (listed(inside[1:]), " ")), coin(SOMETIMES))
    if inside[0] == "@":
        name, _, key = inside[1:].partition("/")
        variable, _, form = key.partition(".")
        return Keyed(name, variable, form) if key else listed(name)
    if inside in FIRST_PERSON:
        return Both(inside)
    if " " in inside:
        name, variable = inside.split()
        return Speech(variable, name)
    variable, _, form = inside.partition(".")
    return Slot(variable, form)


@cache
def synonyms() -> tuple[re.Pattern[str], dict[str, str]]:
    """Read synonyms.txt: a pattern that finds its phrases outside of slots, and the choice for each."""
    choices: dict[str, str] = {}
    for line in (TEXT / "synonyms.txt").read_text("utf-8").splitlines():
        if line and line[0] != "#":
            phrase = line.split(" | ")[0]
            assert phrase not in choices, phrase
            choices[phrase] = f"[{line.replace(' | ', '|')}]"
    phrases = sorted(choices, key=lambda phrase: (-len(phrase), phrase))
    either = "|".join(map(re.escape, phrases))
    return re.compile(rf"(?<![\w'])(?:{either})(?![\w'])|\{{[^}}]*\}}"), choices


@cache
def varied(source: str) -> str:
    """Return a frame with a choice for each phrase that has synonyms."""
    pattern, choices = synonyms()
    text = pattern.sub(lambda match: choices.get(match[0], match[0]), source)
    parts = text.split('"')
    parts[1::2] = [
        SHORTENED.sub(lambda match: f"[{match[0]}|{_shortened(match[0])}]", speech) for speech in parts[1::2]
    ]
    return '"'.join(parts)


def _shortened(words: str) -> str:
    """Return the contraction: "don't" for "do not", "I'm" for "I am"."""
    for long, short in SHORT.items():
        words = re.sub(rf"{long}$", short, words)
    return words


@cache
def parse(source: str) -> Part:
    """Parse a frame into its parts."""
    stack: list[list[list[Part]]] = [[[]]]
    for inside, mark, literal in TOKEN.findall(source):
        if mark == "[":
            stack.append([[]])
        elif mark == "|":
            stack[-1].append([])
        elif mark == "]":
            options = tuple(_joined(parts) for parts in stack.pop())
            assert len(set(options)) == len(options), source
            stack[-1][-1].append(Choice(options, zipf(len(options), 16.0)))
        else:
            stack[-1][-1].append(_slot(inside) if inside else literal)
    assert len(stack) == 1, source
    assert len(stack[0]) == 1, source
    return _joined(stack[0][0])


def _joined(parts: list[Part]) -> Part:
    return parts[0] if len(parts) == 1 else tuple(parts) if parts else ""


def _led(text: str, subject: re.Match[str] | None) -> str:
    """Return the text with synonyms; one that begins with a subject keeps it in front."""
    return f"{text[:3]}{varied(text[3:])}" if subject else varied(text)


def frame(source: str) -> Frame:
    """Parse one frame with its properties."""
    text = source.removeprefix("~")
    subject = re.match(r"\{([A-E])\} (?!and )", text)
    speaker = re.search(r"\{\w+ ([A-E])\}", text)
    deed = source[0] == "~" and subject is not None and len(re.findall(r"[.!?\"](?![a-z]*\})", text)) == 1
    return Frame(
        parse(_led(text, subject)),
        subject[1] if subject else "",
        source[0] == "~",
        text[0] == '"',
        deed,
        speaker[1] if speaker else "",
        source,
    )


@cache
def messages() -> dict[str, Message]:
    """Read all operators by name from the frames*.txt files."""
    by_name: dict[str, Message] = {}
    for path in sorted(TEXT.glob("frames*.txt")):
        for block in path.read_text("utf-8").split("\n* ")[1:]:
            header, *lines = block.splitlines()
            sources = [line.strip() for line in lines if line.strip() and line[0] != "#"]
            event = operator(header)
            assert event.name not in by_name, event.name
            assert sources, event.name
            by_name[event.name] = Message(event, tuple(frame(line) for line in sources), zipf(len(sources), 16.0))
    return by_name
