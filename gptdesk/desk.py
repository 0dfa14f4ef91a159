"""Desk: settings, models, scheduler and saved state; the one gate to generation for page, command line and API."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import psutil

from gptdesk.browser_stores import BrowserStores
from gptdesk.bundle import bundled_models
from gptdesk.errors import NotFound, TooLarge
from gptdesk.generation import GenerationEvent, GenerationQueued, GenerationRequest, generate
from gptdesk.history import FILE as HISTORY
from gptdesk.history import Branch, Draft, History, Origin, recorded
from gptdesk.inspection import NextTokens, next_tokens
from gptdesk.json_store import JsonStore
from gptdesk.presets import built_in_presets, check_chain, is_chain
from gptdesk.saved_items import LONGEST_NAME, SavedItems, check_prompt
from gptdesk.scheduler import OpenCounter, Scheduler
from gptdesk.settings import LinkSettings, Settings, home_fault, make_folder
from gptdesk.starter import CHECKPOINT as STARTER
from gptdesk.system.share_link import ShareLink
from gptdesk.token_logprobs import TokenLogprob, score_tokens
from gptdesk.training.context import RunContext
from gptdesk.training.run_models import run_models
from models.cache import cache_bytes
from models.engine import get_device
from models.library import ModelLibrary
from models.listing import ModelInfo
from models.manager import LoadedModel, ModelKey, ModelManager
from models.storage import names
from models.tokenizer import Tokenizer
from samplers import Chain, is_from_folder, load_plugins
from samplers import get as get_sampler
from samplers import names as sampler_names

if TYPE_CHECKING:
    from gptdesk.metrics import Metrics  # commands need none, and save its import

Result = TypeVar("Result")
SLICE = 0.1  # seconds after which a generation lets others that wait compute
AT_ONCE = 2  # generations of different pages that run at the same time; others wait
CACHE_SHARE = 1 / 8  # of this computer's memory, for the KV caches of generations that take turns
MOST_SEQUENCES, LONGEST_REQUEST = 128, 600.0  # of one request of several prompts; in seconds, as long as clients wait
PUBLIC_SEQUENCES, PUBLIC_TOKENS, PUBLIC_SECONDS = 8, 1_000, 60.0  # of one request to a public desk
PUBLIC_TEXTS, PUBLIC_CHARACTERS = 32, 2_000  # of constraints, which are compared with the text at each token
PAGE, PRESETS, PROMPTS = "page.json", "presets.json", "prompts.json"
BROWSERS = "browsers"  # folder with what each browser has set
LISTED = 12  # presets that an error message lists


class Desk:
    """Settings, models, scheduler and saved state; made once a process, and once more for a public link.

    Raises ValueError if the home folder cannot be used.

    `beside` is the desk whose models and queue this one shares, so that weights are in memory once and all are served
    in one order.
    """

    def __init__(self, settings: Settings, *, beside: "Desk | None" = None) -> None:
        self.settings = settings
        if not home_fault(settings.home):
            for folder in (settings.models, settings.samplers, settings.vocabularies):
                make_folder(folder)
        self.library: ModelLibrary = beside.library if beside else _library(settings)
        self.manager: ModelManager = beside.manager if beside else _manager(settings, self.library)
        self.run_context = RunContext(settings, self.library)
        self.scheduler: Scheduler = beside.scheduler if beside else _scheduler()
        self.listeners: OpenCounter | None = None  # sessions whose page reads its events; None: not tracked
        self.owns_upload: Callable[[str | None, str], bool] | None = None  # whether a visitor's upload is at a path
        self.metrics: Metrics | None = beside.metrics if beside else None  # set by the server of a local desk
        self.link: ShareLink | None = None  # set by the server; a public desk has none
        self.stops: set[threading.Event] = set()  # of work in threads that no page waits for; the server sets them
        # public instances load no plugins from the owner's folder
        self.warnings = [] if beside else load_plugins(None if settings.public else settings.samplers)
        self.page = JsonStore(settings.home / PAGE, writable=not settings.public)
        self.browsers = BrowserStores(self.page, settings.home / BROWSERS, writable=not settings.public)
        self.presets = SavedItems(
            JsonStore(settings.home / PRESETS, writable=not settings.public),
            "preset",
            check=check_chain,
            has_shape=is_chain,
            reserved=built_in_presets(),
        )
        self.prompts = SavedItems(
            JsonStore(settings.home / PROMPTS, writable=not settings.public),
            "prompt",
            check=check_prompt,
            has_shape=lambda value: isinstance(value, str),
        )
        self.votes = JsonStore(settings.home / "votes.json", writable=not settings.public)
        # None: nothing is saved; a public desk keeps nothing of its visitors
        self.history = History(settings.home / HISTORY) if settings.history and not settings.public else None
        if self.history and not home_fault(settings.home):
            self.history.tidy()

    def generate(
        self,
        key: ModelKey,
        request: GenerationRequest,
        *,
        stop: threading.Event | None = None,
        owner: str | None = None,
        origin: Origin = "page",
        branch: Branch | None = None,
    ) -> Iterator[GenerationQueued | GenerationEvent]:
        """Yield the events of a generation, with GenerationQueued before and between them while others compute.

        Page, command line and API all generate here: with the limits of a public desk, the place in the queue (one
        generation at a time for each `owner`; None: no owner) and the loan of the model, which ends with the stream.
        Where others wait, it computes for SLICE seconds at a time; where bits allow it, steps of requests to one model
        are computed together. It is saved in the history, as of `origin`, at its
        place in a tree if it is a `branch`.
        Raises TooLarge as `bounded`, Busy as `Scheduler.queue` and `Place.positions`, ValueError as `ModelManager.lend`
        and `generate`.
        """
        since, request, stop = time.perf_counter(), self.bounded(request), stop or threading.Event()
        checkpoint = self.library.checkpoint(key.name)
        memory = cache_bytes(checkpoint.config, rows=request.n)
        with self.scheduler.queue(stop=stop, owner=owner, memory=memory, model=key) as place:
            yield from map(GenerationQueued, place.positions())
            # on a public desk, the speed of a shared prefix would reveal prompts of others
            with (
                self.manager.lend(key, fresh=self.settings.public) as loaded,
                closing(generate(loaded, request, stop=stop)) as written,
            ):
                if loaded.model.rows_are_independent:
                    place.share()
                events: Iterator[GenerationEvent] = written
                if self.metrics:
                    events = self.metrics.measured(events, key, rows=request.n, since=since)
                if self.history and not home_fault(self.settings.home):
                    events = recorded(
                        events,
                        self.history,
                        Draft(origin, key, checkpoint.path, request, loaded.tokenizer, branch=branch),
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

    def inspect(
        self,
        key: ModelKey,
        tokens: Sequence[int],
        chain: Chain,
        *,
        top: int,
        stop: threading.Event | None = None,
        owner: str | None = None,
    ) -> Iterator[GenerationQueued | NextTokens]:
        """Yield the distribution of the token after these, as `next_tokens`; queued and refused as `generate`."""
        yield from self.read(
            key, lambda loaded: next_tokens(loaded, tokens, chain, top=top), stop=stop or threading.Event(), owner=owner
        )

    def read(
        self, key: ModelKey, work: Callable[[LoadedModel], Result], *, stop: threading.Event, owner: str | None
    ) -> Iterator[GenerationQueued | Result]:
        """Yield the result of `work` with a model that is lent for it; queued and refused as `generate`."""
        memory = cache_bytes(self.library.checkpoint(key.name).config)
        with self.scheduler.queue(stop=stop, owner=owner, memory=memory) as place:
            yield from map(GenerationQueued, place.positions())
            with self.manager.lend(key, fresh=self.settings.public) as loaded:
                yield work(loaded)

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
        texts = [*request.banned_phrases, *request.choices, *request.word_bias]
        if len(texts) > PUBLIC_TEXTS or sum(map(len, texts)) > PUBLIC_CHARACTERS:
            raise TooLarge(
                f"a public desk takes at most {PUBLIC_TEXTS} banned phrases, choices and words, with "
                f"{PUBLIC_CHARACTERS:,} characters together; run one of your own for more"
            )
        return request.model_copy(update={"deadline": min(request.deadline or PUBLIC_SECONDS, PUBLIC_SECONDS)})

    def public_view(self) -> "Desk":
        """Return a public desk with the models and the queue of this one: all that who comes by a link can use."""
        return Desk(LinkSettings(**self.settings.model_dump(exclude_unset=True)), beside=self)

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
        """Return the names of the built-in presets, then of the user's own."""
        return [*built_in_presets(), *self.presets.read()]

    def preset(self, name: str) -> Chain:
        """Return the chain saved under `name`; ValueError if there is none, or one of its samplers no longer exists."""
        if chain := built_in_presets().get(name):
            return chain
        try:
            return check_chain(self.presets.get(name))
        except NotFound:
            known = self.preset_names()
            more = f" and {len(known) - LISTED:,} more" if known[LISTED:] else ""
            there = f"there are: {', '.join(known[:LISTED])}{more}"
            raise NotFound(f"there is no preset {name[:LONGEST_NAME]!r}; {there}") from None

    def save_preset(self, name: str, chain: Chain) -> str:
        """Save `chain` under `name`, replacing an older one; return the name without outer spaces."""
        if self.settings.public:
            raise ValueError("presets cannot be saved on a public desk; run one of your own")
        return self.presets.save(name, chain.to_data())


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
