"""Signature of a folder: a value that changes whenever one of its files does."""

from pathlib import Path

Signature = tuple[tuple[str, int, int, int], ...]  # (name, inode, time of change in ns, bytes) of each file, sorted


def signature_of(folder: Path) -> Signature:
    """Return the signature of `folder` as it is now; empty if it cannot be read."""
    try:
        files = [(file.name, file.stat()) for file in folder.iterdir()]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in files))
