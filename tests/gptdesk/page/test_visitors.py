"""Many visitors of one desk: cost of each, fairness, and generations that end with their page."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import psutil
import pytest
from page_checks import RunningDesk

from benchmarks.visitor import Json, Visitor
from gptdesk.page.long_action import LISTEN_TIMEOUT, NOT_LISTENING


@pytest.fixture(scope="module", params=["local", "public"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def desk(mode: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDesk]:
    host = {"GPTDESK_HOST": "0.0.0.0", "GPTDESK_SHARE": "1"} if mode == "public" else {}
    desk = RunningDesk(tmp_path_factory.mktemp("home"), OMP_NUM_THREADS="1", **host)
    yield desk
    said = desk.close()
    assert "Traceback" not in said
    assert ("--share does nothing here: this desk is public already" in said) is (mode == "public")


@pytest.fixture
def visitor(desk: RunningDesk) -> Iterator[Visitor]:
    visitor = Visitor(desk.url)
    yield visitor
    visitor.close()


@pytest.fixture
def visitors(desk: RunningDesk) -> Iterator[Callable[[int], list[Visitor]]]:
    """Open the page for a number of visitors, who leave at the end of the test however it ends."""
    with ExitStack() as leaving:

        def come(number: int) -> list[Visitor]:
            return [leaving.enter_context(closing(Visitor(desk.url))) for _ in range(number)]

        yield come


def at_once(visit: Callable[[Visitor], None], visitors: list[Visitor]) -> None:
    """Let each visitor do the same in a thread of its own, and wait for all."""
    with ThreadPoolExecutor(len(visitors)) as pool:
        list(pool.map(visit, visitors))


LONG = 1000  # tokens of a text that is being written when others come


def asked(visitor: Visitor, tokens: int = 10) -> tuple[Json, list[object]]:
    event = visitor.event("generate")
    return event, visitor.values(event, prompt="Once upon a time", max_new_tokens=tokens, new_seed=False, seed="3")


def said(messages: list[Json]) -> str:
    return str([message.get("output") for message in messages])


def test_nothing_is_computed_for_who_does_not_listen(
    visitor: Visitor, visitors: Callable[[int], list[Visitor]], mode: str
) -> None:
    """Two dozen ask and never read; whoever reads is served, and those who come back later find no text."""
    deaf = visitors(3)
    for i in range(24):
        one = deaf[i % 3]
        one.session = f"{one.session[:10]}{i}"
        assert one.send(*asked(one, tokens=LONG)).status_code == 200
    if mode == "local":  # on a public desk these all have one address, which has two places
        assert "ended: max new tokens reached" in said(visitor.run(*asked(visitor)))
    time.sleep(LISTEN_TIMEOUT + 1)
    assert "ended: max new tokens reached" in said(visitor.run(*asked(visitor)))
    for one in deaf:
        late = said(list(one.messages()))
        assert NOT_LISTENING in late or "another waits" in late
        assert "tokens/s" not in late


def test_a_stream_of_a_session_that_waits_for_nothing_is_refused(visitor: Visitor) -> None:
    """Gradio would write a traceback for each."""
    for session in ("unknown", visitor.session, ""):
        answer = visitor.request("GET", "/gradio_api/queue/data", params={"session_hash": session})
        assert answer.status_code == 404


def test_who_names_other_addresses_has_no_more_places(visitors: Callable[[int], list[Visitor]], mode: str) -> None:
    eight = visitors(8)
    answers: list[str] = []
    for i, one in enumerate(eight):
        one.client.headers["x-forwarded-for"] = f"10.0.0.{i}"
    at_once(lambda one: answers.append(said(one.run(*asked(one, tokens=LONG if mode == "public" else 10)))), eight)
    refused = [answer for answer in answers if "another waits" in answer]
    assert (len(refused) > 0) is (mode == "public")


def test_a_public_desk_writes_no_more_than_its_page_offers(visitor: Visitor, mode: str) -> None:
    event, values = asked(visitor)
    names = [visitor.components[number]["props"].get("elem_id") for number in event["inputs"]]  # type: ignore
    values[names.index("n")] = 16
    found = said(visitor.run(event, values))
    assert ("a public desk writes at most 8 sequences of 1,000 new tokens" in found) is (mode == "public")


def test_an_abandoned_stream_ends_its_generation(visitor: Visitor) -> None:
    """Check that closed pages free their places."""
    for i in range(12):
        visitor.session = f"leaver{i}"
        assert visitor.send(*asked(visitor, tokens=LONG)).status_code == 200
        messages = visitor.messages()
        next(message for message in messages if message["msg"] == "process_generating")
        messages.close()  # type: ignore[attr-defined]
    late = time.monotonic() + 10
    for i in itertools.count():
        visitor.session = f"stayer{i}"
        answer = said(visitor.run(*asked(visitor)))
        if "another waits" not in answer or time.monotonic() > late:  # a leaver's generation ends between two tokens
            break
    assert "ended: max new tokens reached" in answer


def test_each_address_has_two_places_on_a_public_desk(visitors: Callable[[int], list[Visitor]], mode: str) -> None:
    tokens = LONG if mode == "public" else 10  # on this computer's own desk all are written
    eight = visitors(8)
    answers: list[str] = []
    at_once(lambda one: answers.append(said(one.run(*asked(one, tokens=tokens)))), eight)
    refused = [answer for answer in answers if "another waits" in answer]
    written = [answer for answer in answers if "tokens/s" in answer]
    assert len(refused) + len(written) == len(eight)
    assert len(written) == len(eight) if mode == "local" else len(refused) > 0


def test_the_place_in_the_queue_is_shown(visitors: Callable[[int], list[Visitor]], mode: str) -> None:
    if mode == "public":
        return  # where one address has two places
    *busy, late = visitors(3)
    written: list[str] = []
    begun = threading.Barrier(3)

    def write(one: Visitor, precision: str) -> None:
        event = one.event("generate")
        one.send(event, one.values(event, precision=precision, max_new_tokens=LONG, n=8))
        messages = one.messages()
        next(message for message in messages if "tokens/s" in said([message]))
        begun.wait(60)
        written.append(said(list(messages)))

    def wait(one: Visitor) -> str:
        event = one.event("generate")
        begun.wait(60)  # texts of two models have taken both places; who generates with a third waits
        return said(one.run(event, one.values(event, precision="int4", max_new_tokens=5)))

    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(write, one, precision) for one, precision in zip(busy, ("float32", "int8"), strict=True)]
        answer = pool.submit(wait, late).result()
        for one_text in writing:
            one_text.result()
    assert "place 1 in the queue" in answer
    assert all("ended:" in text for text in (answer, *written))


def test_texts_and_sessions_leave_no_memory_behind(desk: RunningDesk, visitor: Visitor, mode: str) -> None:
    if mode == "public":
        return  # where the same code runs
    process = psutil.Process(desk.process.pid)

    def generate(times: int) -> int:
        for _ in range(times):
            visitor.run(*asked(visitor, tokens=5))
            visitor.received.clear()
        return process.memory_info().rss

    def visit(times: int) -> int:
        event = visitor.event("prompt", "change")
        for i in range(times):
            visitor.session = f"guest{i}"
            with visitor.client.stream("GET", f"/gradio_api/heartbeat/{visitor.session}"):
                visitor.send(event, visitor.values(event))
        return process.memory_info().rss

    before, after = generate(50), generate(60)
    assert after < before + 60 * 25_000  # it was 80 KB each
    before, after = visit(20), visit(100)
    assert after < before + 100 * 100_000  # it was 670 KB each
    assert process.num_fds() < 60
