"""Result card of a run that has ended: its two checkpoints, each with a text it wrote, the one to use first."""

from collections.abc import Sequence

from gptdesk.markup import pane
from gptdesk.training.control import RunInfo
from gptdesk.training.run_directory import Sample

CLOSEST, UNSEEN = "Closest to your text", "Best on unseen text"


def result_card(info: RunInfo, samples: Sequence[Sample]) -> str:
    """Return the card as HTML; empty for a run that has not ended, or whose best checkpoint is its last one.

    A short text has the last checkpoint first, which is closest to it, any other the one of the best validation loss.
    """
    status = info.status
    if not info.has_ended or not status.best_step or status.best_step == status.saved_step:
        return ""
    steps = [(CLOSEST, status.saved_step), (UNSEEN, status.best_step)]
    panes = [_pane(title, step, samples) for title, step in (steps if status.closest else reversed(steps))]
    return f'<div class="result samples">{"".join(panes)}</div>'


def _pane(title: str, step: int, samples: Sequence[Sample]) -> str:
    """Return the last text that was written up to `step`, under the title and its step."""
    written = [sample for sample in samples if sample.step <= step]
    newest = [sample for sample in written if sample.step == written[-1].step]
    if not newest:
        return pane(f"{title}: step {step:,}", "", "")
    return pane(f"{title}: step {step:,}", newest[0].prompt, newest[0].text)
