"""The registry: every sampler by its name. Ours and strangers' enter by the same door, `register`."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from samplers.base import Sampler

SamplerClass = TypeVar("SamplerClass", bound=type[Sampler])

NAME = re.compile(r"[a-z][a-z0-9_]*")
# Words that requests, commands and explanations use for themselves beside samplers and their options.
RESERVED = re.compile(
    "chain|deadline|home|host|json|max_new_tokens|max_tokens|models?|n|name|port|precision|preset|prompt|rows|"
    "samplers?|seed|stop|stream"
)

_registered: dict[str, type[Sampler]] = {}


def register(cls: SamplerClass) -> SamplerClass:
    """Make a sampler known by its name; usable as a decorator. ValueError as `verify`; again is no error."""
    verify(cls)
    _registered[cls.name] = cls
    return cls


def verify(cls: type[Sampler]) -> None:
    """Raise ValueError, in a sentence, if this class cannot be registered beside those that are."""
    if not (isinstance(cls, type) and issubclass(cls, Sampler)):
        raise ValueError(f"{cls!r:.60} is not a class derived from samplers.Sampler")
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f'{cls.__name__} needs a name in lower case such as "top_k", not {name!r}')
    if sys.flags.optimize < 2 and not (cls.__doc__ or "").strip():
        raise ValueError(f"{cls.__name__} needs a docstring; its first line is shown beside its controls")
    try:
        cls()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{cls.__name__} cannot be made with its defaults: {error}") from error
    for other in _registered.values():
        if _origin(other) == _origin(cls):  # the same, or made anew by reloading its module
            continue
        if other.name == name:
            raise ValueError(f"the name {name!r} is already taken by {_origin(other)}")
        if shared := sorted(cls.model_fields.keys() & other.model_fields.keys()):
            raise ValueError(f"the option {shared[0]!r} already belongs to the sampler {other.name}")
    if reserved := next(filter(RESERVED.fullmatch, (name, *cls.model_fields)), None):
        raise ValueError(f"the name {reserved!r} is reserved; choose another for the sampler or its option")


def names() -> list[str]:
    """The names of all samplers, in the order in which they were registered."""
    return list(_registered)


def get(name: str) -> type[Sampler]:
    """The class of that name; ValueError lists those there are."""
    if name not in _registered:
        raise ValueError(f"there is no sampler {name!r:.60}; the samplers are: {', '.join(_registered)}")
    return _registered[name]


def build(name: str, /, **options: object) -> Sampler:
    """A sampler by name with these options, the others at their defaults; ValueError says what is wrong."""
    return get(name)(**options)


@contextmanager
def isolated() -> Iterator[None]:
    """Undo at the end whatever is registered inside."""
    before = dict(_registered)
    try:
        yield
    finally:
        _registered.clear()
        _registered.update(before)


def _origin(cls: type[Sampler]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
