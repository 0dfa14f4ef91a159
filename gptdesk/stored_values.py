"""Lenient validation of stored JSON: damaged values are left out, with one warning."""

import logging
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache, lru_cache
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

log = logging.getLogger(__name__)

LARGEST = 10**15  # largest stored number: beyond it, sums and quotients exceed what a float or a page can hold
Kind = TypeVar("Kind")


def fitting(kind: type[Kind], data: Mapping[str, object]) -> tuple[Kind, list[str]]:
    """Return the dataclass with those values of `data` that fit its fields, and the names of those that do not.

    The others have their defaults; raises ValueError if a field has none. Unknown names are ignored.
    """
    adapters, good, bad = _adapters(kind), {}, []  # type: ignore[arg-type]
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in data:
            try:
                good[field.name] = adapters[field.name].validate_python(data[field.name])
                continue
            except (ValidationError, OverflowError):
                bad.append(field.name)
        if field.default is MISSING:
            value = f", not {data[field.name]!r:.60}" if field.name in data else ""
            raise ValueError(f"it has no usable {field.name}{value}")
    return kind(**good), bad


def is_number(value: object) -> bool:
    """Return whether this is a number that can be computed with and shown: no boolean, finite, at most LARGEST."""
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST  # type: ignore[operator]


@cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    return {name: TypeAdapter(hint, config=strict) for name, hint in get_type_hints(kind, include_extras=True).items()}


@lru_cache(maxsize=1000)
def warn_once(sentence: str) -> None:
    """Log a warning unless it was logged recently, for files that are read repeatedly."""
    log.warning("%s", sentence)
