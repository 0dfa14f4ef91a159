"""The desk: settings, the models it lends out and what it remembers, shared by every tab and command."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil

from gptdesk.generation import GenerationEvent, GenerationRequest, generate
from gptdesk.settings import Settings, make_folder
from gptdesk.starter import CHECKPOINT as STARTER
from gptdesk.training.places import Places
from gptdesk.training.run_models import run_models
from gptdesk.turns import Turns
from models.engine import get_device
from models.listing import ModelInfo
from models.manager import ModelKey, ModelManager
from models.prefix import PrefixCache
from models.storage import json_bytes, names, read_json, write_file
from models.tokenizer import Tokenizer
from samplers import Chain, build, default_chain, load_plugins

Values = dict[str, object]  # JSON values by name: what a page or a preset remembers

log = logging.getLogger(__name__)

AT_ONCE = 2  # generations of different pages that run at the same time; others wait
MOST_REMEMBERED = 16_000_000  # bytes of a file of presets or page values


def built_in_presets() -> dict[str, Chain]:
    """The presets every desk has."""
    return {
        "Balanced": default_chain(),
        "Most likely word": Chain(samplers=(build("greedy"),)),
        "Careful": Chain(samplers=(build("temperature", temperature=0.5), build("top_p", top_p=0.8))),
        "Adventurous": Chain(
            samplers=(
                build("presence_frequency", presence_penalty=0.3, frequency_penalty=0.3),
                build("temperature", temperature=1.2),
                build("min_p", min_p=0.05),
            )
        ),
    }


class Desk:
    """Made once a process. Raises ValueError when the home folder cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        for folder in (settings.models, settings.samplers, settings.vocabularies):
            make_folder(folder)
        self.manager = ModelManager(
            settings.models,
            bundled=[STARTER],
            elsewhere=partial(run_models, settings.runs),
            reserved=partial(names, settings.runs),
            cache_folder=settings.vocabularies,
            copies=settings.copies,
            device=get_device(settings.device),
            memory_budget=int(settings.memory_gb * 1e9) if settings.memory_gb else psutil.virtual_memory().total // 2,
        )
        self.places = Places(settings, self.manager)
        self.turns = Turns(AT_ONCE)
        # A stranger's visit must not depend on, or reveal, what the owner dropped into a folder.
        self.warnings = load_plugins(None if settings.public else settings.samplers)
        self.page = Remembered(settings.home / "page.json", writable=not settings.public)
        self.presets = Remembered(settings.home / "presets.json", writable=not settings.public)
        self.votes = Remembered(settings.home / "votes.json", writable=not settings.public)

    def generate(
        self, key: ModelKey, request: GenerationRequest, *, stop: threading.Event | None = None
    ) -> Iterator[GenerationEvent]:
        """Borrow the model for as long as the stream runs. Errors as `ModelManager.lend` and `generate`."""
        with self.manager.lend(key) as loaded:
            if self.settings.public:  # what is known of a prompt would tell what others have written
                loaded = replace(loaded, prefixes=PrefixCache())
            yield from generate(loaded, request, stop=stop)

    def model(self, name: str) -> ModelInfo:
        """What is known of a model by name; ValueError lists the names there are."""
        return self.manager.info(name)

    def tokenizer(self, name: str) -> Tokenizer:
        """A model's tokenizer without its weights, to count tokens while someone types."""
        return self.manager.tokenizer(name)

    def preset_names(self) -> list[str]:
        """Built-in presets first, then the user's own."""
        return [*built_in_presets(), *self.presets.read()]

    def preset(self, name: str) -> Chain:
        """The chain saved under `name`; ValueError if there is none, or it needs a sampler that is gone."""
        if chain := built_in_presets().get(name):
            return chain
        links = self.presets.read().get(name)
        if not isinstance(links, list):
            raise ValueError(f"there is no preset {name!r}; there are: {', '.join(self.preset_names())}")
        return Chain.from_data(links)

    def save_preset(self, name: str, chain: Chain) -> str:
        """Keep `chain` under `name`, over an older one of that name; the name it got."""
        name = name.strip()
        if self.settings.public:
            raise ValueError("presets cannot be saved on a public desk; run one of your own")
        if not name or len(name) > 60:
            raise ValueError("a preset needs a name of 1 to 60 characters; type one in the box")
        if name in built_in_presets():
            raise ValueError(f"{name!r} is a built-in preset; save yours under another name")
        self.presets.put(name, chain.to_data())
        return name

    def delete_preset(self, name: str) -> None:
        """Forget a preset of the user's own."""
        if name in built_in_presets() or name not in self.presets.read():
            raise ValueError(f"{name!r} is not a preset of yours; only your own can be deleted")
        self.presets.put(name, None)


class Remembered:
    """A small JSON object on disk, written whole. A damaged file is set aside, and said so, and a new one begun."""

    def __init__(self, file: Path, *, writable: bool) -> None:
        self._file = file
        self._writable = writable
        self._lock = threading.Lock()

    def read(self) -> Values:
        """The values there are now."""
        with self._lock:
            return _read_object(self._file) if self._writable else {}

    def put(self, name: str, value: object | None) -> None:
        """Set one value, or with None remove it; ValueError if it is too large or the disk refuses.

        A public desk keeps nothing of its visitors.
        """
        with self._lock:
            before = _read_object(self._file) if self._writable else {}
            values = {other: kept for other, kept in before.items() if other != name}
            if value is not None:
                values[name] = value
            if not self._writable or values == before:
                return
            data = json_bytes(values)
            if len(data) > MOST_REMEMBERED:
                raise ValueError(f"{len(data) / 1e6:.0f} MB is too much to remember in {self._file}; it is as it was")
            try:
                write_file(self._file, data)
            except OSError as error:
                raise ValueError(f"cannot write {self._file} ({error.strerror or error}); it is as it was") from None


def _read_object(file: Path) -> Values:
    if not file.exists():
        return {}
    try:
        return read_json(file, limit=MOST_REMEMBERED)
    except ValueError as error:
        if isinstance(error.__cause__, OSError):  # it could not be read just now, so nothing is wrong with it
            raise
        aside = file.with_name(f"{file.name}.damaged")
        log.warning("%s; it is kept as %s and begun anew", error, aside)
        with contextlib.suppress(OSError):
            file.replace(aside)
        return {}
