"""SHA-256 of a model's weights: which weights wrote a text, whatever their folder is called."""

import hashlib
from pathlib import Path

from models.weights import WEIGHTS

BLOCK = 1 << 20  # bytes that are read at once


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of the weight files in `folder`, 64 hexadecimal digits.

    For one model.safetensors it is that of the file, as the Hugging Face Hub shows it; for several files it is that of
    their names and hashes. Raises OSError if they cannot be read or there are none.
    """
    single = folder / WEIGHTS
    if single.is_file():
        return _file_hash(single)
    files = sorted(file for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no weights in {folder}")
    lines = [f"{file.name} {_file_hash(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_hash(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK):  # the GIL is released while a block is read and hashed
            digest.update(block)
    return digest.hexdigest()
