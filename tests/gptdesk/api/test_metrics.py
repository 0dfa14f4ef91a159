"""/metrics: what a desk has done, in Prometheus' text format, read by prometheus-client's own parser."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from gptdesk.desk import Desk
from gptdesk.server import web_app
from gptdesk.settings import load_settings

ONCE = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 6, "seed": 1}


def samples(raw: httpx.Client) -> dict[tuple[str, ...], float]:
    """Value by name and labels."""
    answer = raw.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    return {(one.name, *one.labels.values()): one.value for one in found}


def test_what_was_done_is_counted(raw: httpx.Client) -> None:
    before = samples(raw)
    answers = [raw.post("/v1/completions", json=ONCE | {"n": n}).json() for n in (1, 3)]
    raw.post("/generate", json={"model": "tiny", "prompt": "A", "max_new_tokens": 1, "stream": True})
    raw.post("/v1/completions", json={**ONCE, "model": "nobody"})
    raw.get("/v1/models/tiny")
    raw.get("/v1/models/nobody")
    raw.get("/nowhere")
    raw.put("/v1/completions")
    after = samples(raw)

    def grown(*name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    model = "tiny:float32"
    written = sum(answer["usage"]["completion_tokens"] for answer in answers)
    assert grown("gptdesk_generations_total", model) == 3
    assert grown("gptdesk_generated_tokens_total", model) == written + 1
    assert grown("gptdesk_prompt_tokens_total", model) > 3
    assert grown("gptdesk_time_to_first_token_seconds_count", model) == 3
    assert 0 < grown("gptdesk_time_to_first_token_seconds_sum", model) < 60
    assert grown("gptdesk_tokens_per_second_count", model) == 2  # one token has no speed
    assert grown("gptdesk_tokens_per_second_sum", model) > 0
    for route, status, count in (
        ("/v1/completions", 200, 2),
        ("/v1/completions", 404, 1),
        ("/v1/models/{model}", 200, 1),
        ("/v1/models/{model}", 404, 1),
        ("/generate", 200, 1),
        ("/metrics", 200, 1),
        ("closed", 404, 1),
        ("closed", 405, 1),
    ):
        assert grown("gptdesk_requests_total", route, str(status)) == count, route
    assert after["gptdesk_queue_length",] == after["gptdesk_computing",] == 0
    assert after["gptdesk_loaded_models",] == 1
    assert after["gptdesk_loaded_model_bytes",] > 10_000
    assert after["process_resident_memory_bytes",] > 50e6


def test_a_request_that_is_left_is_counted_and_waiting_ones_are_seen(raw: httpx.Client, api_desk: Desk) -> None:
    before = samples(raw)
    with raw.stream("POST", "/v1/completions", json=ONCE | {"stream": True, "max_tokens": 40}) as answer:
        next(answer.iter_lines())
    with api_desk.scheduler.queue(alone=True) as alone, api_desk.scheduler.queue():
        assert alone.wait(5)
        during = samples(raw)
    assert (during["gptdesk_queue_length",], during["gptdesk_computing",]) == (1, 1)
    assert (
        during["gptdesk_generated_tokens_total", "tiny:float32"]
        > before["gptdesk_generated_tokens_total", "tiny:float32"]
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_each_desk_has_its_own_and_a_public_one_none(in_event_loop: Callable, tmp_path: Path, host: str) -> None:
    desk = Desk(load_settings({"home": str(tmp_path), "host": host}))
    other = TestClient(in_event_loop(lambda: web_app(desk, page=False)), base_url="http://127.0.0.1:7860")
    answer = other.get("/metrics")
    if host == "0.0.0.0":
        assert (answer.status_code, desk.metrics) == (404, None)
    else:
        assert "gptdesk_requests_total{" not in answer.text
        assert 'gptdesk_requests_total{route="/metrics",status="200"} 1.0' in other.get("/metrics").text
        assert (other.head("/metrics").status_code, other.head("/metrics").content) == (200, b"")
        view = desk.public_view()
        assert view.metrics is desk.metrics
