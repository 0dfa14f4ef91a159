"""Registry of samplers by name. Built-in samplers and plugins are added by the same function, `register`."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from samplers.base import Sampler

SamplerClass = TypeVar("SamplerClass", bound=type[Sampler])

NAME = re.compile(r"[a-z][a-z0-9_]*")
# Names that requests, commands and explanations use beside those of samplers and their options.
RESERVED = re.compile(
    "chain|deadline|home|host|json|max_new_tokens|max_tokens|models?|n|name|port|precision|preset|prompt|rows|"
    "samplers?|seed|stop|stream"
)

_registered: dict[str, type[Sampler]] = {}


def register(cls: SamplerClass) -> SamplerClass:
    """Add a sampler to the registry; usable as a decorator. Raises ValueError as `verify` does; twice is no error."""
    verify(cls)
    _registered[cls.name] = cls
    return cls


def verify(cls: type[Sampler]) -> None:
    """Raise ValueError, with one sentence, if this class cannot be registered beside the others."""
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
        if _origin(other) == _origin(cls):  # the same class, or the same after its module was reloaded
            continue
        if other.name == name:
            raise ValueError(f"the name {name!r} is already taken by {_origin(other)}")
        if shared := sorted(cls.model_fields.keys() & other.model_fields.keys()):
            raise ValueError(f"the option {shared[0]!r} already belongs to the sampler {other.name}")
    if reserved := next(filter(RESERVED.fullmatch, (name, *cls.model_fields)), None):
        raise ValueError(f"the name {reserved!r} is reserved; choose another for the sampler or its option")


def names() -> list[str]:
    """Return the names of all samplers, in the order in which they were registered."""
    return list(_registered)


def get(name: str) -> type[Sampler]:
    """Return the class of that name. Raises ValueError, with the list of names, if there is none."""
    if name not in _registered:
        raise ValueError(f"there is no sampler {name!r:.60}; the samplers are: {', '.join(_registered)}")
    return _registered[name]


def build(name: str, /, **options: object) -> Sampler:
    """Build a sampler by name with these options, the others at their defaults. Raises ValueError if one is wrong."""
    return get(name)(**options)


@contextmanager
def isolated() -> Iterator[None]:
    """Restore the registry at the end of the block."""
    before = dict(_registered)
    try:
        yield
    finally:
        _registered.clear()
        _registered.update(before)


def _origin(cls: type[Sampler]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
