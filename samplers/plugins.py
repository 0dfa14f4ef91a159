"""Samplers of other people: from installed packages, and from files in a folder. A broken one never stops the app."""

import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from samplers.base import Sampler
from samplers.registry import isolated, register, verify
from samplers.testing import try_out

ENTRY_POINTS = "gptdesk.samplers"
FILE_MODULE = "sampler_file_"  # how the modules of a folder's files are named

logger = logging.getLogger(__name__)


def load_plugins(folder: Path | None = None) -> list[str]:
    """Register the samplers of installed packages, then those defined in the `*.py` files of `folder`.

    Returns one sentence for each plugin that is broken, says which and why, and loads all the others. A second
    call changes nothing.
    """
    warnings, files = [], []
    try:
        files = sorted(folder.glob("*.py")) if folder is not None and folder.is_dir() else []
    except OSError as error:
        warnings.append(f"the folder of samplers {folder} was not read: {_reason(error)}")
    for source, find in _sources(files):
        try:
            with isolated():  # a module may register its samplers itself: they still have to pass below
                found = find()
        except BaseException as error:  # sys.exit() in a plugin is as broken as any error
            warnings.append(f"{source} was not loaded: {_reason(error)}")
            continue
        for cls in found:
            try:
                verify(cls)
                try_out(cls)
                register(cls)
            except BaseException as error:
                warnings.append(f"{source} was not loaded: {_reason(error)}")
    for warning in warnings:
        logger.warning(warning)
    return warnings


def is_from_folder(sampler: type[Sampler]) -> bool:
    """Return whether a sampler was defined by a file of a folder, rather than by an installed package."""
    return sampler.__module__.startswith(FILE_MODULE)


def _sources(files: list[Path]) -> Iterator[tuple[str, Callable[[], list[type[Sampler]]]]]:
    """Every plugin in words, and what to call for its classes."""
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        yield f"the sampler plugin {point.name} of {package}", partial(_from_package, point)
    for file in files:
        if not file.name.startswith(("_", ".")):
            yield f"the sampler file {file.name}", partial(_from_file, file)


def _from_package(point: EntryPoint) -> list[type[Sampler]]:
    return [point.load()]  # one class; `verify` looks whether it is one


def _from_file(file: Path) -> list[type[Sampler]]:
    module = _imported(file)
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Sampler) and value.__module__ == module.__name__
        if not name.startswith("_")
    ]
    if not found:
        raise ValueError("it defines no class derived from samplers.Sampler")
    return found


def _imported(file: Path) -> ModuleType:
    """The module of that file. It stays in sys.modules, where pickle and a second call find it, unless it fails."""
    name = f"{FILE_MODULE}{file.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(file):
        return loaded
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reason(error: BaseException) -> str:
    """What went wrong, in one line. Ctrl-C is the user's, not the plugin's: it goes on."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    kind = "" if type(error) in (ValueError, AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{error}".splitlines()[0][:300].removesuffix(": ")
