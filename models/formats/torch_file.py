"""Files of `torch.save`: a zip archive of one pickle and arrays of numbers, read without unpickling.

Arrays are mapped, not read: a tensor takes memory when it is needed.
"""

import mmap
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from models.formats.pickle_reader import read_pickle
from models.formats.pickle_values import StorageReference, TensorReference
from models.formats.stored import Quantizer, Stored

ZIP = b"PK\x03\x04"
MOST_ENTRIES = 10_000
MOST_DIRECTORY = 4_000_000  # bytes of the archive's table of contents
ENTRY = re.compile(r"[^/\\]+/[\w.-]+(/[\w.-]+){0,8}")
END, END64 = 22, 76  # bytes of the end of an archive, and of what is before it in one beyond 4 GB

_LEGACY_TAR = b"pickle\0"
_HOW_TO_SAVE = "open it where it was made, and save model.state_dict() by today's torch.save"


def read_torch_file(path: Path) -> object:
    """Return the plain data of a file by torch.save, with a `Stored` for each tensor.

    Raises ValueError for anything but a zip archive as torch writes it, whose pickle asks for nothing but data.
    """
    with open(path, "rb") as file:
        start = file.read(512)
        if start.startswith(b"\x80") or _LEGACY_TAR in start[:16]:
            raise ValueError(f"it is of the format before torch 1.6, a bare pickle; {_HOW_TO_SAVE}")
        if start[257:262] == b"ustar":
            raise ValueError(f"it is of torch's legacy tar format, which could run code; {_HOW_TO_SAVE}")
        if not start.startswith(ZIP):
            raise ValueError("it is no file by torch.save, safetensors or GGUF")
        entries = _entries(path)
        # private: torch wants memory that it may write, and the file stays as it is
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    archive = _Archive(mapped, entries)
    data = archive.bytes_of("data.pkl")
    return archive.with_tensors(read_pickle(data))


@dataclass(frozen=True)
class _Entry:
    start: int  # of its bytes in the file
    size: int
    checksum: int


class _Archive:
    """Entries of an archive by their names without the folder, and the tensors in them."""

    def __init__(self, mapped: mmap.mmap, entries: dict[str, _Entry]) -> None:
        self._mapped = mapped
        self._entries = entries
        self._checked: set[str] = set()

    def bytes_of(self, name: str) -> bytes:
        entry = self._entries[name]
        return self._mapped[entry.start : entry.start + entry.size]

    def with_tensors(self, value: object) -> object:
        """Return plain data with `Stored` in place of references, in the containers that can hold weights."""
        if isinstance(value, TensorReference):
            return self._stored(value)
        if isinstance(value, dict):
            return {key: self._inside(item) for key, item in value.items()}
        return value

    def _inside(self, value: object) -> object:
        # a dictionary of dictionaries of weights, or of the pairs of weight and bias of quantized layers
        if isinstance(value, dict):
            return {key: self._pair(item) for key, item in value.items()}
        return self._pair(value)

    def _pair(self, value: object) -> object:
        if isinstance(value, tuple) and len(value) == 2:
            return tuple(self._stored(item) if isinstance(item, TensorReference) else item for item in value)
        return self._stored(value) if isinstance(value, TensorReference) else value

    def _stored(self, reference: TensorReference) -> Stored:
        self._check(reference)
        quantizer = self._quantizer(reference.quantizer) if reference.quantizer else None
        count = torch.Size(reference.shape).numel()
        identity = (reference.storage.key, reference.offset, reference.shape, reference.stride)
        dtype = getattr(torch, reference.storage.dtype)
        kind = torch.float32 if quantizer else dtype
        return Stored(reference.shape, kind, lambda: self._read(reference), identity, count * dtype.itemsize, quantizer)

    def _quantizer(self, scheme: tuple[object, ...]) -> Quantizer:
        match scheme:
            case ("per_tensor_affine", float(scale), int(zero)) if scale > 0 and abs(zero) < 256:
                return Quantizer(torch.tensor(scale, dtype=torch.float32), torch.tensor(zero))
            case (str(kind), TensorReference() as scale, TensorReference() as zero, 0) if "channel" in kind:
                for reference in (scale, zero):
                    self._check(reference)
                return Quantizer(self._read(scale), self._read(zero), axis=0)
        raise ValueError("it has a tensor quantized by an unknown scheme")

    def _check(self, reference: TensorReference) -> None:
        """Raise ValueError unless a tensor lies within its storage, each number once, and the storage in the file."""
        storage, shape, stride = reference.storage, reference.shape, reference.stride
        entry = self._entries.get(f"data/{storage.key}")
        if entry is None or entry.size != storage.count * getattr(torch, storage.dtype).itemsize:
            raise ValueError(
                f"its array {storage.key[:20]!r} does not have the size that its pickle says; copy it again"
            )
        if len(shape) != len(stride) or min((*shape, *stride, reference.offset), default=0) < 0:
            raise ValueError("it has a tensor of a negative size")
        count, last = 1, reference.offset
        for length, step in zip(shape, stride, strict=True):
            count, last = count * length, last + (length - 1) * step
        if count and (last >= storage.count or count > storage.count):
            raise ValueError("it has a tensor larger than its data")

    def _read(self, reference: TensorReference) -> Tensor:
        """Return a tensor that shares the memory of the file; ValueError if the archive's checksum is another."""
        storage = reference.storage
        dtype: torch.dtype = getattr(torch, storage.dtype)
        if not storage.count:
            return torch.zeros(reference.shape, dtype=dtype)
        whole = self._array(storage)
        if whole.data_ptr() % dtype.itemsize:
            whole = whole.clone()
        return whole.view(dtype).as_strided(reference.shape, reference.stride, reference.offset)

    def _array(self, storage: StorageReference) -> Tensor:
        entry = self._entries[f"data/{storage.key}"]
        if storage.key not in self._checked:
            with memoryview(self._mapped) as view, view[entry.start : entry.start + entry.size] as part:
                if zlib.crc32(part) != entry.checksum:
                    raise ValueError(f"its array {storage.key[:20]!r} is damaged (checksum); copy it again")
            self._checked.add(storage.key)
        return torch.frombuffer(self._mapped, dtype=torch.uint8, offset=entry.start, count=entry.size)


def _entries(path: Path) -> dict[str, _Entry]:
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
    if "data.pkl" not in names:
        raise ValueError("it is a zip archive, but not one by torch.save; unpack it, and import the model inside")
    entries = {}
    with open(path, "rb") as file:
        for name, info in zip(names, infos, strict=True):
            entries[name] = _Entry(_start(file, info, size), info.file_size, info.CRC)
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
