"""ModelManager: lists the models on this computer, loads them, lends them out; the only owner of weights in memory."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.checkpoint import Checkpoint, save_quantized
from models.engine import CPU, Engine
from models.gpt import GPTConfig
from models.listing import Catalogue, ModelInfo, Signature, Supplier, signature_of
from models.loaded_models import LoadedModels, Slot
from models.names import KNOWN_AS, check_name
from models.precision import PRECISIONS, Precision
from models.precision.tuner import KernelTuner
from models.prefix import PrefixCache
from models.quantized_cache import QuantizedCache
from models.tokenizer import Tokenizer

log = logging.getLogger(__name__)

KERNELS = "kernels.json"
SETTLE = 20  # times a checkpoint that changes while it is read is read again


@dataclass(frozen=True)
class ModelKey:
    """A model and the precision to run it in; raises ValueError for what cannot be one."""

    name: str
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_name(self.name, KNOWN_AS)
        if self.precision not in PRECISIONS:
            raise ValueError(f"there is no precision {self.precision[:100]!r}; there is: {', '.join(PRECISIONS)}")

    @classmethod
    def parse(cls, text: str) -> "ModelKey":
        """The key spelled NAME or NAME:PRECISION."""
        name, colon, precision = text.strip().partition(":")
        return cls(name, precision) if colon else cls(name)

    @property
    def spelled(self) -> str:
        """As `parse` reads it."""
        return f"{self.name}:{self.precision}"

    def __str__(self) -> str:
        return f"{self.name} · {self.precision}"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for inference. Only its lender may keep it beyond the end of the loan."""

    key: ModelKey
    model: Engine
    tokenizer: Tokenizer
    config: GPTConfig
    memory_bytes: int
    prefixes: PrefixCache  # of prompts read before


_Slot = Slot[ModelKey, LoadedModel]


