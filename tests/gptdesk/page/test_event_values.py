"""Events with values that no widget offers: refused or explained in a sentence, without side effects."""

import math
import os
import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from page_checks import RunningDesk

from benchmarks.visitor import Json, Visitor, file_data
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import RunDirectory, RunStatus, Sample
from gptdesk.training.steps import TrainingStep

CALLS = int(os.environ.get("HOSTILE_CALLS", "500"))  # 2,000 and more now and then
MARK = "XYZZY-visitor-text"  # what must not be in the terminal
HOSTILE = [
    None, "", MARK, MARK + "\ud800", "\udfff", "\0", "x" * 5_000, "../../etc/passwd", "starter", "nowhere", "x",
    "1e999", "<img src=x onerror=alert(1)>", "${7*7}", "{{7*7}}", "%s%n", "bpe:99999999", "bpe:", "classic:nowhere",
    "story-world:-1", "-1", "999999999999999999999999", "0x10", "1_000", "\u202e", "true", "None",
    10**400, -(10**400),
    True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1e308, -1e308, 5e-324, 2**31, 2**53 + 1, 2**62, 2**70, -(2**70),
    math.nan, math.inf, -math.inf, [], [[]], [None], ["x"], [MARK], ["steps", "axis"], [1, 2], [math.nan],
    ["x"] * 2_000, {}, {"value": 1}, {"__type__": "update"}, file_data("/etc/passwd"), [file_data("/etc/passwd")],
]  # fmt: skip

