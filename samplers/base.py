"""Sampler: what one is. It reads the logits of the next token and returns changed ones."""

import ast
import inspect
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import ClassVar, TypeAlias

from torch import Tensor

from samplers.options import Options
from samplers.ranking import Ranked, Rows, Shortlist, by_id, spread

OptionValue: TypeAlias = bool | int | float | str
Step: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Sampler(Options):
    """One link of a chain. Its pydantic fields are its options: widgets, flags and checks are built from them.

    The first line of a sampler's docstring is shown beside its controls. `name` is unique, in lower case, and
    so is every option name over all samplers. `neutral` gives the option values with which the sampler
    changes nothing; it is empty where there are none.
    """

    name: ClassVar[str]
    neutral: ClassVar[Mapping[str, OptionValue]] = {}

    @abstractmethod
    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Return the changed logits: (B, V) float32, (B, T) int64 -> (B, V) float32.

        `tokens` is the text so far, prompt included; T may be 0, and an id may lie outside the vocabulary.
        A chain passes finite numbers and -inf only, at least one finite number in every row. A token is
        removed by setting it to -inf. Neither argument is changed in place, and no row affects another.
        """

    def start(self) -> Step:
        """Begin one generation: return what is called once per token. Override it to keep state meanwhile."""
        return self

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring: what the sampler does. Its name if there is no docstring to be found."""
        return _docstring(cls).partition("\n")[0] or cls.name

    @property
    def is_neutral(self) -> bool:
        """Whether the options are the neutral ones: a chain skips such a sampler."""
        return bool(self.neutral) and all(getattr(self, option) == value for option, value in self.neutral.items())

    def to_data(self) -> dict[str, OptionValue]:
        """The sampler as plain data, for JSON: {"name": "top_k", "top_k": 50}."""
        return {"name": self.name, **self.model_dump()}


@cache
def _docstring(cls: type[Sampler]) -> str:
    """The docstring of a class, from its source where Python has dropped it (`python -OO`); empty if there is none."""
    found = cls.__doc__
    if sys.flags.optimize > 1:
        with suppress(OSError, TypeError, SyntaxError):  # such as a class that was made in no file
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            found = ast.get_docstring(definition) if isinstance(definition, ast.ClassDef) else None
    return (found or "").strip()


class Monotone(ABC):
    """A step that changes every logit by itself and never puts one above another that was higher before."""

    @abstractmethod
    def change(self, logits: Tensor, top: Tensor) -> Tensor:
        """New logits, of some of each row and of its best one; the best one's is finite."""

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return self.change(logits, logits.amax(dim=1, keepdim=True))


class Filter(Sampler):
    """A sampler that only removes tokens and judges by the logits alone.

    What the ids are makes no difference to it, so a chain can show it just the tokens that are left.
    """

    @abstractmethod
    def choose(self, logits: Tensor) -> Shortlist:
        """The tokens that stay, of logits (B, V). Not asked of neutral options."""

    def narrow(self, left: Rows | Shortlist) -> Shortlist:
        """The tokens that stay, of those that are left."""
        if isinstance(left, Rows):
            values, ids = chosen = self.choose(left.whole())
        else:
            left = by_id(*left) if isinstance(left, Ranked) else left  # as in whole rows: it settles ties
            values, places = chosen = self.choose(left.values)
            ids = left.ids.gather(1, places)
        return Ranked(values, ids) if isinstance(chosen, Ranked) else by_id(values, ids)

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return logits if self.is_neutral else spread(self.choose(logits), logits.shape[1])


class Cutoff(Filter):
    """A filter that keeps the best tokens of every row, as many as it tells from the logits."""

    @abstractmethod
    def of_rows(self, rows: Rows) -> Shortlist:
        """`choose`, of rows of which it need not look at every token."""

    @abstractmethod
    def of_ranked(self, ranked: Ranked) -> Ranked:
        """`choose`, of tokens that are ranked already."""

    def choose(self, logits: Tensor) -> Shortlist:
        return self.of_rows(Rows.of(logits))

    def narrow(self, left: Rows | Shortlist) -> Shortlist:
        if type(self).choose is not Cutoff.choose or not isinstance(left, Rows | Ranked):
            return super().narrow(left)
        return self.of_rows(left) if isinstance(left, Rows) else self.of_ranked(left)
