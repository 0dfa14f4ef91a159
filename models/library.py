"""ModelLibrary: the models on disk, by name."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from models.checkpoint import Checkpoint, save_quantized
from models.engine import Engine
from models.formats.importing import Imported, import_folder, wished_name
from models.formats.options import ImportOptions
from models.last_use import LastUse
from models.listing import Catalogue, Entry, ModelInfo, Result, Supplier, describe, unusable
from models.model_key import ModelKey, runnable
from models.names import check_new_name, free_name
from models.own_models import OwnModels
from models.precision import PRECISIONS, Precision
from models.precision.mixed import mixed
from models.precision.tuner import KernelTuner
from models.quantized_cache import QuantizedCache
from models.renames import Renames
from models.signature import Signature, signature_of
from models.tokenizer import Tokenizer
from models.weight_reading import ReadingProgress, observed, verify

log = logging.getLogger(__name__)

MOST_OPENED = 8  # checkpoints kept with their tokenizers, which may have tens of megabytes


class ModelLibrary:
    """The models in the sub-folders of `folder`, the `bundled` ones, and those that `supplier` gives.

    `cache_folder` is for what can be made again: GPT-2's vocabulary, and the quantized cache unless that has a folder
    of its own. `reserved` gives the names of runs, which no new model can have. A folder is opened once and again only
    when it has changed. All methods may be called from any thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cache_folder: Path,
        quantized_cache: Path | None = None,
        bundled: Sequence[Path] = (),
        supplier: Supplier | None = None,
        reserved: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        self.folder = folder
        self.cache_folder = cache_folder
        self._catalogue = Catalogue(folder, bundled=bundled, supplier=supplier, reserved=reserved)
        self._quantized_cache = QuantizedCache(quantized_cache or cache_folder / "copies")
        self.own = OwnModels(self._catalogue, lock=cache_folder / "models.lock")
        self.last_use = LastUse(cache_folder / "used")
        self.renames = Renames(cache_folder / "renamed.json")
        self._infos: dict[tuple[str, Path], tuple[Signature, ModelInfo]] = {}
        self._opened: dict[Path, tuple[Signature, Checkpoint]] = {}  # the least recently used first
        self._lock = threading.Lock()  # of _opened; held for moments

    def available(self) -> list[ModelInfo]:
        """Return all models in order of their names, then those of the supplier; an unusable one has its problem."""
        look_through = partial(self.open, keep=False)
        return [self._info(name, entry, look_through) for name, entry in self._catalogue.entries().items()]

    def info(self, name: str) -> ModelInfo:
        """Return one model of the list; ValueError lists the models that exist."""
        return self._info(name, self._catalogue.entry(name), self.open)

    def find(self, name: str) -> Path:
        """Return the folder of a model; ValueError lists the models that exist, or says why this one cannot be used."""
        return self._catalogue.find(name)

    def using(self, name: str, use: Callable[[Path], Result]) -> Result:
        """Return what `use` makes of a model's folder, as `Catalogue.using`."""
        return self._catalogue.using(name, use)

    def names(self) -> dict[str, str]:
        """Return every name that a new model cannot have, each with what has it: "model", "bundled model" or "run"."""
        return self._catalogue.names()

    def listed_names(self) -> frozenset[str]:
        """Return the names of all models in the list."""
        return frozenset(self._catalogue.entries())

    def present_name(self, name: str) -> str:
        """Return the name that a model has now, if it was renamed since it had this one; else `name` itself."""
        return name if name in self.listed_names() else self.renames.follow(name)

    def key(self, text: str) -> ModelKey:
        """Return the key spelled NAME or NAME:PRECISION; a bare NAME runs at the first precision it can.

        Raises ValueError for a text that is no key, and for a bare NAME that cannot be used.
        """
        if ":" in text:
            return ModelKey.parse(text)
        key = ModelKey(text.strip())
        info = self.info(key.name)
        if info.problem:
            raise ValueError(info.problem)
        return ModelKey(key.name, info.precisions[0])

    def open(self, path: Path, *, keep: bool = True) -> Checkpoint:
        """Return the checkpoint of a folder: the one opened before if it is kept and the folder has not changed since.

        Raises ValueError as `Checkpoint.open`.
        """
        signature = signature_of(path)
        with self._lock:
            if path in self._opened and self._opened[path][0] == signature:
                self._opened[path] = self._opened.pop(path)  # the most recently used last
                return self._opened[path][1]
        checkpoint = Checkpoint.open(path)
        if not keep or not signature:  # without one, the folder was just being replaced
            return checkpoint
        with self._lock:
            self._opened.pop(path, None)
            self._opened[path] = signature, checkpoint
            for old in list(self._opened)[:-MOST_OPENED]:
                del self._opened[old]
        return checkpoint

    def checkpoint(self, name: str) -> Checkpoint:
        """Return the opened checkpoint of a model; ValueError as `find`, or if the checkpoint cannot be used."""
        return self.using(name, self.open)

    def tokenizer(self, name: str) -> Tokenizer:
        """Return a model's tokenizer, without reading its weights; ValueError as `checkpoint`."""
        return self.checkpoint(name).load_tokenizer(self.cache_folder)

    def load_engine(self, key: ModelKey, path: Path, *, tuner: KernelTuner, device: torch.device) -> Engine:
        """Read the weights of the model whose folder is `path`, from its copy in the quantized cache if it has one.

        A damaged copy is deleted, and the model read from its own folder. Raises ValueError if that cannot be used.
        """
        precision = PRECISIONS[key.precision]
        if copy := self._quantized_cache.find(key.name, path, precision):
            try:
                return Checkpoint.open(copy).load_engine(precision, tuner=tuner, device=device)
            except ValueError as error:
                log.warning("%s", error)
                if not isinstance(error.__cause__, OSError):  # which would say nothing about the copy
                    self._quantized_cache.remove(copy)
        return self.open(path).load_engine(precision, tuner=tuner, device=device)

    def quantize(
        self,
        name: str,
        precision: str,
        *,
        to: str | None = None,
        raised: Mapping[str, str] | None = None,
        progress: ReadingProgress | None = None,
    ) -> ModelInfo:
        """Save a model at another precision, as the model `to` or as NAME-PRECISION over an older one of that name.

        With matrices `raised`, as `mixed` has them, it is NAME-PRECISION-mixed. Raises ValueError if that cannot be
        done, OSError if the disk refuses, ReadingStopped once `progress` is told to stop; then nothing has changed.
        """
        key = ModelKey(name, precision)
        usual = f"{name.replace('@', '-')}-{precision}{'-mixed' if raised else ''}"
        target = usual if to is None else to
        if precision == "float32":
            raise ValueError(
                f"{name} is as precise as it gets; quantize it to one of {', '.join(list(PRECISIONS)[1:])}"
            )
        raised = dict(raised or {})
        made = mixed(precision, raised, self.checkpoint(name).config) if raised else PRECISIONS[precision]
        self._check_copy_name(target, made)  # before the lock: a bad name changes nothing on disk
        with self.own.locked(shared=True):  # the original stays where it is, and no run saves a model of the name
            self._check_copy_name(target, made)
            original = self.checkpoint(key.name)
            tokenizer = original.load_tokenizer(self.cache_folder)
            source = observed(original, progress) if progress else original
            save_quantized(self.folder / target, source, made, tokenizer=tokenizer)
        return self.info(target)

    def new_name(self, name: str | None, *, wished: str) -> str:
        """Return the name of a new model: `name`, or a free one like that wished; ValueError if it is invalid."""
        names = self.names()
        name = free_name(wished, names) if name is None else name
        check_new_name(name, names)
        return name

    def import_model(
        self,
        path: Path,
        *,
        name: str | None = None,
        options: ImportOptions | None = None,
        origin: str = "",
        stop: threading.Event | None = None,
    ) -> tuple[ModelInfo, Imported]:
        """Add the model in a foreign file or folder, as `name` or by a free name like the file's.

        `origin` are words for where it comes from, instead of its path.
        Raises ValueError if it cannot be imported, OSError if the disk refuses, ImportStopped once `stop` is set before
        the file is read; then nothing has changed.
        """
        name = self.new_name(name, wished=wished_name(path))
        target, options = self.folder / name, options or ImportOptions()
        imported = import_folder(
            path,
            target,
            options,
            cache_folder=self.cache_folder,
            origin=origin,
            adding=self.own.adding,
            stop=stop,
        )
        return self.info(name), imported

    def check_own(self, name: str, change: str) -> None:
        """Raise ValueError, with the `change` refused, unless a model is the user's to rename and remove."""
        self._catalogue.own_folder(name, change)

    def rename(self, name: str, new: str) -> ModelInfo:
        """Give one of the user's models another name; weights that are lent stay valid, quantized copies are deleted.

        Raises ValueError for a model that is not the user's and for a name that is invalid or in use, OSError if the
        disk refuses; then nothing has changed.
        """
        self.own.rename(name, new)
        self._quantized_cache.remove_all(name)
        self.last_use.rename(name, new)
        self.renames.record(name, new)
        return self.info(new)

    def remove(self, name: str) -> None:
        """Delete one of the user's models and its quantized copies; weights that are lent stay valid.

        Raises ValueError for a model that is not the user's, OSError if the disk refuses; then it is still there.
        """
        self.own.remove(name)
        self._quantized_cache.remove_all(name)
        self.last_use.remove(name)

    def stored(self, info: ModelInfo) -> tuple[str, ...]:
        """Return the precisions that a model is on disk at: its own first, then those of its quantized copies."""
        if info.problem:
            return ()
        return tuple(dict.fromkeys([info.own_precision, *self._quantized_cache.precisions(info.name, info.path)]))

    def verify(self, name: str, *, progress: ReadingProgress | None = None) -> int:
        """Read every weight and the tokenizer of a model from disk, and return the number of its tensors.

        Raises ValueError with the first fault, ReadingStopped once `progress` is told to stop.
        """
        return verify(self.find(name), self.cache_folder, progress=progress)

    def has_copy(self, key: ModelKey) -> bool:
        """Return whether `copy` would return at once; ValueError if there is no such model."""
        return self._stored_at(key, self.find(key.name)) is not None

    def copy(self, key: ModelKey) -> Path:
        """Return the folder that holds a model at this very precision: its own, or a copy, written now if need be.

        From then on the model is loaded from there. Raises ValueError if the model cannot be used at this precision,
        or if the disk refuses.
        """
        path, precision = self.find(key.name), runnable(key)
        original = self.open(path)
        original.runs_at(precision)
        if folder := self._stored_at(key, path):
            return folder
        tokenizer = original.load_tokenizer(self.cache_folder)
        names = self._catalogue.entries()
        return self._quantized_cache.make(key.name, original, precision, tokenizer=tokenizer, names=names)

    def _info(self, name: str, entry: Entry, opened: Callable[[Path], Checkpoint]) -> ModelInfo:
        """Return the description of a model, made again if its folder has changed."""
        if entry.clash:
            return unusable(name, entry.path, entry.clash)
        signature = signature_of(entry.path)
        known = self._infos.get((name, entry.path))
        if known is None or known[0] != signature:
            known = self._infos[name, entry.path] = signature, describe(name, entry.path, opened=opened)
        return known[1]

    def _check_copy_name(self, name: str, precision: Precision) -> None:
        """Raise ValueError unless a copy at `precision` can have the name: it may replace an older one of its name."""
        names, path = self.names(), self.folder / name
        # a link may lead out of the home, where nothing is written
        if names.get(name) == "model" and not path.is_symlink() and self._is_copy_at(path, precision):
            del names[name]
        check_new_name(name, names)

    def _is_copy_at(self, path: Path, precision: Precision) -> bool:
        try:
            checkpoint = self.open(path)
            # which matrices are raised was chosen by the user, so another choice is no newer copy of the same
            raised = checkpoint.quantized.raised if checkpoint.quantized else ()
            return checkpoint.is_copy_at(precision.name) and raised == precision.raised
        except ValueError:
            return False

    def _stored_at(self, key: ModelKey, path: Path) -> Path | None:
        """Return the folder that holds a model at this very precision, None if there is none."""
        if key.precision == "float32" or self.open(path).is_copy_at(key.precision):
            return path
        return self._quantized_cache.find(key.name, path, PRECISIONS[key.precision])