# What keeps an event short that is accepted.
SMALL = {
    "max_new_tokens": 5,
    "compare_max_new_tokens": 5,
    "repeats": 1,
    "judge_text": "Once upon a time there was a fox. " * 20,
    "train_library": "classic:alice",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a home with a run and a preset for the events."""
    home = tmp_path_factory.mktemp("home")
    run = RunDirectory.create(home / "runs" / "nowhere", RunPlan(name="nowhere", data=("text.txt",)))
    run.write_status(RunStatus("stopped", step=20, steps=20))
    for step in range(1, 21):
        loss = 5 - step / 10
        run.log_step(TrainingStep(step, loss, loss if step % 10 == 0 else None, 1e-3, 1.0, 1e3, step, step * 64, 0.1))
    run.log_samples([Sample(10, "Once", " upon"), Sample(20, "Once", " more")])
    (home / "presets.json").write_text('{"x": [{"name": "top_k", "top_k": 3}]}')
    return home


@pytest.fixture(scope="module")
def desk(home: Path) -> Iterator[RunningDesk]:
    # without a network: fetching a classic must fail at once
    desk = RunningDesk(home, OMP_NUM_THREADS="1", HTTPS_PROXY="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1")
    yield desk
    log = desk.close()
    assert "Traceback" not in log, log[-4_000:]
    assert MARK not in log


def hostile_call(visitor: Visitor, chance: random.Random) -> tuple[Json, list[object]]:
    """Return an event with some values replaced, or with too few or too many of them."""
    event = chance.choice(visitor.events)
    values = visitor.values(event, **SMALL)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 5, 50))):
        if values:
            values[chance.randrange(len(values))] = chance.choice(HOSTILE)
    shape = chance.random()
    if shape < 0.05:
        values = values[:-1]
    elif shape < 0.1:
        values = [*values, chance.choice(HOSTILE)]
    return event, values


def test_hostile_values_leave_no_trace(desk: RunningDesk) -> None:
    chance = random.Random(17)
    process = psutil.Process(desk.process.pid)
    visitor = Visitor(desk.url)
    memory = threads = files = 0
    refused = accepted = 0
    for call in range(CALLS):
        if call <= CALLS // 2:  # all models and libraries that will be needed are loaded by then
            memory = process.memory_info().rss
            # threads of a pool come and go, each with its connection to the history
            threads, files = max(threads, process.num_threads()), max(files, process.num_fds())
        event, values = hostile_call(visitor, chance)
        answer = visitor.send(event, values)
        assert answer.status_code in (200, 400), (event["id"], values, answer.status_code, answer.text)
        refused += answer.status_code == 400
        accepted += answer.status_code == 200
        if answer.status_code == 200 and event["queue"]:
            for message in visitor.messages():
                if message["msg"] == "process_completed":
                    assert message["success"], (event["id"], values)
        visitor.received.clear()
    assert refused > CALLS / 5
    assert accepted > CALLS / 5
    # a pool grows with the events that overlap: 5 to 10 threads were seen, 11 to 22 files; 2,000 calls made no more
    assert process.num_threads() <= threads + 8
    assert process.num_fds() <= files + 30
    assert process.memory_info().rss < memory + 150e6
    generate = visitor.event("generate")
    texts = visitor.run(generate, visitor.values(generate, prompt="Once upon a time", max_new_tokens=5, n=1))
    assert texts[-2]["success"] is True
    visitor.close()


def test_every_widget_of_every_event_takes_numbers_that_no_machine_holds(desk: RunningDesk) -> None:
    visitor = Visitor(desk.url)
    for event in visitor.events:
        values = visitor.values(event, **SMALL)
        for i, number in enumerate(event["inputs"]):  # type: ignore[arg-type]
            if visitor.components[number]["type"] in ("number", "slider", "radio"):
                for value in (10**400, -(10**400), math.inf, math.nan):
                    assert visitor.send(event, [*values[:i], value, *values[i + 1 :]]).status_code == 400
    visitor.close()


def test_a_card_that_is_not_shown_can_be_neither_continued_nor_kept(desk: RunningDesk) -> None:
    visitor = Visitor(desk.url)
    for button in ("continue-8", "keep-8"):
        event = visitor.event(button)
        found = visitor.run(event, visitor.values(event, text_8="Once upon a time", max_new_tokens=3))
        assert "there is no text 8 any more" in str(found)
    event = visitor.event("continue-1")
    found = visitor.run(event, visitor.values(event, text_1="Once upon a time", max_new_tokens=3))
    assert "Once upon a time" in str(found)
    visitor.close()


def test_a_sampler_can_be_chosen_once(desk: RunningDesk) -> None:
    """Check that repeated samplers are refused: a chain of a thousand would take seconds for each token."""
    visitor = Visitor(desk.url)
    event = visitor.event("generate")
    answer = visitor.send(event, visitor.values(event, chain=["typical"] * 1_000))
    assert (answer.status_code, answer.json()["detail"]) == (400, "a choice can be made once")
    visitor.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"null", 400), (b"[]", 400), (b'"x"', 400), (b"1", 400), (b"\xff\xfe", 400),
        (b"[" * 100_000, 400), (b'{"fn_index": ' + b"9" * 5_000 + b"}", 400), (b'{"data": NaN}', 400),
        (b'{"fn_index": true, "session_hash": "a", "data": []}', 400), (b'{"fn_index": 1.0}', 400),
        (b'{"fn_index": 3, "session_hash": "../x", "data": []}', 400), (b'{"fn_index": 3, "data": []}', 400),
        (b'{"fn_index": -1, "session_hash": "a", "data": []}', 400), (b'{"fn_index": 3, "session_hash": "a"}', 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("route", ["queue/join", "run/predict"])
def test_a_body_that_is_no_event_is_told_so(desk: RunningDesk, route: str, body: bytes, status: int) -> None:
    visitor = Visitor(desk.url)
    headers = {"content-type": "application/json"}
    answer = visitor.request("POST", f"/gradio_api/{route}", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["detail"]
    wrong = visitor.request("POST", f"/gradio_api/{route}", content=body, headers={"content-type": "text/plain"})
    assert wrong.status_code == 415
    visitor.close()


def test_an_event_goes_through_its_own_route_alone(desk: RunningDesk) -> None:
    """Or else whoever skips the queue would not be counted."""
    visitor = Visitor(desk.url)
    for event in visitor.events:
        body = visitor.body(event, visitor.values(event))
        other = "run/predict" if event["queue"] else "queue/join"
        answer = visitor.request("POST", f"/gradio_api/{other}", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (400, "there is no such event; load the page again")
    visitor.close()


def test_a_body_that_is_too_large_is_refused_before_it_is_read(desk: RunningDesk) -> None:
    visitor = Visitor(desk.url)
    headers = {"content-type": "application/json"}
    before = psutil.Process(desk.process.pid).memory_info().rss

    def endless() -> Iterator[bytes]:
        yield from (b"x" * 1_000_000 for _ in range(40))

    for content in (b'{"data": ["' + b"x" * 40_000_000, endless()):
        answer = visitor.request("POST", "/gradio_api/run/predict", content=content, headers=headers)
        assert answer.status_code == 413
        assert "give it as a file" in answer.json()["detail"]
    assert psutil.Process(desk.process.pid).memory_info().rss < before + 30e6
    visitor.close()
