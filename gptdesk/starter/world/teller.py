"""Events to sentences: choice of frames and words, pronouns, connectives and paragraphs."""

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
MANNERS = odds(4, 3, 5)  # of naming the speaker: "said Mia", "Mia said", with an adverb
LOUD = ("cries", "whispers")  # verbs that take no adverb
LINK = odds(5, 5)
JOIN = coin(0.4)
SHORT = coin(0.6)
BREAK = coin(0.12)
VOWEL = re.compile(r"\b([Aa]) (?=[aeiou])")
CAPITAL = re.compile(r'(?:^|[.!?] |\." |Title: |Answer: )"?[a-z]')


def polish(text: str) -> str:
    """Replace "a" by "an" before a vowel, and begin every sentence with a capital."""
    text = VOWEL.sub(r"\1n ", text)
    return CAPITAL.sub(lambda match: match[0][:-1] + match[0][-1].upper(), text)


def _begun(sentence: str) -> str:
    """Return a sentence with a capital at the start."""
    first = 1 if sentence[0] == '"' else 0
    return sentence[:first] + sentence[first].upper() + sentence[first + 1 :]


def _key(value: Entity | str | None) -> str:
    return value.key if isinstance(value, Entity) else ""


def _rest(frame: Frame) -> Part:
    """Return what follows the subject of a frame that begins with one."""
    assert isinstance(frame.part, tuple)
    return frame.part[1:]


class Teller:
    """Narrates events; `text` is the story so far."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.words = 0
        self.first_person = False
        self._paragraphs: list[list[str]] = [[]]
        self._focus = ""  # subject of the last sentence
        self._open = ""  # subject of the last sentence, if another deed may be joined to it
        self._speaker = ""  # speaker of the last sentence, if it was speech

    @property
    def text(self) -> str:
        return "\n\n".join(polish(" ".join(sentences)) for sentences in self._paragraphs if sentences)

    def paragraph(self) -> None:
        """Begin a paragraph."""
        if self._paragraphs[-1]:
            self._paragraphs.append([])
        self._focus = self._open = self._speaker = ""

    def tell(self, message: Message, bindings: Bindings) -> None:
        """Narrate one event with these values for the variables of its operator."""
        frame = message.frames[self.dice.roll(message.odds)]
        speaker, subject = _key(bindings.get(frame.speaker)), _key(bindings.get(frame.subject))
        if frame.spoken and self._speaker not in ("", speaker):
            self.paragraph()  # another speaker, another paragraph
        words: list[str] = []
        if frame.deed and self._open == subject and self.dice.roll(JOIN):
            self._say(_rest(frame), bindings, words)
            self._paragraphs[-1][-1] = f"{self._paragraphs[-1][-1][:-1]} and{''.join(words)}"
            self._open = ""
        else:
            if len(self._paragraphs[-1]) > 1 and self.dice.roll(BREAK):
                self.paragraph()
            self._sentence(frame, bindings, words)
            sentence = _begun("".join(words))
            self._paragraphs[-1].append(sentence)
            self._open = subject if frame.deed and " and " not in sentence else ""
        self._speaker = speaker
        self._focus = speaker or subject
        self.words += len("".join(words).split())

    def _sentence(self, frame: Frame, bindings: Bindings, words: list[str]) -> None:
        if frame.moves_on and self.dice.roll(LINK):
            self._say(listed("link"), bindings, words)
            words.append(" ")
        who = bindings.get(frame.subject)
        if isinstance(who, Entity) and who.key == self._focus:
            self._name(who, words, pronoun=True)
            self._say(_rest(frame), bindings, words)
        else:
            self._say(frame.part, bindings, words)

    def _name(self, who: Entity, words: list[str], *, pronoun: bool) -> None:
        short = pronoun and who.gender and not who.first_person and self.dice.roll(SHORT)
        words.append(who.forms["he"] if short else who.forms[""])

    def _say(self, part: Part, bindings: Bindings, words: list[str]) -> None:
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, tuple):
            for piece in part:
                self._say(piece, bindings, words)
        elif isinstance(part, Choice):
            self._say(part.options[self.dice.roll(part.odds)], bindings, words)
        elif isinstance(part, Slot):
            value = bindings[part.variable]
            words.append(value.forms[part.form] if isinstance(value, Entity) else value)
        elif isinstance(part, Both):
            words.append(FIRST_PERSON[part.word] if self.first_person else part.word)
        elif isinstance(part, Speech):
            self._speech(part, bindings, words)
        else:
            self._keyed(part, bindings, words)

    def _keyed(self, part: Keyed, bindings: Bindings, words: list[str]) -> None:
        value = bindings[part.variable]
        key = value if isinstance(value, str) else value.forms[part.form] if part.form else value.key
        items = lexicon().keyed(part.name, key)
        self._say(parse(varied(items[self.dice.roll(zipf(len(items), 8.0))])), bindings, words)

    def _speech(self, part: Speech, bindings: Bindings, words: list[str]) -> None:
        """Append the speaker after the speech: "said Mia", "Mia said", "he said softly"."""
        who = bindings[part.variable]
        assert isinstance(who, Entity)
        verb: list[str] = []
        self._say(listed(part.name), bindings, verb)
        name: list[str] = []
        self._name(who, name, pronoun=who.key == self._focus)
        manner = self.dice.roll(MANNERS)
        if name[0] in ("I", "he", "she") or manner == 1:
            words += [*name, " ", *verb]
        else:
            words += [*verb, " ", *name]
        if manner == 2 and part.name not in LOUD:
            words.append(" ")
            self._say(listed("manner"), bindings, words)
