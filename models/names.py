"""Names of models and runs: validity, and equality on every file system."""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
NAME_RULE = (
    "a model's name has up to 80 letters, digits, dots, dashes and underscores, and starts with one of the first two"
)
KNOWN_AS = re.compile(rf"{NAME.pattern}(@[A-Za-z0-9]{{1,20}})?")  # NAME@STATE: a model as it was at some time
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10))}


def check_name(name: str, allowed: re.Pattern[str]) -> None:
    """Raise ValueError for what cannot be a model's name."""
    if not allowed.fullmatch(name):
        raise ValueError(f"{name[:100]!r} cannot be a model: {NAME_RULE}")


def folded(name: str) -> str:
    """Return a form that is equal for names that some file system does not tell apart: macOS and Windows fold case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def same_as(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that some file system does not tell from `name`, `name` itself if possible, or None."""
    equal = [other for other in names if folded(other) == folded(name)]
    return name if name in equal else next(iter(equal), None)


def check_new_name(name: str, taken: Mapping[str, str]) -> None:
    """Raise ValueError if no new model or run can have this name.

    `taken` are the names in use, each with what has it: "model", "bundled model" or "run".
    """
    check_name(name, NAME)
    if _is_device(name):
        raise ValueError(f"{name!r} cannot be a name, for Windows keeps it for a device; choose another name")
    if name.endswith("."):
        raise ValueError(f"{name!r} cannot be a name, for Windows drops a dot at the end; leave the dot out")
    other = same_as(name, taken)
    if other == name:
        raise ValueError(f"there is a {taken[other]} {name} already; choose another name")
    if other is not None:
        raise ValueError(
            f"{name} differs from the {taken[other]} {other} only in capitals, and on some systems both would be one "
            "folder; choose another name"
        )


def free_name(wished: str, taken: Iterable[str]) -> str:
    """Return a valid name like the one wished that every file system tells apart from those taken."""
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", wished).strip("-._")[:60].rstrip("-._") or "run"
    base = f"run-{base}" if _is_device(base) else base
    names = (f"{base}-{i}" if i else base for i in itertools.count())
    return next(name for name in names if same_as(name, taken) is None)


def _is_device(name: str) -> bool:
    """Return whether Windows reserves the name for a device, whatever follows its first dot."""
    return name.split(".")[0].casefold() in DEVICES
