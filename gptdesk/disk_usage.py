"""Disk usage of a home folder by kind, and removal of the whole home."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# What lies in a home: names of its files and folders by kind. Nothing else in it is ours.
KINDS: dict[str, str] = {
    "models": "models",
    "quantized copies": "copies",
    "runs": "runs|pasted",
    "texts": "texts",
    "batches": "batches",
    "history": r"history\.sqlite(\.damaged)?(-wal|-shm)?",
    "caches": "cache|tiktoken",
    "temporary files": "temporary|tmp",
    "environments": r"env(-test)?(\.tmp-\d+)?|launch\.lock|logs",
    "settings": r"(settings|page|presets|prompts|votes|running)\.json(\.damaged|\.\d+)?|(training|starting)\.lock"
    r"|samplers|browsers|\.(settings|page|presets|prompts|votes)\.json\.[0-9a-f]{12}\.partial",
}
WORK = ("models", "runs", "texts", "batches", "history", "settings")  # kinds that cannot be made again
OTHER = "other files"


@dataclass(frozen=True)
class Usage:
    """Room that one kind of files takes."""

    kind: str
    size_bytes: int
    paths: tuple[Path, ...]  # in the home


def kind_of(name: str) -> str:
    """Return the kind of a file or folder in the home by its name."""
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), OTHER)


def usage(home: Path) -> list[Usage]:
    """Return the room that each kind takes on the disk, in the order of KINDS, without those that are not there."""
    paths: dict[str, list[Path]] = {kind: [] for kind in [*KINDS, OTHER]}
    with suppress(OSError):
        for path in sorted(home.iterdir()):
            paths[kind_of(path.name)].append(path)
    return [Usage(kind, sum(map(size_of, found)), tuple(found)) for kind, found in paths.items() if found]


def size_of(path: Path) -> int:
    """Return the bytes that a file or folder takes on the disk; links are not followed, a file with two names once."""
    counted: set[tuple[int, int]] = set()
    size = 0
    for stat in _stats(path):
        key = stat.st_dev, stat.st_ino
        if stat.st_nlink > 1 and key in counted:
            continue
        counted.add(key)
        size += getattr(stat, "st_blocks", 0) * 512 or stat.st_size
    return size


def remove_all(parts: list[Usage], home: Path) -> list[Path]:
    """Delete these parts of a home, the environments last, and the home if it is empty then; return what is left.

    Of a link only the link is deleted.
    """
    ordered = sorted(parts, key=lambda part: part.kind == "environments")
    left = []
    for path in (path for part in ordered for path in part.paths):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        if os.path.lexists(path):
            left.append(path)
    with suppress(OSError):
        home.rmdir()
    return left


def _stats(path: Path) -> Iterator[os.stat_result]:
    with suppress(OSError):
        yield path.lstat()
    if path.is_symlink() or not path.is_dir():
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            with suppress(OSError):
                yield Path(folder, name).lstat()
