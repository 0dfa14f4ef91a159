"""Model of the Hub: its files, and where huggingface_hub's cache has them."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # git's, or SHA-256
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class HubFile:
    """File of a model on the Hub: bytes, and SHA-256 or git's checksum ("" if unknown: offline, without links)."""

    name: str
    size: int
    checksum: str

    def is_at(self, path: Path) -> bool:
        """Return whether a file has the size and checksum of this one."""
        if path.stat().st_size != self.size:
            return False
        sha1 = hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        digest = hashlib.sha256() if len(self.checksum) == 64 else sha1
        with open(path, "rb") as opened:
            while block := opened.read(BLOCK):
                digest.update(block)
        return digest.hexdigest() == self.checksum


@dataclass(frozen=True)
class HubModel:
    """Files that the import of a model needs, at one commit; `remark` says why they are not the Hub's newest."""

    id: str
    commit: str
    files: tuple[HubFile, ...]
    cache: Path  # folder of huggingface_hub's cache
    endpoint: str
    timeout: float  # seconds for an answer, and for each piece of a file
    revision: str = "main"
    remark: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def origin(self) -> str:
        """Words for the place that the model comes from."""
        return f"{self.id} of the Hugging Face Hub at {self.commit[:12]}"

    @property
    def repository(self) -> Path:
        """Folder of the model in the cache."""
        return self.cache / f"models--{self.id.replace('/', '--')}"

    @property
    def folder(self) -> Path:
        """Folder that has the files after `fetch`."""
        return self.repository / "snapshots" / self.commit

    @property
    def remaining(self) -> int:
        """Bytes that are to be downloaded."""
        return self.size - sum(min(self._received(file), file.size) for file in self.files)

    def places(self, file: HubFile) -> tuple[Path, Path, Path]:
        """Return the paths of a file in the folder of its commit, of its content, and of an unfinished one."""
        blobs = self.repository / "blobs"
        return self.folder / file.name, blobs / file.checksum, blobs / f"{file.checksum}.gptdesk.incomplete"

    def _received(self, file: HubFile) -> int:
        """Return the bytes of a file that the cache has."""
        return next((path.stat().st_size for path in self.places(file) if path.is_file()), 0)
