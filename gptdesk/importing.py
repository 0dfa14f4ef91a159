"""Import of a model, from a path, uploaded files or the Hugging Face Hub; download and conversion can be stopped."""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from gptdesk.management import watched
from models.download import Received
from models.formats.converting import find_file
from models.formats.importing import Imported, ImportStopped
from models.formats.options import ImportOptions
from models.hub import HubModel, fetch, is_hub_id, look_up
from models.library import ModelLibrary
from models.listing import ModelInfo


@dataclass(frozen=True)
class Converting:
    """Event: the file is being converted."""


@dataclass(frozen=True)
class ImportResult:
    """Event: the new model, the format of its file and remarks."""

    info: ModelInfo
    imported: Imported


ImportEvent = HubModel | Received | Converting | ImportResult


@dataclass(frozen=True)
class ImportTarget:
    """Library, name (None: one like the file's) and options of the new model, and the event that stops its import."""

    library: ModelLibrary
    name: str | None = None
    options: ImportOptions = field(default_factory=ImportOptions)
    stop: threading.Event = field(default_factory=threading.Event)


def import_path(target: ImportTarget, path: Path, *, origin: str = "") -> Iterator[ImportEvent]:
    """Yield Converting while the model in a file or folder is converted, then the result; none once it is stopped.

    `origin` are words for where it comes from, instead of its path. Raises ValueError as `ModelLibrary.import_model`,
    also for a failing disk.
    """
    library, name, options, stop = target.library, target.name, target.options, target.stop
    try:
        made = yield from watched(
            lambda: library.import_model(path, name=name, options=options, origin=origin, stop=stop),
            stop=stop,
            progress=Converting,
        )
    except ImportStopped:
        return
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{origin or path} was not imported and nothing was changed: {reason}") from error
    yield ImportResult(*made)


def import_uploads(target: ImportTarget, uploads: Sequence[Path]) -> Iterator[ImportEvent]:
    """Yield as `import_path` for uploads: a file of weights and those that describe it, each in its own folder."""
    names = [upload.name for upload in uploads]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two of the files are named {twice}; remove one of them")
    with TemporaryDirectory(dir=uploads[0].parent.parent, prefix="import-") as folder:
        for upload in uploads:
            _place(upload, Path(folder) / upload.name)
        file = find_file(Path(folder))
        name = target.library.new_name(target.name, wished=file.stem)
        named = ImportTarget(target.library, name, target.options, target.stop)
        yield from import_path(named, Path(folder), origin=file.name)


def find_on_hub(target: ImportTarget, model: str, *, revision: str = "") -> tuple[ImportTarget, HubModel]:
    """Return the target with the name that the model will have, and the files to download.

    Raises ValueError for a name that is invalid or in use, before the Hub is asked, and as `models.hub.look_up`.
    """
    if not is_hub_id(model):
        raise ValueError(f"{model[:100]!r} is no id of the Hugging Face Hub; it has the form NAME or OWNER/NAME")
    name = target.library.new_name(target.name, wished=model.rpartition("/")[2])
    found = look_up(model, revision=revision or "main")
    return ImportTarget(target.library, name, target.options, target.stop), found


def import_from_hub(target: ImportTarget, model: HubModel) -> Iterator[ImportEvent]:
    """Yield the progress of the download of a model's files, then as `import_path`; nothing more once it is stopped."""
    for received in fetch(model):
        yield received
        if target.stop.is_set():
            return
    yield from import_path(target, model.folder, origin=model.origin)


def _place(upload: Path, path: Path) -> None:
    """Make an upload appear at a path, without a copy where the disk allows it."""
    try:
        os.link(upload, path)
    except OSError:
        shutil.copyfile(upload, path)
