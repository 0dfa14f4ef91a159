"""Interface of a sampler: logits of the next token in, changed logits out."""

import ast
import inspect
import sys
import textwrap
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import ClassVar, TypeAlias

from torch import Tensor

from samplers.options import Options

OptionValue: TypeAlias = bool | int | float | str
Step: TypeAlias = Callable[[Tensor, Tensor], Tensor]


class Sampler(Options):
    """Link of a chain. Its pydantic fields are its options: widgets, flags and checks are built from them.

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
        """Begin one generation: return the function to call once per token. Override it to keep state."""
        return self

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring, or the sampler's name if it has none."""
        return _docstring(cls).partition("\n")[0] or cls.name

    @property
    def is_neutral(self) -> bool:
        """True if every option has its neutral value; a chain skips such a sampler."""
        return bool(self.neutral) and all(getattr(self, option) == value for option, value in self.neutral.items())

    def to_data(self) -> dict[str, OptionValue]:
        """Return the sampler as plain data, for JSON: {"name": "top_k", "top_k": 50}."""
        return {"name": self.name, **self.model_dump()}


@cache
def _docstring(cls: type[Sampler]) -> str:
    """Return the docstring of a class, from its source where `python -OO` has dropped it; empty if it has none."""
    docstring = cls.__doc__
    if sys.flags.optimize > 1:
        with suppress(OSError, TypeError, SyntaxError):  # such as a class that was made in no file
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            docstring = ast.get_docstring(definition) if isinstance(definition, ast.ClassDef) else None
    return (docstring or "").strip()
