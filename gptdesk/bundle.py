"""Bundle: the program, the wheels of its dependencies and models in one archive, for computers without network.

`launch.py` installs from the folder `bundle` of the unpacked archive, after a check of its checksums; the models in it
are read where they lie, as the starter is, so that a home can be anywhere and a copy can be shared read-only.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO

from gptdesk.system.shortcut import ROOT
from models import storage
from models.checkpoint import FILES, HELD_OUT, Checkpoint
from models.tokenizer import Tokenizer
from models.tokenizer_files import has_tokenizer
from models.weights import INDEX

TOP = "gpt-desk"  # the folder that the archive unpacks to
FOLDER = "bundle"  # in it, beside launch.py, which knows the name, too
MANIFEST = "bundle.json"
# what a clone has, as far as it is there; launch.py comes last, so that half an unpacked archive cannot be started
PROGRAM = (
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", "constraints.txt"),
    *("requirements.txt", "Dockerfile", ".dockerignore", ".gitignore", ".gitattributes", ".ci"),
    *("docs", "desktop", "scripts", "tests", "benchmarks", "samplers", "models", "gptdesk", "launch.py"),
)
NOT_PROGRAM = ("__pycache__", ".pyc")
MODEL_FILES = {*FILES, INDEX, "README.md"} - {HELD_OUT}  # and shards; the text held out from training stays at home
COMPRESSED = (".whl", ".safetensors", ".png")  # endings of files that deflating does not shrink
PACKAGES = 360_000_000  # bytes of all wheels, roughly: of 2026, with the CPU build of torch
LOOK = 0.5  # seconds between two looks at what pip has downloaded
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class BundledModel:
    """A model to pack, under the name that it has in the unpacked copy."""

    name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer


@dataclass(frozen=True)
class BundleProgress:
    """Bytes that a step of making a bundle has written so far."""

    step: str  # "packages" are downloaded, then the "archive" is written
    done: int
    total: int | None  # None: not known before


@dataclass(frozen=True)
class Bundle:
    """A finished archive."""

    path: Path
    size_bytes: int
    packages: int
    made_for: tuple[str, ...]  # Python version, system, processor


def bundled_models(root: Path = ROOT) -> list[Path]:
    """Return the checkpoints that came with an unpacked bundle; none in a clone."""
    return sorted((root / FOLDER / "models").glob("*/checkpoint"))


def write_bundle(
    target: Path, models: Sequence[BundledModel], *, replace: bool = False, root: Path = ROOT
) -> Generator[BundleProgress | Bundle, None, None]:
    """Write the archive `target`, yield progress, and the Bundle at the end; `root` is the clone.

    Nothing is at `target` before the archive is whole, and nothing is left beside it. Raises ValueError if the target
    cannot be used, if pip or the network fails, or if the disk is full.
    """
    target = target.expanduser().resolve()
    _check_target(target, root, replace=replace)
    size = sum(model.checkpoint.size_bytes for model in models)
    try:
        free = shutil.disk_usage(target.parent).free
        if free < 2 * PACKAGES + size:
            needed = f"{(2 * PACKAGES + size) / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free"
            raise ValueError(
                f"the disk of {target.parent} has too little room: a bundle needs {needed}; choose another"
            )
        storage.remove_leftovers(target.parent, of=target.name)
        with _work_folder(target) as work:
            launcher = _launcher(root)
            wheels = work / "wheels"
            yield from _download(launcher, root, work, wheels)
            entries = _bundle_entries(wheels, models, work)
            archive = work / "archive.zip"
            yield from _pack(archive, entries, _program_entries(root), launcher.this_computer())
            if not replace and target.exists():  # it came meanwhile
                raise _exists(target)
            written = Bundle(target, archive.stat().st_size, len(list(wheels.iterdir())), (*launcher.this_computer(),))
            storage.move_file(archive, target)
    except OSError as error:
        raise ValueError(f"the bundle {target} was not written: {error.strerror or error}") from error
    yield written


@contextmanager
def _work_folder(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target`, deleted at the end; what a crash leaves, `remove_leftovers` deletes."""
    affixes = {"prefix": f".{target.name}.", "suffix": ".partial"}
    with tempfile.TemporaryDirectory(**affixes, dir=target.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _check_target(target: Path, root: Path, *, replace: bool) -> None:
    """Raise ValueError if the archive cannot be at `target`."""
    if not (root / "launch.py").is_file():
        raise ValueError(
            f"a bundle is made from the clone, and {root} has no launch.py; start it there: launch.py bundle"
        )
    if target.suffix.lower() != ".zip":
        raise ValueError(f"{target} does not end in .zip; name the archive to write, such as school.zip")
    if target.is_relative_to(root.resolve()):
        raise ValueError(f"{target} is inside the clone, which goes into the archive; choose a place outside {root}")
    if target.is_dir():
        raise ValueError(f"{target} is a folder; name a file")
    if target.exists() and not replace:
        raise _exists(target)
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent}; create it first, or choose another")


def _exists(target: Path) -> ValueError:
    return ValueError(f"there is a file {target} already; choose another name, or replace it with --replace")


