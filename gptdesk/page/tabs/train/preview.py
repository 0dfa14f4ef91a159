"""Preview of a run on the form: figures, remarks and the first rows of text."""

import threading
from collections.abc import Iterator

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.formatting import clock, short
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import Updates, label
from gptdesk.page.streaming import in_batches
from gptdesk.page.tabs.train.library import STOPPED
from gptdesk.page.tabs.train.panels import text_rows, tiles
from gptdesk.page.tabs.train.short_text import HINT
from gptdesk.training.corpus import SHORT, CorpusProgress
from gptdesk.training.plan import RunPlan
from gptdesk.training.preview import Preview, preview
from gptdesk.training.text_input import TextInput
from models.engine import get_device

SUGGESTION = f"⚠ {HINT} Choose it as **Base model**."
LISTED = 6  # files whose encoding is shown
EMPTY = (
    '<p class="empty">Tokens, size, time and memory of the run appear here. Paste a text and press "Preview", which '
    'tries ten steps to estimate them; or press "Start training" at once.</p>'
)


class PreviewPanel:
    """Widgets of a preview."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.outdated = gr.Markdown(elem_id="train-outdated", elem_classes="note")
        self.facts = gr.HTML(elem_id="train-facts", elem_classes="bare")
        self.remarks = gr.Markdown(EMPTY, elem_id="train-remarks", elem_classes="note")
        self.rows = gr.HTML(elem_id="train-rows", elem_classes="bare")

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `fill` updates beside its line."""
        return [self.outdated, self.facts, self.remarks, self.rows]

    def cleared(self) -> Updates:
        """Return updates that show no preview."""
        return {self.outdated: "", self.facts: "", self.remarks: EMPTY, self.rows: ""}

    def fill(
        self, plan: RunPlan, text: TextInput, *, line: gr.Markdown, stop: threading.Event, has_starter: bool
    ) -> Iterator[Updates]:
        """Yield updates of `line` while the preview is made, and then of the widgets.

        For a new model of a short text they suggest the starter as base model, if this desk `has_starter`.
        """
        device = get_device(self._desk.settings.device)
        stream = preview(plan, text=text, context=self._desk.run_context, device=device, stop=stop)
        made: Preview | None = None
        for events in in_batches(stream, stop=stop):
            stages = [event for event in events if isinstance(event, CorpusProgress)]
            made = next((event for event in events if isinstance(event, Preview)), made)
            yield {line: stage(stages[-1])} if stages else gr.skip()
        if made is None:
            yield {line: STOPPED}
            return
        is_short = sum(file.size for file in made.files) < SHORT
        suggested = [SUGGESTION] if has_starter and is_short and not plan.model.start else []
        yield {
            line: "",
            self.facts: tiles(facts(made)),
            self.remarks: "\n\n".join([*suggested, *map(markdown_text, remarks(made))]),
            self.rows: text_rows(made.batches),
        }


def stage(progress: CorpusProgress) -> str:
    """Return the stage of the preparation and its progress, as Markdown."""
    done = f" ({progress.done / progress.total:.0%})" if progress.total else ""
    return f"{markdown_text(label(progress.stage))}{done} …"


def facts(preview: Preview) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and remark of each figure."""
    config, estimate = preview.config, preview.estimate
    yield "Characters", short(preview.characters), f"{preview.documents:,} document{'s' * (preview.documents != 1)}"
    yield "Tokens", short(preview.tokens), f"and {short(preview.validation_tokens)} in the validation split"
    yield "Tokenizer", f"{preview.vocab_size:,}", f"tokens ({preview.tokenizer})"
    yield "Parameters", short(config.parameters()), f"{config.n_layer} layers of {config.n_embd}"
    yield "Steps", f"{estimate.steps:,}", f"of {estimate.tokens // estimate.steps:,} tokens"
    yield "Epochs", f"{estimate.epochs:.1f}", f"{short(estimate.tokens)} tokens"
    yield "Time", clock(estimate.seconds), f"{short(estimate.tokens_per_second)} tokens per second"
    yield "Memory", f"{estimate.memory_bytes / 1e9:.1f} GB", "bfloat16" if estimate.bfloat16 else "float32"


def remarks(preview: Preview) -> Iterator[str]:
    """Yield the warnings, then how the text was read, as sentences."""
    for warning in preview.warnings:
        yield f"⚠ {warning[:1].upper()}{warning[1:]}."
    files = [f"{file.path.name} ({file.encoding}, {short(file.size)} bytes)" for file in preview.files[:LISTED]]
    more = f" and {len(preview.files) - LISTED} more" if preview.files[LISTED:] else ""
    yield f"Read: {', '.join(files)}{more}. Tokenizer: {preview.tokenizer_reason}."
    split = "whole documents" if preview.split == "document" else "the end of the text"
    yield f"Validation split: {split}. Below are the first rows as the model sees them, with every other token shaded:"
