"""Folder of compiled code: one for each processor, Python, numba and source, with a checksum of every file.

Where it lies and what it has is found out without numba, whose import takes 0.3 s and 60 MB.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent
BESIDE = SOURCE / "__pycache__"
MANIFEST, UNFIT, PROCESSOR = "sums.txt", "unfit.txt", "processor.txt"
MOST_FOLDERS = 4  # of other processors and versions
PACKAGES = ("numba", "llvmlite", "numpy")


@dataclass(frozen=True)
class CodeFolder:
    """A folder of compiled code; methods that change it need its lock, those that raise OSError say so."""

    path: Path

    @property
    def lock(self) -> Path:
        """The file that is locked by the process that compiles."""
        return self.path / "lock"

    def has(self, precision: str) -> bool:
        """Return whether all code of a precision is there."""
        return (self.path / f"ready-{precision}").exists()

    def unfit(self) -> str | None:
        """Return the reason why this computer cannot run compiled code, as stored; None if none is known."""
        try:
            return (self.path / UNFIT).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def mark_unfit(self, reason: str) -> None:
        """Store the reason why this computer cannot run compiled code; raises OSError."""
        (self.path / UNFIT).write_text(reason, encoding="utf-8")

    def mark_ready(self, precision: str, *, processor: str) -> None:
        """Store checksums, and that all code of a precision is there, made for a processor; raises OSError."""
        (self.path / PROCESSOR).write_text(processor, encoding="utf-8")
        (self.path / MANIFEST).write_text(self._sums(), encoding="utf-8")
        (self.path / f"ready-{precision}").touch()

    def is_for(self, processor: str) -> bool:
        """Return whether the code was made for a processor."""
        try:
            return (self.path / PROCESSOR).read_text(encoding="utf-8") == processor
        except (OSError, ValueError):
            return False

    def is_damaged(self) -> bool:
        """Return whether a file is not as it was written: compiled code that is damaged could end the process."""
        try:
            return (self.path / MANIFEST).read_text(encoding="utf-8") != self._sums()
        except FileNotFoundError:
            # nothing was written yet, or not to the end
            return bool(self.files()) or any(self.path.glob("ready-*"))
        except (OSError, ValueError):
            return True

    def files(self) -> list[Path]:
        """Return the files of compiled code."""
        return sorted(path for path in self.path.rglob("*.nb*") if path.is_file())

    def empty(self) -> None:
        """Delete all but the lock; what the disk refuses to delete stays."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path != self.lock:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _sums(self) -> str:
        return "".join(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(self.path)}\n" for path in self.files()
        )


def find_folder() -> CodeFolder | None:
    """Return the folder that has or may get the code of this processor, these versions and this source.

    It lies beside the source or, where that cannot be written, in the user's cache. What a folder that cannot be
    written has is copied there, since numba reads from no such folder. None if numba is missing, or no folder can be
    written.
    """
    try:
        key = hashlib.sha256(repr(_made_for()).encode()).hexdigest()[:16]
    except importlib.metadata.PackageNotFoundError:
        return None
    sealed = None
    for parent in (BESIDE, _user_folder()):
        path = parent / f"step-{key}"
        if _is_writable(path):
            if sealed is not None and not any(path.glob("ready-*")) and not CodeFolder(sealed).is_damaged():
                with contextlib.suppress(OSError, shutil.Error):
                    shutil.copytree(sealed, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lock"))
            _remove_others(path)
            return CodeFolder(path)
        if path.is_dir():
            sealed = path
    return None


def _is_writable(path: Path) -> bool:
    """Return whether files can be made in a folder, which is made if need be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def _made_for() -> tuple[object, ...]:
    """Return what compiled code depends on; numba compiles anew where path, time or size of a source file changed."""
    sources = [(path.name, path.stat().st_mtime, path.read_bytes()) for path in sorted(SOURCE.glob("*.py"))]
    # the others are Python's alone: what changes in them changes no compiled code
    sources = [source for source in sources if b"\nfrom numba" in source[2]]
    versions = [importlib.metadata.version(package) for package in PACKAGES]
    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith("NUMBA_"))
    return sys.version, versions, platform.platform(terse=True), _processor(), settings, str(SOURCE), sources


def _processor() -> str:
    """Return what is known of the processor without numba."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        wanted = ("model name", "flags", "CPU part", "Features")
        return "".join(sorted({line for line in lines if line.startswith(wanted)}))
    return f"{platform.machine()} {platform.processor()}"


def _user_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("gptdesk", appauthor=False)) / "compiled"


def _remove_others(path: Path) -> None:
    """Delete the oldest folders of other processors and versions."""
    with contextlib.suppress(OSError):
        others = [other for other in path.parent.glob("step-*") if other != path]
        others.sort(key=lambda other: other.stat().st_mtime)
        for other in others[: max(0, len(others) + 1 - MOST_FOLDERS)]:
            shutil.rmtree(other, ignore_errors=True)