def _launcher(root: Path) -> ModuleType:
    """Return launch.py as a module: it knows how to run pip, and where torch comes from."""
    spec = importlib.util.spec_from_file_location("gptdesk_launcher", root / "launch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _download(launcher: ModuleType, root: Path, work: Path, wheels: Path) -> Iterator[BundleProgress]:
    """Download the wheels of all dependencies, for this Python and system, and yield the bytes so far."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    temporary = work / "tmp"
    wheels.mkdir()
    # the CPU build also where there is a GPU here: other computers need not have one
    index = "" if sys.platform == "darwin" else launcher.CPU_WHEELS
    try:
        environment = Path(sys.prefix)
        base = launcher.base_python(environment) if sys.prefix != sys.base_prefix else sys.executable
        pip = launcher.pip_for(environment, host_python=base)
        rounds = launcher.pip_rounds(pip, project["dependencies"], index=index, folder=work)
    except launcher.Fault as fault:
        raise ValueError(f"a bundle needs pip: {fault}") from None
    for arguments in rounds:
        places = ["--dest", str(wheels), "--find-links", str(wheels), "--only-binary", ":all:"]
        command = [*pip, "download", *launcher.PIP_OPTIONS, *places, *arguments]
        yield from _run_pip(command, launcher, temporary, wheels)


def _run_pip(command: list[str], launcher: ModuleType, temporary: Path, wheels: Path) -> Iterator[BundleProgress]:
    """Run one call of pip to its end, or end it with the stream; ValueError says why it failed."""
    environment = launcher.pip_environment(temporary)
    log = temporary / "pip.log"
    with open(log, "wb") as output:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while child.poll() is None:
                yield BundleProgress("packages", _size_of(temporary, wheels), None)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(LOOK)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
    if child.returncode:
        raise ValueError(_why_pip_failed(log.read_text("utf-8", "replace"), launcher))
    yield BundleProgress("packages", _size_of(wheels), None)


def _size_of(*folders: Path) -> int:
    """Return the bytes of all files in the folders; what vanishes meanwhile does not count."""
    size = 0
    for folder in folders:
        for place, _, names in os.walk(folder):  # unlike rglob, it goes on when a folder vanishes
            for name in names:
                with suppress(OSError):
                    size += os.lstat(os.path.join(place, name)).st_size
    return size


def _why_pip_failed(output: str, launcher: ModuleType) -> str:
    """Return one sentence on a failed download, with the launcher's hint where that has one."""
    hints = [(pattern, words) for pattern, words in launcher.HINTS if re.search(pattern, output, re.IGNORECASE)]
    pattern, hint = hints[0] if hints else ("", "")
    if pattern == launcher.NO_PLACE:
        return "the disk is full, so the packages could not be downloaded; free some room, or choose another disk"
    if pattern == launcher.NO_NETWORK:
        return "the network did not answer, and the packages of a bundle are downloaded; go online and try again"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if line.startswith("ERROR: ")), lines[-1] if lines else "no output")
    return f"pip could not download the packages of the bundle ({last.removeprefix('ERROR: ')}). {hint}".strip()


# --- the archive: files and their names in it -----------------------------------------------------------------------
def _bundle_entries(wheels: Path, models: Sequence[BundledModel], work: Path) -> dict[str, Path]:
    """Return the files of the folder `bundle` by their names in it."""
    entries = {f"wheels/{path.name}": path for path in sorted(wheels.iterdir())}
    for model in models:
        folder = model.checkpoint.path
        names = [path.name for path in folder.iterdir() if path.is_file()]
        files = {name: folder / name for name in names if name in MODEL_FILES or name.endswith(".safetensors")}
        if not has_tokenizer(folder):  # its vocabulary would be downloaded
            made = work / "tokenizers" / model.name
            made.mkdir(parents=True)
            model.tokenizer.save(made, context=model.checkpoint.config.block_size)
            files = {path.name: path for path in made.iterdir()} | files
        entries |= {f"models/{model.name}/checkpoint/{name}": files[name] for name in sorted(files)}
    return entries


def _program_entries(root: Path) -> dict[str, Path]:
    """Return the files of the program by their names in the clone."""
    files: list[Path] = []
    for name in PROGRAM:
        path = root / name
        files += [path] if path.is_file() else sorted(inside for inside in path.rglob("*") if inside.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    return {name: path for name, path in names.items() if not any(part in name for part in NOT_PROGRAM)}


def _pack(
    archive: Path, bundle: Mapping[str, Path], program: Mapping[str, Path], made_for: list[str]
) -> Iterator[BundleProgress]:
    """Write the zip file: the folder `bundle`, its checksums, then the program; yield the bytes read so far."""
    total = sum(path.stat().st_size for path in [*bundle.values(), *program.values()])
    checksums: dict[str, str] = {}
    done = 0
    with zipfile.ZipFile(archive, "w") as file:
        for name, path in bundle.items():
            checksums[name] = _add(file, f"{TOP}/{FOLDER}/{name}", path)
            done += path.stat().st_size
            yield BundleProgress("archive", done, total)
        manifest = storage.json_bytes({"made_for": made_for, "files": checksums})
        file.writestr(f"{TOP}/{FOLDER}/{MANIFEST}", manifest, zipfile.ZIP_DEFLATED)
        for name, path in program.items():
            _add(file, f"{TOP}/{name}", path)
            done += path.stat().st_size
            yield BundleProgress("archive", done, total)


def _add(file: zipfile.ZipFile, name: str, path: Path) -> str:
    """Add a file to the archive and return its checksum."""
    info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)  # keeps what is executable
    info.compress_type = zipfile.ZIP_STORED if path.suffix in COMPRESSED else zipfile.ZIP_DEFLATED
    with open(path, "rb") as source, file.open(info, "w", force_zip64=True) as entry:
        return _copied(source, entry)


def _copied(source: IO[bytes], to: IO[bytes]) -> str:
    """Copy all of `source` and return its SHA-256."""
    digest = hashlib.sha256()
    while block := source.read(BLOCK):
        digest.update(block)
        to.write(block)
    return digest.hexdigest()
