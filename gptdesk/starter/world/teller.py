"""Puts what happens into words: chooses frames and their words, pronouns, connectives and paragraphs."""

import re
from collections.abc import Mapping

from gptdesk.starter.world.dice import Dice, coin, odds, zipf
from gptdesk.starter.world.frames import (
    FIRST_PERSON,
    Both,
    Choice,
    Frame,
    Keyed,
    Message,
    Part,
    Slot,
    Speech,
    listed,
    parse,
    varied,
)
from gptdesk.starter.world.lexicon import Entity, lexicon

Bindings = Mapping[str, Entity | str]
MANNERS = odds(4, 3, 5)  # of naming who speaks: "said Mia", "Mia said", with an adverb
LOUD = ("cries", "whispers")  # verbs that leave nothing to add
LINK = odds(5, 5)
JOIN = coin(0.4)
SHORT = coin(0.6)
BREAK = coin(0.12)
VOWEL = re.compile(r"\b([Aa]) (?=[aeiou])")
CAPITAL = re.compile(r'(?:^|[.!?] |\." |Title: |Answer: )"?[a-z]')


def polish(text: str) -> str:
    """Turn "a" into "an" where a vowel follows, and start every sentence with a capital."""
    text = VOWEL.sub(r"\1n ", text)
    return CAPITAL.sub(lambda match: match[0][:-1] + match[0][-1].upper(), text)


def _begun(sentence: str) -> str:
    """With a capital at the start."""
    first = 1 if sentence[0] == '"' else 0
    return sentence[:first] + sentence[first].upper() + sentence[first + 1 :]


def _key(value: Entity | str | None) -> str:
    return value.key if isinstance(value, Entity) else ""


def _rest(frame: Frame) -> Part:
    """What follows the subject of a frame that begins with one."""
    assert isinstance(frame.part, tuple)
    return frame.part[1:]


class Teller:
    """Tells events, one after the other; `text` is the story so far."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.words = 0
        self.first_person = False
        self._paragraphs: list[list[str]] = [[]]
        self._focus = ""  # who the last sentence was about
        self._open = ""  # whose deed the last sentence tells, if another may be joined to it
        self._speaker = ""  # who spoke last, if the last sentence was speech

    @property
    def text(self) -> str:
        return "\n\n".join(polish(" ".join(sentences)) for sentences in self._paragraphs if sentences)

    def paragraph(self) -> None:
        """Begin a new one."""
        if self._paragraphs[-1]:
            self._paragraphs.append([])
        self._focus = self._open = self._speaker = ""

    def tell(self, message: Message, bindings: Bindings) -> None:
        """One event, with these values for the variables of its operator."""
        frame = message.frames[self.dice.roll(message.odds)]
        speaker, subject = _key(bindings.get(frame.speaker)), _key(bindings.get(frame.subject))
        if frame.spoken and self._speaker not in ("", speaker):
            self.paragraph()  # another speaker, another paragraph
        said: list[str] = []
        if frame.deed and self._open == subject and self.dice.roll(JOIN):
            self._say(_rest(frame), bindings, said)
            self._paragraphs[-1][-1] = f"{self._paragraphs[-1][-1][:-1]} and{''.join(said)}"
            self._open = ""
        else:
            if len(self._paragraphs[-1]) > 1 and self.dice.roll(BREAK):
                self.paragraph()
            self._sentence(frame, bindings, said)
            sentence = _begun("".join(said))
            self._paragraphs[-1].append(sentence)
            self._open = subject if frame.deed and " and " not in sentence else ""
        self._speaker = speaker
        self._focus = speaker or subject
        self.words += len("".join(said).split())

    def _sentence(self, frame: Frame, bindings: Bindings, said: list[str]) -> None:
        if frame.moves_on and self.dice.roll(LINK):
            self._say(listed("link"), bindings, said)
            said.append(" ")
        who = bindings.get(frame.subject)
        if isinstance(who, Entity) and who.key == self._focus:
            self._name(who, said, pronoun=True)
            self._say(_rest(frame), bindings, said)
        else:
            self._say(frame.part, bindings, said)

    def _name(self, who: Entity, said: list[str], *, pronoun: bool) -> None:
        short = pronoun and who.gender and not who.first_person and self.dice.roll(SHORT)
        said.append(who.forms["he"] if short else who.forms[""])

    def _say(self, part: Part, bindings: Bindings, said: list[str]) -> None:
        if isinstance(part, str):
            said.append(part)
        elif isinstance(part, tuple):
            for piece in part:
                self._say(piece, bindings, said)
        elif isinstance(part, Choice):
            self._say(part.options[self.dice.roll(part.odds)], bindings, said)
        elif isinstance(part, Slot):
            value = bindings[part.variable]
            said.append(value.forms[part.form] if isinstance(value, Entity) else value)
        elif isinstance(part, Both):
            said.append(FIRST_PERSON[part.word] if self.first_person else part.word)
        elif isinstance(part, Speech):
            self._speech(part, bindings, said)
        else:
            self._keyed(part, bindings, said)

    def _keyed(self, part: Keyed, bindings: Bindings, said: list[str]) -> None:
        value = bindings[part.variable]
        key = value if isinstance(value, str) else value.forms[part.form] if part.form else value.key
        items = lexicon().keyed(part.name, key)
        self._say(parse(varied(items[self.dice.roll(zipf(len(items), 8.0))])), bindings, said)

    def _speech(self, part: Speech, bindings: Bindings, said: list[str]) -> None:
        """Who speaks, after what was said: "said Mia", "Mia said", "he said softly"."""
        who = bindings[part.variable]
        assert isinstance(who, Entity)
        verb: list[str] = []
        self._say(listed(part.name), bindings, verb)
        name: list[str] = []
        self._name(who, name, pronoun=who.key == self._focus)
        manner = self.dice.roll(MANNERS)
        if name[0] in ("I", "he", "she") or manner == 1:
            said += [*name, " ", *verb]
        else:
            said += [*verb, " ", *name]
        if manner == 2 and part.name not in LOUD:
            said.append(" ")
            self._say(listed("manner"), bindings, said)
