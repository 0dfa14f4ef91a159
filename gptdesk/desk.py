"""Desk: settings, models, scheduler and saved state; the one gate to generation for page, command line and API."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TypeGuard

import psutil

from gptdesk.bundle import bundled_models
from gptdesk.errors import NotFound, TooLarge
from gptdesk.generation import GenerationEvent, GenerationQueued, GenerationRequest, generate
from gptdesk.history import FILE as HISTORY
from gptdesk.history import Draft, History, Origin, recorded
from gptdesk.json_store import JsonStore
from gptdesk.scheduler import OpenCounter, Scheduler
from gptdesk.settings import LinkSettings, Settings, make_folder
from gptdesk.starter import CHECKPOINT as STARTER
from gptdesk.stored_values import warn_once
from gptdesk.system.share_link import ShareLink
from gptdesk.token_logprobs import TokenLogprob, score_tokens
from gptdesk.training.context import RunContext
from gptdesk.training.run_models import run_models
from models.cache import cache_bytes
from models.engine import get_device
from models.library import ModelLibrary
from models.listing import ModelInfo
from models.manager import ModelKey, ModelManager
from models.storage import names
from models.tokenizer import Tokenizer
from samplers import Chain, build, default_chain, is_from_folder, load_plugins
from samplers import get as get_sampler
from samplers import names as sampler_names

SLICE = 0.1  # seconds after which a generation lets others that wait compute
AT_ONCE = 2  # generations of different pages that run at the same time; others wait
CACHE_SHARE = 1 / 8  # of this computer's memory, for the KV caches of generations that take turns
MOST_SEQUENCES, LONGEST_REQUEST = 128, 600.0  # of one request of several prompts; in seconds, as long as clients wait
PUBLIC_SEQUENCES, PUBLIC_TOKENS, PUBLIC_SECONDS = 8, 1_000, 60.0  # of one request to a public desk
PAGE, PRESETS = "page.json", "presets.json"
MOST_PRESETS = 200  # of a user's own
LISTED = 12  # presets that an error message lists
LONGEST_NAME = 60  # characters of a preset's name


def built_in_presets() -> dict[str, Chain]:
    """Return the presets that every desk has."""
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
    """Settings, models, scheduler and saved state; made once a process, and once more for a public link.

    Raises ValueError if the home folder cannot be used.

    `beside` is the desk whose models and queue this one shares, so that weights are in memory once and all are served
    in one order.
    """

    def __init__(self, settings: Settings, *, beside: "Desk | None" = None) -> None:
        self.settings = settings
        for folder in (settings.models, settings.samplers, settings.vocabularies):
            make_folder(folder)
        self.library: ModelLibrary = beside.library if beside else _library(settings)
        self.manager: ModelManager = beside.manager if beside else _manager(settings, self.library)
        self.run_context = RunContext(settings, self.library)
        self.scheduler: Scheduler = beside.scheduler if beside else _scheduler()
        self.listeners: OpenCounter | None = None  # sessions whose page reads its events; None: not tracked
        self.link: ShareLink | None = None  # set by the server; a public desk has none
        # public instances load no plugins from the owner's folder
        self.warnings = [] if beside else load_plugins(None if settings.public else settings.samplers)
        self.page = JsonStore(settings.home / PAGE, writable=not settings.public)
        self.presets = JsonStore(settings.home / PRESETS, writable=not settings.public)
        self.votes = JsonStore(settings.home / "votes.json", writable=not settings.public)
        # None: nothing is saved; a public desk keeps nothing of its visitors
        self.history = History(settings.home / HISTORY) if settings.history and not settings.public else None
        if self.history:
            self.history.tidy()

    def generate(
        self,
        key: ModelKey,
        request: GenerationRequest,
        *,
        stop: threading.Event | None = None,
        owner: str | None = None,
        origin: Origin = "page",
    ) -> Iterator[GenerationQueued | GenerationEvent]:
        """Yield the events of a generation, with GenerationQueued before and between them while others compute.

        Page, command line and API all generate here: with the limits of a public desk, the place in the queue (one
        generation at a time for each `owner`; None: no owner) and the loan of the model, which ends with the stream.
        Where others wait, it computes for SLICE seconds at a time. It is saved in the history, as of `origin`.
        Raises TooLarge as `bounded`, Busy as `Scheduler.queue` and `Place.positions`, ValueError as `ModelManager.lend`
        and `generate`.
        """
        request, stop = self.bounded(request), stop or threading.Event()
        checkpoint = self.library.checkpoint(key.name)
        memory = cache_bytes(checkpoint.config, rows=request.n)
        with self.scheduler.queue(stop=stop, owner=owner, memory=memory) as place:
            yield from map(GenerationQueued, place.positions())
            # on a public desk, the speed of a shared prefix would reveal prompts of others
            with self.manager.lend(key, fresh=self.settings.public) as loaded:
                events = generate(loaded, request, stop=stop)
                if self.history:
                    events = recorded(
                        events, self.history, Draft(origin, key, checkpoint.path, request, loaded.tokenizer)
                    )
                yield from place.shared(events, every=SLICE, waiting=GenerationQueued)

    def score(
        self,
        key: ModelKey,
        tokens: Sequence[int],
        *,
        top: int = 0,
        stop: threading.Event | None = None,
        owner: str | None = None,
    ) -> Iterator[GenerationQueued | TokenLogprob]:
        """Yield the log-probability of every token of a text, as `score_tokens`; queued and refused as `generate`."""
        stop = stop or threading.Event()
        memory = cache_bytes(self.library.checkpoint(key.name).config)
        with self.scheduler.queue(stop=stop, owner=owner, memory=memory) as place:
            yield from map(GenerationQueued, place.positions())
            with self.manager.lend(key, fresh=self.settings.public) as loaded:
                yield from place.shared(score_tokens(loaded, tokens, top=top, stop=stop), every=SLICE)

    def longest_request(self, *, prompts: int, sequences: int) -> float:
        """Return the seconds that a request of several prompts may take; TooLarge for more than this desk allows.

        `sequences` are those of all prompts together.
        """
        public = self.settings.public
        most, longest = (PUBLIC_SEQUENCES, PUBLIC_SECONDS) if public else (MOST_SEQUENCES, LONGEST_REQUEST)
        if max(prompts, sequences) > most:
            raise TooLarge(
                f"a request may have at most {most} prompts and sequences, n of every prompt counted; send several"
            )
        return longest

    def bounded(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request with the limits of this desk: a public one sets a deadline; TooLarge beyond its limits."""
        if not self.settings.public:
            return request
        if request.max_new_tokens > PUBLIC_TOKENS or request.n > PUBLIC_SEQUENCES:
            raise TooLarge(
                f"a public desk writes at most {PUBLIC_SEQUENCES} sequences of {PUBLIC_TOKENS:,} new tokens; "
                "run one of your own for more"
            )
        return request.model_copy(update={"deadline": min(request.deadline or PUBLIC_SECONDS, PUBLIC_SECONDS)})

    def public_view(self) -> "Desk":
        """Return a public desk with the models and the queue of this one: all that who comes by a link can use."""
        return Desk(LinkSettings(**self.settings.model_dump()), beside=self)

    def sampler_names(self) -> list[str]:
        """Return the names of the samplers that are offered: on a public desk none of those from the folder.

        They are registered once a process, so they may be there although this desk did not load them.
        """
        return [name for name in sampler_names() if not (self.settings.public and is_from_folder(get_sampler(name)))]

    def model(self, name: str) -> ModelInfo:
        """Return the listing entry of a model; ValueError lists the names there are."""
        return self.library.info(name)

    def tokenizer(self, name: str) -> Tokenizer:
        """Return a model's tokenizer without loading its weights."""
        return self.library.tokenizer(name)

    def preset_names(self) -> list[str]:
        """Return the names of the built-in presets, then of the user's own, MOST_PRESETS at most."""
        own = list(itertools.islice(self._own_presets(), MOST_PRESETS))
        if missing := len(self.presets.read()) - len(own):
            file = self.settings.home / PRESETS
            warn_once(
                f"{missing:,} of the presets in {file} are not listed: they are damaged, or beyond {MOST_PRESETS}"
            )
        return [*built_in_presets(), *own]

    def preset(self, name: str) -> Chain:
        """Return the chain saved under `name`; ValueError if there is none, or one of its samplers no longer exists."""
        if chain := built_in_presets().get(name):
            return chain
        links = self.presets.read().get(name)
        if not _is_chain(links):
            known = self.preset_names()
            more = f" and {len(known) - LISTED:,} more" if known[LISTED:] else ""
            raise NotFound(f"there is no preset {name[:LONGEST_NAME]!r}; there are: {', '.join(known[:LISTED])}{more}")
        return Chain.from_data(links)

    def save_preset(self, name: str, chain: Chain) -> str:
        """Save `chain` under `name`, replacing an older one; return the name without outer spaces."""
        name = name.strip()
        if self.settings.public:
            raise ValueError("presets cannot be saved on a public desk; run one of your own")
        if not name or len(name) > LONGEST_NAME:
            raise ValueError(f"a preset needs a name of 1 to {LONGEST_NAME} characters; type one in the box")
        if name in built_in_presets():
            raise ValueError(f"{name!r} is a built-in preset; save yours under another name")
        own = set(self._own_presets())
        if name not in own and len(own) >= MOST_PRESETS:
            raise ValueError(f"{MOST_PRESETS} presets are as many as can be kept; delete one of yours, then save this")
        self.presets.put(name, chain.to_data())
        return name

    def delete_preset(self, name: str) -> None:
        """Delete a preset of the user's own; NotFound if it is none."""
        if name in built_in_presets() or name not in self.presets.read():
            raise NotFound(f"{name!r} is not a preset of yours; only your own can be deleted")
        self.presets.put(name, None)

    def _own_presets(self) -> Iterator[str]:
        """Yield the names of the user's own presets, in the order of their file."""
        built_in = built_in_presets()
        for name, links in self.presets.read().items():
            if _is_chain(links) and 0 < len(name) <= LONGEST_NAME and name not in built_in:
                yield name


def _scheduler() -> Scheduler:
    return Scheduler(AT_ONCE, memory=int(psutil.virtual_memory().total * CACHE_SHARE))


def _library(settings: Settings) -> ModelLibrary:
    library = ModelLibrary(
        settings.models,
        # an exported Space has its own model only
        bundled=[*([STARTER] if STARTER.is_dir() else []), *bundled_models()],
        supplier=partial(run_models, settings.runs),
        reserved=partial(names, settings.runs),
        cache_folder=settings.vocabularies,
        quantized_cache=settings.copies,
    )
    library.own.clean_up()
    return library


def _manager(settings: Settings, library: ModelLibrary) -> ModelManager:
    memory = int(settings.memory_gb * 1e9) if settings.memory_gb else psutil.virtual_memory().total // 2
    idle = settings.idle_minutes * 60 or None
    return ModelManager(library, device=get_device(settings.device), memory_budget=memory, idle_seconds=idle)


def _is_chain(links: object) -> TypeGuard[list[dict[str, object]]]:
    """Return whether a saved value has the shape of a chain; `Chain.from_data` checks the rest."""
    return isinstance(links, list) and all(isinstance(link, dict) for link in links)
