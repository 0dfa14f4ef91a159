"""Relief of Gradio's event loop: the same messages as Gradio's own, and no waiting for generators that are closed."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise

import gradio as gr
import pytest
from anyio import CapacityLimiter
from gradio import utils
from gradio.blocks import Block, Blocks
from gradio.state_holder import SessionState
from gradio.utils import SyncToAsyncIterator

from gptdesk.page.event_loop import edits, relieve_event_loop

LONG = 60.0  # seconds; nobody waits so long unless something is wrong


@pytest.fixture
def blocks(in_event_loop: Callable[[Callable[[], Blocks]], Blocks]) -> Iterator[Blocks]:
    aclose, diff = SyncToAsyncIterator.aclose, utils.diff

    def build() -> Blocks:
        with gr.Blocks(analytics_enabled=False) as blocks:
            outputs = [
                gr.Textbox(),
                gr.Markdown(),
                gr.Button("Go"),
                gr.Radio([1, 2]),
                gr.State(),
                gr.HTML("<b>old</b>"),
            ]
            gr.Button("start").click(lambda: None, None, outputs)
        return blocks

    yield in_event_loop(build)
    SyncToAsyncIterator.aclose = aclose  # type: ignore[method-assign]
    utils.diff = diff


def messages(blocks: Blocks, updates: dict[int, object]) -> list[object]:
    """Return what the browser is sent for each output, of which some are updated, by their index."""
    event = next(iter(blocks.fns.values()))
    # copies, because Gradio takes the value out of an update
    predictions: dict[Block, object] = {event.outputs[index]: deepcopy(update) for index, update in updates.items()}
    return asyncio.run(blocks.postprocess_data(event, predictions, SessionState(blocks)))


@pytest.mark.parametrize(
    "updates",
    [
        {0: "text", 1: "**bold**\n    indented"},
        {0: gr.update(value="text"), 2: gr.update(value="Stop")},
        {0: gr.update(visible=False, label="Text 2"), 2: gr.update(interactive=False)},
        {0: gr.update(value=None), 1: None},
        {0: gr.update(value="text", interactive=None)},
        {0: gr.update(lines=3, max_lines=5)},
        {0: gr.skip(), 3: gr.update(choices=[3, 4], value=4)},
        {3: 2},
        {4: {"any": "value"}, 5: "<i>new</i>"},
        {5: gr.update(value="<i>new</i>", visible=True)},
        dict.fromkeys(range(6), "1"),
    ],
)
def test_the_browser_is_sent_what_gradio_would_send(blocks: Blocks, updates: dict[int, object]) -> None:
    """But for a plain value of a text, which is sent as an update of the value, and for HTML that stays as it is."""
    expected = messages(blocks, updates)
    relieve_event_loop(blocks)
    for index, (message, own) in enumerate(zip(messages(blocks, updates), expected, strict=True)):
        if index == 5 and index not in updates:
            own = {"__type__": "update"}  # Gradio's has "props" without any property
        assert message in (own, {"__type__": "update", "value": own}), index


def edited(message: object, changes: list[list[object]]) -> object:
    """The message after changes as Gradio's page makes them, in place."""
    for action, path, value in changes:
        if not path:
            assert action == "replace"
            message = value
        else:
            assert (action, path) == ("append", ["value"])
            message["value"] += value  # type: ignore[index]
    return message


def test_messages_that_arrive_together_are_all_shown() -> None:
    """Earlier ones are shown after the edits of later ones, and may then have more of a text, but nothing less."""
    update = {"__type__": "update"}
    sent: list[object] = [
        update | {"visible": True, "label": "Text 2"},
        update | {"value": "Once"},
        update | {"value": "Once upon"},
        update,
        update,
        update | {"value": "Once upon a time", "visible": True},
        update | {"value": "Once upon a time, there", "visible": False},
        None,
        ["Once", 2],
    ]
    received = [deepcopy(sent[0])]
    for before, now in pairwise(deepcopy(sent)):
        received.append(edited(received[-1], edits(before, now)))
    assert received[-1] == sent[-1]
    grown = [
        one | {"value": "Once upon"} if isinstance(one, dict) and one.get("value") == "Once" else one for one in sent
    ]
    assert received == grown


def test_values_of_a_session_are_kept(blocks: Blocks) -> None:
    relieve_event_loop(blocks)
    event, session = next(iter(blocks.fns.values())), SessionState(blocks)
    state, text = event.outputs[4], event.outputs[0]
    for updates in ({state: 7}, {text: "text"}):
        asyncio.run(blocks.postprocess_data(event, updates, session))
    assert session[state._id] == 7


def test_a_generator_is_closed_while_the_event_loop_goes_on(blocks: Blocks) -> None:
    relieve_event_loop(blocks)
    released, closed = threading.Event(), threading.Event()

    def takes_long_to_end() -> Iterator[int]:
        try:
            yield 1
        finally:
            assert released.wait(LONG)
            closed.set()

    async def abandon() -> None:
        iterator = SyncToAsyncIterator(takes_long_to_end(), CapacityLimiter(1))
        assert await anext(iterator) == 1
        await iterator.aclose()

    asyncio.run(abandon())
    assert not closed.is_set()
    released.set()
    assert closed.wait(LONG)


def test_a_generator_that_computes_is_closed_afterwards(blocks: Blocks) -> None:
    relieve_event_loop(blocks)
    computing, released, closed = threading.Event(), threading.Event(), threading.Event()

    def computes() -> Iterator[int]:
        try:
            yield 1
            computing.set()
            assert released.wait(LONG)
            yield 2
        finally:
            closed.set()

    async def abandon() -> None:
        iterator = SyncToAsyncIterator(computes(), CapacityLimiter(1))
        assert await anext(iterator) == 1
        second = asyncio.ensure_future(anext(iterator))
        await asyncio.to_thread(computing.wait, LONG)
        await iterator.aclose()
        assert not closed.is_set()
        released.set()
        assert await second == 2

    asyncio.run(abandon())
    assert closed.wait(LONG)
