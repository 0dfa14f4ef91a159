"""Atomic writes: a file or folder appears under its name whole and on disk, or not at all; files of lines and JSON.

Everything is built under a temporary name beside the target, flushed and synced, renamed, and the rename is synced.
A crash at any point leaves the previous file or folder (atomicity and durability, as databases promise them).
"""

import errno
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.json_values import parse_json

log = logging.getLogger(__name__)
WINDOWS = os.name == "nt"
STALE = 3600.0  # seconds after which a temporary file can only come from a crash
PATIENCE = 1.0  # seconds, for two renames in a row
ASIDE = ".previous"


def write_file(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`; raises OSError, and then the old file is still there."""
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def move_file(source: Path, path: Path) -> None:
    """Put a finished file of the same disk in the place of the one at `path`; raises OSError."""
    _sync_file(source)
    _rename(source, path)
    _sync_folder(path.parent)


def move(source: Path, target: Path) -> None:
    """Give a file, folder or link another name, durably; OSError if that is in use or the disk refuses."""
    if os.path.lexists(target) and source.name.casefold() != target.name.casefold():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    _rename(source, target)
    for folder in {target.parent, source.parent}:
        _sync_folder(folder)


def previous(path: Path) -> Path:
    """Return where the folder that had been at `path` lies while, or after, a new one takes its place."""
    return path.with_name(f".{path.name}{ASIDE}")


@contextmanager
def new_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a fresh folder to fill; when the block ends without an error it replaces the folder at `path`.

    Without `replace`, FileExistsError is raised if there is anything at `path`, however late it came. There is no
    portable way to swap two full folders in one step, so the old one moves aside first; `recover` undoes that should
    the process die between the two renames.
    """
    path = path.resolve()  # of a link, the folder it leads to
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    if not replace and path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    if path.exists():  # then a save that died had got so far, and this is what it replaced
        shutil.rmtree(previous(path), ignore_errors=True)
    remove_leftovers(path.parent, of=path.name)
    temporary = _temporary(path)
    try:
        os.mkdir(temporary)
        yield temporary
        for inside in sorted(temporary.rglob("*")):
            _sync_folder(inside) if inside.is_dir() else _sync_file(inside)
        _sync_folder(temporary)
        _swap(temporary, path) if replace else _move_if_free(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_folder(path: Path) -> None:
    """Delete a folder: its name is free at once, whatever happens to its content afterwards."""
    trash = _temporary(path)
    _rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)  # what cannot be removed now is an hour later, by `remove_leftovers`


def remove_leftovers(folder: Path, *, of: str = "*") -> None:
    """Delete what crashes and unfinished deletions of this name have left in `folder`; recent saves may still run."""
    for leftover in folder.glob(f".{of}.*.partial"):
        _remove_if_stale(leftover)


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file of lines; after a crash the last line may be unfinished, and `read_lines` skips it."""
    with open(path, "ab") as file:
        file.write(line + b"\n")


def read_lines(path: Path, *, last_bytes: int | None = None) -> list[bytes]:
    """Return the finished lines of a file, or those in its last bytes, without their ends; none if there is no file."""
    try:
        with open(path, "rb") as file:
            if last_bytes is not None and file.seek(0, os.SEEK_END) > last_bytes:
                file.seek(-last_bytes, os.SEEK_END)
                file.readline()
            else:
                file.seek(0)
            return file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def recover(path: Path) -> None:
    """Put the previous folder back if a crash happened while a new one was taking its place.

    A save that is still running is given PATIENCE seconds to finish first.
    """
    aside = previous(path)
    deadline = time.monotonic() + PATIENCE
    while not path.exists() and aside.is_dir():
        if time.monotonic() < deadline:
            time.sleep(0.001)
            continue
        with suppress(OSError):  # we may not be allowed to, or another reader was faster
            _rename(aside, path)
        return


def folders(folder: Path) -> list[Path]:
    """Return the sub-folders of `folder` but the hidden ones, with those that are being replaced at this moment."""
    with os.scandir(folder) as entries:  # one scan: a rename cannot hide between two
        on_disk = {entry.name for entry in entries if entry.is_dir()}
    names = {name for name in on_disk if not name.startswith(".")}
    names |= {name[1 : -len(ASIDE)] for name in on_disk if name.startswith(".") and name.endswith(ASIDE)}
    return [folder / name for name in sorted(names)]


def names(folder: Path) -> set[str]:
    """Return the names of all files and folders in `folder` but the hidden ones, with folders being replaced right now.

    Empty if there is no such folder; ValueError if it cannot be read.
    """
    try:
        on_disk = {path.name for path in folder.iterdir()}
        return {name for name in on_disk if not name.startswith(".")} | {path.name for path in folders(folder)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be looked at ({error.strerror or error})") from None


def disk_error(error: Exception, path: Path) -> OSError:
    """Return the OSError behind the error of a library in Rust that could not write a file: "... (os error 28)"."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is None:
        return OSError(f"{path} could not be written: {error}")
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path))


def read_json(path: Path, *, limit: int, file_names: bool = False) -> dict[str, object]:
    """Return the JSON object in a file of at most `limit` bytes, parsed as `parse_json`; ValueError names the file."""
    data = read_bytes(path, limit=limit)
    try:
        value = parse_json(data, file_names=file_names)
    except ValueError as error:
        raise ValueError(f"{path.name} is not valid JSON") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} does not hold a JSON object")
    return value


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Return the bytes of a file of at most `limit` bytes; ValueError, naming the file, if it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror or error})") from error
    if len(data) > limit:
        raise ValueError(f"{path.name} is larger than {limit // 1_000_000} MB")
    return data


def json_bytes(value: object, *, errors: str = "strict") -> bytes:
    """Return `value` as the indented JSON text this project writes; ValueError for NaN, which JSON does not have.

    With `errors="backslashreplace"` it may hold names of files that are no valid UTF-8: they are escaped.
    """
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", errors)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")


def _swap(new: Path, path: Path) -> None:
    """Rename `new` to `path`, moving a folder already there aside and then away."""
    aside = previous(path)
    try:
        if path.exists():
            _rename(path, aside)
        _rename(new, path)
    except BaseException:
        if aside.exists() and not path.exists():
            _rename(aside, path)
        raise
    _sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)  # what cannot be removed now is before the next save


def _move_if_free(new: Path, path: Path) -> None:
    """Rename the full folder `new` to `path` in one step; FileExistsError if there is something."""
    try:
        os.rename(new, path)
    except OSError as error:
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        raise
    _sync_folder(path.parent)


def _rename(source: Path, target: Path) -> None:
    """Replace `target` by `source`; on Windows try for a second, while a virus scanner or indexer has the file open."""
    for delay in (0.05, 0.1, 0.2, 0.4, 0.8) if WINDOWS else ():
        try:
            os.replace(source, target)
        except PermissionError:
            time.sleep(delay)
        else:
            return
    os.replace(source, target)


def _sync_file(path: Path) -> None:
    with open(path, "rb+") as file:  # Windows can only sync what is open for writing
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make the names in a folder durable; Windows has no such call."""
    if WINDOWS:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_stale(leftover: Path) -> None:
    with suppress(OSError):
        if time.time() - leftover.stat().st_mtime > STALE:
            log.info("removing %s, left by an interrupted save", leftover)
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