class ModelManager:
    """Every model by its name: those in the sub-folders of `folder`, the `bundled` ones, and those from `elsewhere`.

    All methods may be called from any thread. `memory_budget` (bytes) bounds the weights that stay loaded: to load one
    more, those unused for longest go. They go last, when the new one is good, so that a failed load costs nothing.
    Quantized copies made by `copy` lie in `copies`, by default within the `cache_folder`. `reserved` gives the names of
    runs, which no new model can have.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cache_folder: Path,
        copies: Path | None = None,
        bundled: Sequence[Path] = (),
        elsewhere: Supplier | None = None,
        reserved: Callable[[], Iterable[str]] | None = None,
        memory_budget: int | None = None,
        device: torch.device = CPU,
    ) -> None:
        self._catalogue = Catalogue(folder, bundled=bundled, elsewhere=elsewhere, reserved=reserved)
        self.cache_folder = cache_folder  # of GPT-2's vocabulary and of the kernels chosen for this computer
        self._choices = KernelTuner(cache_folder / KERNELS)
        self._twins = QuantizedCache(copies or cache_folder / "copies")
        self._device = device
        self._residents: LoadedModels[ModelKey, LoadedModel] = LoadedModels(memory_budget)
        self._loading = threading.Lock()  # held while weights are read: one load at a time
        self._tokenizers: dict[Path, tuple[Signature, Tokenizer]] = {}

    @property
    def folder(self) -> Path:
        """Where the user's own models lie."""
        return self._catalogue.folder

    @property
    def memory_budget(self) -> int | None:
        """Bytes of weights that stay loaded at most; None if there is no bound."""
        return self._residents.budget

    def available(self) -> list[ModelInfo]:
        """All models, in order of their names, then those from elsewhere; those that cannot be used say why."""
        return self._catalogue.available()

    def names(self) -> dict[str, str]:
        """Return every name that a new model cannot have, each with what has it: "model", "bundled model" or "run"."""
        return self._catalogue.names()

    def info(self, name: str) -> ModelInfo:
        """One model of the list; ValueError names those there are."""
        return self._catalogue.info(name)

    def key(self, text: str) -> ModelKey:
        """The model spelled NAME or NAME:PRECISION; a bare NAME runs at the first precision it can."""
        if ":" in text:
            return ModelKey.parse(text)
        key = ModelKey(text.strip())
        info = self.info(key.name)
        if info.problem:
            raise ValueError(info.problem)
        return ModelKey(key.name, info.precisions[0])

    def quantize(self, name: str, precision: str, *, to: str | None = None) -> ModelInfo:
        """Save a model at another precision, as the model `to` or as NAME-PRECISION over an older one of that name.

        Raises ValueError if that cannot be done, OSError if the disk refuses; then nothing has changed.
        """
        key = ModelKey(name, precision)
        target = f"{name.replace('@', '-')}-{precision}" if to is None else to
        if precision == "float32":
            raise ValueError(
                f"{name} is as precise as it gets; quantize it to one of {', '.join(list(PRECISIONS)[1:])}"
            )
        self._catalogue.check_copy_name(target, precision=precision)
        original = Checkpoint.open(self._catalogue.find(key.name))
        path = self._catalogue.folder / target
        save_quantized(path, original, PRECISIONS[precision], tokenizer=self.tokenizer(key.name))
        return self.info(target)

    def has_copy(self, key: ModelKey) -> bool:
        """Whether `copy` would return at once; ValueError if there is no such model."""
        return self._stored(key, self._catalogue.find(key.name)) is not None

    def copy(self, key: ModelKey) -> Path:
        """The checkpoint folder that holds a model at this very precision: its own, or a copy, written now if need be.

        From then on the model is loaded from there. Raises ValueError as `lend`, or if the disk refuses.
        """
        original, precision = self._catalogue.find(key.name), self._runnable(key)
        Checkpoint.open(original).check_runs(precision)
        if stored := self._stored(key, original):
            return stored
        tokenizer = self.tokenizer(key.name)
        names = self._catalogue.paths()
        return self._twins.make(key.name, Checkpoint.open(original), precision, tokenizer=tokenizer, names=names)

    def fit(self, keys: Sequence[ModelKey]) -> bool:
        """Whether these models can be in memory at once, whatever else is there now; ValueError if one is not there."""
        if self.memory_budget is None:
            return True
        sizes = (
            self._runnable(key).memory_bytes(Checkpoint.open(self._catalogue.find(key.name)).config)
            for key in set(keys)
        )
        return sum(sizes) <= self.memory_budget

    def tokenizer(self, name: str) -> Tokenizer:
        """A model's tokenizer without its weights; ValueError as `lend`."""
        path = self._catalogue.find(name)
        signature = signature_of(path)
        known = self._tokenizers.get(path)
        if known is None or known[0] != signature:
            tokenizer = Checkpoint.open(path).load_tokenizer(self.cache_folder)
            known = self._tokenizers[path] = (signature, tokenizer)
        return known[1]

    @contextmanager
    def lend(self, key: ModelKey, *, fresh: bool = False) -> Iterator[LoadedModel]:
        """Load the model if need be, and keep it in memory for the length of the `with` block.

        With `fresh` it has an empty prefix cache: nothing that another request left shows in its times.

        Raises ValueError if there is no such model, if its checkpoint cannot be used, or if it does not fit the budget.
        """
        slot = self._take(key)
        try:
            yield replace(slot.value, prefixes=PrefixCache()) if fresh else slot.value
        finally:
            self._residents.release(slot)

    def unload(self, key: ModelKey | None = None) -> None:
        """Free a model's memory, or that of all; one in use goes when its last user is done."""
        self._residents.remove(key)

    def loaded(self) -> list[ModelKey]:
        """What is in memory, the least recently used first."""
        return self._residents.keys()

    def kernels(self) -> dict[str, str]:
        """The kernel chosen for each encoding and width of network that has been loaded on this computer."""
        return dict(self._choices.known)

    def _take(self, key: ModelKey) -> _Slot:
        """The slot of a model that is up to date, counted as used once more."""
        path = self._catalogue.find(key.name)
        if slot := self._residents.use(key, signature_of(path)):
            return slot
        with self._loading:  # somebody else may have loaded it while we waited
            return self._residents.use(key, signature_of(path)) or self._load(key, path)

    def _load(self, key: ModelKey, path: Path) -> _Slot:
        """Read a model, or serve on with the one in memory if that has changed on disk and cannot be read."""
        try:
            loaded, signature = self._read_settled(key, path)
        except ValueError as error:
            slot = self._residents.use(key, None)
            if slot is None:
                self._catalogue.find(key.name)  # raises, in better words, if it is no longer there
                raise
            slot.signature = signature_of(path)
            log.warning("%s has changed but cannot be loaded, the one in memory serves on: %s", key, error)
            return slot
        return self._residents.add(key, loaded, signature)

    def _read_settled(self, key: ModelKey, path: Path) -> tuple[LoadedModel, Signature]:
        """Read a model, again if it was saved meanwhile: what was read may be a mix of the old and the new."""
        for _ in range(SETTLE):
            signature = signature_of(path)
            try:
                loaded = self._read(key, path)
            except ValueError:
                if signature == signature_of(path):
                    raise
            else:
                if signature == signature_of(path):
                    return loaded, signature
        raise ValueError(f"{key} is being saved over and over and cannot be read meanwhile; try again later")

    def _read(self, key: ModelKey, path: Path) -> LoadedModel:
        precision = self._runnable(key)
        checkpoint = Checkpoint.open(path)
        self._check_room(key, precision.memory_bytes(checkpoint.config))
        tokenizer = self.tokenizer(key.name)
        device = precision.device(self._device)
        model = self._read_copy(key, path, device)
        if model is None:
            model = checkpoint.load_engine(precision, choices=self._choices, device=device)
        log.info("loaded %s, %.0f MB, on %s by %s", key, model.memory_bytes / 1e6, device, model.kernels)
        return LoadedModel(key, model, tokenizer, checkpoint.config, model.memory_bytes, PrefixCache())

    def _read_copy(self, key: ModelKey, path: Path, device: torch.device) -> Engine | None:
        """The model from its copy in the cache, if there is a good one."""
        copy = self._twins.find(key.name, path, PRECISIONS[key.precision])
        if copy is None:
            return None
        try:
            return Checkpoint.open(copy).load_engine(PRECISIONS[key.precision], choices=self._choices, device=device)
        except ValueError as error:
            log.warning("%s", error)
            if not isinstance(error.__cause__, OSError):  # which would say nothing of the copy
                self._twins.forget(copy)
            return None

    def _runnable(self, key: ModelKey) -> Precision:
        precision = PRECISIONS[key.precision]
        if reason := precision.missing():
            raise ValueError(f"this computer cannot run {key}: {reason}")
        return precision

    def _stored(self, key: ModelKey, path: Path) -> Path | None:
        """The folder that holds a model at this very precision, if there is one."""
        if key.precision == "float32" or Checkpoint.open(path).is_copy_at(key.precision):
            return path
        return self._twins.find(key.name, path, PRECISIONS[key.precision])

    def _check_room(self, key: ModelKey, needed: int) -> None:
        """Refuse a model that would not fit even if everything unused, and its own older self, were unloaded."""
        if self.memory_budget is None:
            return
        busy = self._residents.in_use(but=key)
        if needed + sum(loaded.memory_bytes for loaded in busy) > self.memory_budget:
            names = ", ".join(sorted({str(loaded.key) for loaded in busy}))
            hint = f"while {names} is in use; try again when that is done" if busy else "raise memory_gb"
            raise ValueError(
                f"{key} needs {needed / 1e6:.0f} MB of memory and does not fit the budget of "
                f"{self.memory_budget / 1e6:.0f} MB: {hint}"
            )
