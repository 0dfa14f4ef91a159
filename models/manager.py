"""ModelManager: loans and eviction of loaded models; the only owner of weights in memory."""

import contextlib
import ctypes
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.batching import Batcher
from models.engine import CPU, Engine
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.loaded_models import LoadedModels, Slot
from models.model_key import ModelKey, runnable
from models.precision.mixed import mixed
from models.precision.tuner import KernelTuner
from models.prefix import PrefixCache
from models.signature import Signature, signature_of
from models.tokenizer import Tokenizer

log = logging.getLogger(__name__)

KERNELS = "kernels.json"  # in the library's cache folder
MOST_READS = 20  # of a checkpoint that changes while it is read


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for inference. Callers must not keep it beyond the end of the loan."""

    key: ModelKey
    model: Engine
    tokenizer: Tokenizer
    config: GPTConfig
    memory_bytes: int
    prefixes: PrefixCache  # of prompts read before
    batcher: Batcher  # of the steps of all its users


_Slot = Slot[ModelKey, LoadedModel]


class ModelManager:
    """The models of a `library` that are in memory.

    All methods may be called from any thread. `memory_budget` (bytes) bounds the weights that stay loaded: to load one
    more, the least recently used are evicted, once the new one has been read, so that a failed load costs nothing.
    With `idle_seconds`, a model that nobody has used for so long is evicted, too.
    """

    def __init__(
        self,
        library: ModelLibrary,
        *,
        memory_budget: int | None = None,
        idle_seconds: float | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.library = library
        self._tuner = KernelTuner(library.cache_folder / KERNELS)
        self._device = device
        self._loaded_models: LoadedModels[ModelKey, LoadedModel] = LoadedModels(memory_budget)
        self._loading = threading.Lock()  # held while weights are read: one load at a time
        self._idle_seconds = idle_seconds
        self._timer: threading.Timer | None = None  # that evicts idle models, while any is loaded
        self._timing = threading.Lock()  # of _timer; held for moments

    @property
    def memory_budget(self) -> int | None:
        """Bytes of weights that stay loaded at most; None if there is no bound."""
        return self._loaded_models.budget

    @contextmanager
    def lend(self, key: ModelKey, *, fresh: bool = False) -> Iterator[LoadedModel]:
        """Load the model if need be, and keep it in memory for the length of the `with` block.

        With `fresh` it has an empty prefix cache: nothing that another request left shows in its times.

        Raises ValueError if there is no such model, if its checkpoint cannot be used, or if it does not fit the budget.
        """
        slot = self._current(key)
        self.library.last_use.record(key.name)
        try:
            yield replace(slot.value, prefixes=PrefixCache()) if fresh else slot.value
        finally:
            self._loaded_models.release(slot)
            if self._idle_seconds is not None:
                self._time(self._idle_seconds)

    @contextmanager
    def lend_mixed(self, key: ModelKey, raised: Mapping[str, str]) -> Iterator[Engine]:
        """Load a float model at the precision of `key` with matrices `raised`, as `mixed` has them, for this block.

        It is neither saved nor kept, and the memory budget must have room for it beside the models that are lent.
        Raises ValueError as `lend` and `mixed`, and for a model that is quantized already.
        """
        with contextlib.ExitStack() as loan:
            with self._loading:
                runnable(key)
                checkpoint = self.library.checkpoint(key.name)
                if checkpoint.quantized:
                    words = checkpoint.quantized.words
                    raise ValueError(f"{key.name} is quantized already, to {words}; take the original")
                precision = mixed(key.precision, raised, checkpoint.config)
                self._check_room(key, precision.memory_bytes(checkpoint.config), replaces=None)
                model = checkpoint.load_engine(precision, tuner=self._tuner, device=precision.device(self._device))
                loan.enter_context(self._loaded_models.reserved(key, model.memory_bytes))
            yield model

    @contextmanager
    def lend_network(self, name: str) -> Iterator[GPT]:
        """Read the network of a float model, in float32 on the CPU, for this block.

        It is not kept, and the memory budget must have room for it beside the models that are lent. Raises ValueError
        as `lend`, and for a model that is quantized.
        """
        with contextlib.ExitStack() as loan:
            with self._loading:
                checkpoint, key = self.library.checkpoint(name), ModelKey(name)
                size = 4 * checkpoint.parameters
                if not checkpoint.quantized:  # else it is refused below
                    self._check_room(key, size, replaces=None)
                network = checkpoint.load_model()
                loan.enter_context(self._loaded_models.reserved(key, size))
            yield network

    def unload(self, key: ModelKey | None = None) -> None:
        """Free a model's memory, or that of all; one in use is evicted when its last user is done."""
        self._loaded_models.remove(key)

    def unload_model(self, name: str) -> None:
        """Free the memory of a model at every precision, as `unload`."""
        for key in self.loaded():
            if key.name == name:
                self.unload(key)
        _return_memory()

    def unload_idle(self, seconds: float) -> float | None:
        """Free the memory of models that nobody has used for so many seconds, and of those that are gone from disk.

        Return the seconds until the next one could be due; None if none is loaded.
        """
        before, names = len(self.loaded()), self.library.listed_names()
        due = self._loaded_models.remove_idle(seconds, gone=lambda key: key.name not in names)
        if len(self.loaded()) < before:
            _return_memory()
        return due

    @property
    def device(self) -> torch.device:
        """Device of precisions that run on any; some run on the processor alone."""
        return self._device

    def loaded(self) -> list[ModelKey]:
        """Return the keys of the models in memory, the least recently used first."""
        return self._loaded_models.keys()

    def loaded_bytes(self) -> dict[ModelKey, int]:
        """Return the bytes of the weights of each model in memory, by key."""
        return self._loaded_models.sizes()

    def memory_bytes(self) -> int:
        """Return the bytes of all weights in memory."""
        return self._loaded_models.memory_bytes()

    def fit(self, keys: Sequence[ModelKey]) -> bool:
        """Return whether these models can be in memory at once, whatever else is there now.

        Raises ValueError if one does not exist or cannot be used.
        """
        if self.memory_budget is None:
            return True
        checkpoints = {key: self.library.checkpoint(key.name) for key in keys}
        sizes = (one.runs_at(runnable(key)).memory_bytes(one.config) for key, one in checkpoints.items())
        return sum(sizes) <= self.memory_budget

    def kernels(self) -> dict[str, str]:
        """Return the kernel chosen for each encoding and width of network that has been loaded on this computer."""
        return dict(self._tuner.chosen)

    def _time(self, seconds: float) -> None:
        """Look for idle models in so many seconds, unless that is planned; the thread keeps no manager alive."""
        with self._timing:
            if self._timer is None:
                self._timer = threading.Timer(seconds, _evict_idle, [weakref.ref(self)])
                self._timer.daemon = True
                self._timer.start()

    def _on_timer(self) -> None:
        """Evict idle models, and look again when the next one is due."""
        with self._timing:
            self._timer = None
        if self._idle_seconds is not None and (due := self.unload_idle(self._idle_seconds)) is not None:
            self._time(max(due, min(1.0, self._idle_seconds)))

    def _current(self, key: ModelKey) -> _Slot:
        """Return the slot of a model as it is on disk now, counted as used once more."""

        def current(path: Path) -> _Slot:
            if slot := self._loaded_models.use(key, signature_of(path)):
                return slot
            with self._loading:  # another thread may have loaded it while this one waited
                return self._loaded_models.use(key, signature_of(path)) or self._load(key, path)

        return self.library.using(key.name, current)

    def _load(self, key: ModelKey, path: Path) -> _Slot:
        """Read a model, or serve on with the one in memory if that has changed on disk and cannot be read."""
        try:
            loaded, signature = self._read_settled(key, path)
        except ValueError as error:
            present = self.library.find(key.name)  # raises, with the better reason, if it no longer exists
            # what is in memory does not stand for a newer checkpoint, which the caller reads then
            slot = self._loaded_models.use(key, None) if path == present else None
            if slot is None:
                raise
            slot.signature = signature_of(path)
            log.warning("%s has changed but cannot be loaded, the one in memory serves on: %s", key, error)
            return slot
        return self._loaded_models.add(key, loaded, signature)

    def _read_settled(self, key: ModelKey, path: Path) -> tuple[LoadedModel, Signature]:
        """Read a model, again if it was saved meanwhile: what was read may be a mix of the old and the new."""
        for _ in range(MOST_READS):
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
        """Read a model from the library; ValueError if it does not fit the budget or cannot be used."""
        precision = runnable(key)
        checkpoint = self.library.open(path)
        self._check_room(key, checkpoint.runs_at(precision).memory_bytes(checkpoint.config), replaces=key)
        tokenizer = checkpoint.load_tokenizer(self.library.cache_folder)
        device = precision.device(self._device)
        model = self.library.load_engine(key, path, tuner=self._tuner, device=device)
        log.info("loaded %s, %.0f MB, on %s by %s", key, model.memory_bytes / 1e6, device, model.kernels)
        return LoadedModel(
            *(key, model, tokenizer, checkpoint.config, model.memory_bytes), PrefixCache(), Batcher(model)
        )

    def _check_room(self, key: ModelKey, needed: int, *, replaces: ModelKey | None) -> None:
        """Raise ValueError if `needed` bytes would not fit even with all that is unused, or replaced, evicted."""
        if self.memory_budget is None:
            return
        busy = self._loaded_models.in_use(but=replaces)
        if needed + sum(size for _, size in busy) > self.memory_budget:
            names = ", ".join(sorted({str(used) for used, _ in busy}))
            hint = f"while {names} is in use; try again when that is done" if busy else "raise memory_gb"
            raise ValueError(
                f"{key} needs {needed / 1e6:.0f} MB of memory and does not fit the budget of "
                f"{self.memory_budget / 1e6:.0f} MB: {hint}"
            )


def _evict_idle(manager: "weakref.ref[ModelManager]") -> None:
    """Let a manager that still exists evict idle models."""
    if (alive := manager()) is not None:
        alive._on_timer()


def _return_memory() -> None:
    """Give freed memory back to the system, of which the allocator of Linux would keep most."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # not the GNU library
            ctypes.CDLL(None).malloc_trim(0)
