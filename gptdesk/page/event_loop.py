"""Relief of Gradio's event loop, which serves all visitors: less work for each update, and no waiting for threads.

Gradio 6.31 creates each output of an event anew for every message, also where only its text changes or nothing at all,
and closes the generators of abandoned events in the loop (docs/upstream.md). With many visitors, the first was most of
its work, and the second held up all others until a generation had noticed that nobody reads it. Messages that follow
each other so quickly must not be sent as Gradio's edits: its page loses what the next message takes back.
"""

import threading
import time
from collections.abc import Generator
from copy import copy
from typing import Any

import gradio as gr
from gradio import utils
from gradio.block_function import BlockFunction
from gradio.blocks import Block, Blocks
from gradio.state_holder import SessionState
from gradio.utils import SyncToAsyncIterator

UNCHANGED = {"__type__": "update"}
# What a session knows of these components is not asked for later: no property below changes how a value is read.
QUICK = (gr.Textbox, gr.Markdown, gr.Button)
PROPERTIES = {"__type__", "value", "visible", "interactive", "label", "placeholder"}
RETRY = 0.05  # seconds until a generator that computes an update is closed again
PATIENCE = 60.0  # seconds after which it is left alone, as Gradio does


def relieve_event_loop(blocks: Blocks) -> None:
    """Send the updates of QUICK components of `blocks` as they are, and close all generators in threads.

    Between the messages of all pages, edits are sent that leave the earlier message as it is.
    """
    _use_quick_updates(blocks)
    utils.diff = edits
    SyncToAsyncIterator.aclose = _close_in_thread  # type: ignore[method-assign]


def _use_quick_updates(blocks: Blocks) -> None:
    postprocess_all = blocks.postprocess_data

    async def postprocess(
        block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:  # one for each output
        if not _is_by_component(predictions):
            return await postprocess_all(block_fn, predictions, state)
        ready = {block._id: update for block, value in predictions.items() if (update := _quick_update(block, value))}
        others = {block: value for block, value in predictions.items() if block._id not in ready}
        if others:
            smaller = copy(block_fn)
            smaller.outputs = list(others)
            values = list(others.values())
            updates = await postprocess_all(smaller, values if len(values) > 1 else values[0], state)
            ready |= {block._id: update for block, update in zip(others, updates, strict=True)}
        return [ready.get(block._id, None if block.stateful else dict(UNCHANGED)) for block in block_fn.outputs]

    blocks.postprocess_data = postprocess  # type: ignore[method-assign]


def _is_by_component(predictions: object) -> bool:
    return isinstance(predictions, dict) and all(isinstance(key, Block) for key in predictions)


def _quick_update(block: Block, value: object) -> dict[str, object] | None:
    """Return the update that the browser gets of a component, None if Gradio must make it."""
    if value == UNCHANGED:
        return dict(UNCHANGED)
    if not isinstance(block, QUICK):
        return None
    update = value if isinstance(value, dict) else UNCHANGED | {"value": value}
    text = update.get("value", "")
    if not update.keys() <= PROPERTIES or not isinstance(text, str):
        return None
    # Gradio, too, takes None for a property that stays as it is
    changes = {name: change for name, change in update.items() if change is not None}
    return changes | ({"value": block.postprocess(text)} if "value" in update else {})


def edits(before: object, now: object) -> list[list[object]]:
    """Return the edits (action, path, value) that turn the previous message for an output into the next one.

    The page makes them in place, in an object that it may not have shown yet when two messages arrive together: text
    that grows may be shown early, and all else replaces the whole object.
    """
    if before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        others = {name: value for name, value in now.items() if name != "value"}
        text, longer = before.get("value"), now.get("value")
        if (
            isinstance(text, str)
            and isinstance(longer, str)
            and longer.startswith(text)
            and others.items() <= before.items()
        ):
            return [["append", ["value"], longer[len(text) :]]]
    return [["replace", [], now]]


async def _close_in_thread(iterator: SyncToAsyncIterator, *_: object) -> None:
    threading.Thread(target=_close, args=(iterator.iterator,), name="close", daemon=True).start()


def _close(generator: Generator[object, None, None]) -> None:
    """Close a generator once it no longer computes an update, as `LongActions` does within half a second."""
    late = time.monotonic() + PATIENCE
    while True:
        try:
            return generator.close()
        except ValueError:  # it is computing, in another thread
            if time.monotonic() > late:
                raise
            time.sleep(RETRY)
