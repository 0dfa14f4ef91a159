"""Files of `torch.save`: a zip archive of one pickle and arrays of numbers, read without unpickling.

Arrays are mapped, not read: a tensor takes memory when it is needed.
"""

import mmap
import zlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from models.formats.stored import Quantizer, Stored
from models.pickles.archive import PICKLE, Entry, check_start, entries_of
from models.pickles.reader import read_pickle
from models.pickles.values import StorageReference, TensorReference


def read_torch_file(path: Path) -> object:
    """Return the plain data of a file by torch.save, with a `Stored` for each tensor.

    Raises ValueError for anything but a zip archive as torch writes it, whose pickle asks for nothing but data.
    """
    with open(path, "rb") as file:
        check_start(file.read(512))
        entries = entries_of(path)
        # private: torch wants memory that it may write, and the file stays as it is
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    archive = _Archive(mapped, entries)
    data = archive.bytes_of(PICKLE)
    return archive.with_tensors(read_pickle(data))


class _Archive:
    """Entries of an archive by their names without the folder, and the tensors in them."""

    def __init__(self, mapped: mmap.mmap, entries: dict[str, Entry]) -> None:
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
        count = torch.Size(reference.shape).numel()
        identity = (reference.storage.key, reference.offset, reference.shape, reference.stride)
        dtype = getattr(torch, reference.storage.dtype)
        quantizer = replace(self._quantizer(reference), dtype=dtype) if reference.quantizer else None
        kind = torch.float32 if quantizer else dtype
        return Stored(reference.shape, kind, lambda: self._read(reference), identity, count * dtype.itemsize, quantizer)

    def _quantizer(self, tensor: TensorReference) -> Quantizer:
        match tensor.quantizer:
            case ("per_tensor_affine", float(scale), int(zero)) if scale > 0 and abs(zero) < 256:
                return Quantizer(torch.tensor(scale, dtype=torch.float32), torch.tensor(zero))
            case (str(kind), TensorReference() as scale, TensorReference() as zero, 0) if "channel" in kind:
                for reference in (scale, zero):
                    if reference.shape != tensor.shape[:1]:
                        raise ValueError("it has a quantized tensor without a scale for each row")
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
