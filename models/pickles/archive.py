"""Zip archives of `torch.save`: where the bytes of each entry lie, if they are stored as torch writes them."""

import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ZIP = b"PK\x03\x04"
PICKLE = "data.pkl"
MOST_ENTRIES = 10_000
MOST_DIRECTORY = 4_000_000  # bytes of the archive's table of contents
ENTRY = re.compile(r"[^/\\]+/[\w.-]+(/[\w.-]+){0,8}")
END, END64 = 22, 76  # bytes of the end of an archive, and of what is before it in one beyond 4 GB

_LEGACY_TAR = b"pickle\0"
_HOW_TO_SAVE = "open it where it was made, and save model.state_dict() by today's torch.save"


@dataclass(frozen=True)
class Entry:
    """Bytes of an entry in the file."""

    start: int  # of its bytes in the file
    size: int
    checksum: int


def check_start(start: bytes) -> None:
    """Raise ValueError for the first 512 bytes of a file that is no archive by torch.save."""
    if start.startswith(b"\x80") or _LEGACY_TAR in start[:16]:
        raise ValueError(f"it is of the format before torch 1.6, a bare pickle; {_HOW_TO_SAVE}")
    if start[257:262] == b"ustar":
        raise ValueError(f"it is of torch's legacy tar format, which could run code; {_HOW_TO_SAVE}")
    if not start.startswith(ZIP):
        raise ValueError("it is no file by torch.save, safetensors or GGUF")


def entries_of(path: Path) -> dict[str, Entry]:
    """Return the entries of the archive; ValueError unless it is as torch writes it: stored, and none twice."""
    size = path.stat().st_size
    _check_directory(path, size)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"its archive is damaged or cut off ({error}); copy it again") from error
    if len(infos) > MOST_ENTRIES:
        raise ValueError(f"its archive has {len(infos):,} entries, and {MOST_ENTRIES:,} are allowed")
    _check_entries(infos, size)
    names = [info.filename.partition("/")[2] for info in infos]
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise ValueError("it is a TorchScript program, not weights; save model.state_dict() by torch.save")
    if PICKLE not in names:
        raise ValueError("it is a zip archive, but not one by torch.save; unpack it, and import the model inside")
    entries = {}
    with open(path, "rb") as file:
        for name, info in zip(names, infos, strict=True):
            entries[name] = Entry(_start(file, info, size), info.file_size, info.CRC)
        order = entries.get("byteorder")
        if order is not None:
            file.seek(order.start)
            if file.read(min(order.size, 10)) != b"little":
                raise ValueError("its numbers are big-endian, which is not supported; save it on another computer")
    return entries


def _check_directory(path: Path, size: int) -> None:
    """Raise ValueError unless the archive ends as torch writes it, with a small table of contents."""
    with open(path, "rb") as file:
        file.seek(max(0, size - END - END64))
        tail = file.read()
    end = tail[-END:]
    if len(end) < END or not end.startswith(b"PK\x05\x06") or end[-2:] != b"\0\0":
        raise ValueError("its archive is cut off or damaged; copy it again")
    directory = struct.unpack("<I", end[12:16])[0]
    if tail.startswith(b"PK\x06\x06"):
        directory = struct.unpack("<Q", tail[40:48])[0]
    if directory > MOST_DIRECTORY:
        raise ValueError("its archive has too large a table of contents")


def _check_entries(infos: list[zipfile.ZipInfo], size: int) -> None:
    names = [info.filename for info in infos]
    if len({name.casefold() for name in names}) != len(names) or len({name.partition("/")[0] for name in names}) != 1:
        raise ValueError("its archive has two entries of one name, or more than one folder")
    for info in infos:
        if not ENTRY.fullmatch(info.filename) or ".." in info.filename:
            raise ValueError(f"its archive has an entry with the name {info.filename[:60]!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise ValueError(
                "its archive is compressed, which torch never does and which could fill the memory; save it by "
                "torch.save again"
            )
    if sum(info.file_size for info in infos) > size:
        raise ValueError("its archive says that it holds more than the file has")


def _start(file: BinaryIO, info: zipfile.ZipInfo, size: int) -> int:
    """Return where the bytes of an entry start, by its own header; ValueError if that says something else."""
    if not 0 <= info.header_offset <= size:
        raise ValueError("its archive is damaged; copy it again")
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or not header.startswith(ZIP):
        raise ValueError("its archive is damaged; copy it again")
    method, name_size, extra_size = struct.unpack("<H16xHH", header[8:30])
    name = file.read(name_size)
    start = info.header_offset + 30 + name_size + extra_size
    if method != zipfile.ZIP_STORED or name != info.orig_filename.encode() or start + info.file_size > size:
        raise ValueError("its archive is damaged; copy it again")
    return start
