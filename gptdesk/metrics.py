"""Metrics of a running desk, measured and kept in memory, as text for Prometheus."""

import time
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from gptdesk.generation import GenerationEvent, GenerationStart, GenerationStep
from gptdesk.scheduler import Scheduler
from models.manager import ModelKey, ModelManager

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # upper bounds of the histograms' buckets
SPEEDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)  # tokens per second
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters and histograms of one desk, in a registry of its own; may be used from any thread."""

    def __init__(self, scheduler: Scheduler, manager: ModelManager) -> None:
        self._scheduler = scheduler
        self._manager = manager
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "gptdesk_requests", "Requests answered, by route and status.", ["route", "status"], registry=registry
        )
        self._generations = Counter(
            "gptdesk_generations", "Generations that have begun to read their prompt.", ["model"], registry=registry
        )
        self._prompt_tokens = Counter(
            "gptdesk_prompt_tokens",
            "Tokens of prompts, also those read before.",
            ["model"],
            registry=registry,
        )
        self._tokens = Counter("gptdesk_generated_tokens", "Tokens generated.", ["model"], registry=registry)
        self._first_token = Histogram(
            "gptdesk_time_to_first_token_seconds",
            "Seconds from a request, its wait in the queue and the load of its model included, to its first token.",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self._speed = Histogram(
            "gptdesk_tokens_per_second",
            "Tokens of a generation after the first of each sequence, per second; while others have their turns, too.",
            ["model"],
            buckets=SPEEDS,
            registry=registry,
        )
        registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def count_request(self, route: str, status: int) -> None:
        """Count an answered request."""
        self._requests.labels(route, str(status)).inc()

    def measured(
        self, events: Iterator[GenerationEvent], key: ModelKey, *, rows: int, since: float
    ) -> Iterator[GenerationEvent]:
        """Yield the events of a generation of `rows` sequences, counted; it was asked for at `since`, perf_counter."""
        model, first, last, tokens = key.spelled, 0.0, 0.0, 0
        try:
            for event in events:
                if isinstance(event, GenerationStart):
                    self._generations.labels(model).inc()
                    self._prompt_tokens.labels(model).inc(event.prompt_tokens)
                elif isinstance(event, GenerationStep) and event.token is not None:
                    tokens += 1
                    last = time.perf_counter()
                    if not first:
                        first = last
                        self._first_token.labels(model).observe(first - since)
                yield event
        finally:
            self._tokens.labels(model).inc(tokens)
            if tokens > rows and last > first:
                self._speed.labels(model).observe((tokens - rows) / (last - first))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges of the scheduler and the loaded models, as they are now."""
        yield GaugeMetricFamily("gptdesk_queue_length", "Requests that wait for others.", self._scheduler.waiting)
        yield GaugeMetricFamily("gptdesk_computing", "Requests that compute.", self._scheduler.computing)
        yield GaugeMetricFamily("gptdesk_loaded_models", "Models in memory.", len(self._manager.loaded()))
        yield GaugeMetricFamily("gptdesk_loaded_model_bytes", "Bytes of their weights.", self._manager.memory_bytes())

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
