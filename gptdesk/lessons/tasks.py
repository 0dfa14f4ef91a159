"""Lessons, their tasks, and the check of an answer."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from models.manager import ModelManager


@dataclass(frozen=True)
class Verdict:
    """Reply to an answer."""

    right: bool
    reply: str  # what the numbers are, in a sentence
    passages: tuple[tuple[str, str], ...] = ()  # texts that show it, with their names


@dataclass(frozen=True)
class Option:
    """Answer that can be chosen."""

    label: str
    right: bool
    reply: str  # to the right one; to a wrong one it would give the answer away
    hint: str = ""  # to a wrong one: what was measured about it, in a sentence


@dataclass(frozen=True)
class ChoiceTask:
    """Question with options, one at least of which is right."""

    question: str
    options: tuple[Option, ...]
    passages: tuple[tuple[str, str], ...] = ()  # texts that the question is about, with their names
    revealed: tuple[tuple[str, str], ...] = ()  # texts that the right answer shows, with their names

    def check(self, answer: object) -> Verdict:
        """Return the reply to the label of an option; ValueError if it is none."""
        for option in self.options:
            if option.label == answer:
                return Verdict(option.right, *((option.reply, self.revealed) if option.right else (option.hint,)))
        raise ValueError("no answer is chosen; choose one")


@dataclass(frozen=True)
class NumberTask:
    """Question with a number as its answer, right within a distance of it."""

    question: str
    answer: float
    within: float
    reply: str
    passages: tuple[tuple[str, str], ...] = ()

    def check(self, answer: object) -> Verdict:
        """Return the reply to a number; ValueError if it is none."""
        if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
            raise ValueError("there is no number to check; type one")
        return Verdict(abs(answer - self.answer) <= self.within, self.reply)


Task = ChoiceTask | NumberTask


@dataclass(frozen=True)
class Lesson:
    """A subject in a few sentences, and its tasks, made anew each time."""

    name: str
    title: str
    text: str
    make: Callable[[ModelManager, random.Random], tuple[Task, ...]]


def options(source: random.Random, *labelled: Option) -> tuple[Option, ...]:
    """Return the options in a random order."""
    mixed = list(labelled)
    source.shuffle(mixed)
    return tuple(mixed)
