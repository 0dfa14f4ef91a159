"""Recording of a stream: its entry is saved each second while it is written, and once more at its end."""

from collections.abc import Iterator

from gptdesk.generation import GenerationEvent
from gptdesk.history.rows import Draft
from gptdesk.history.store import History

EVERY = 1.0  # seconds of a text that are lost at most when the program is killed


def recorded(events: Iterator[GenerationEvent], history: History, draft: Draft) -> Iterator[GenerationEvent]:
    """Yield the events, and save them in the history: each second, and when they end or their reader leaves.

    A text of less than a second is written once. A history that cannot be written never ends a generation.
    """
    history.learn_weights(draft.folder)
    due = EVERY
    try:
        for event in events:
            draft.add(event)
            yield event
            if event.seconds >= due:
                history.save(draft, ended=False)
                due = event.seconds + EVERY
    finally:
        result = draft.result
        is_stopped = "stopped" in result.finish_reasons and not any(result.tokens)
        # a refused prompt is no generation, and neither is one that was stopped before its text
        if result.start is not None and (draft.id or not is_stopped):
            history.save(draft, ended=True)
