"""Samples by step: a slider over the evaluations of a run, and the texts written at one of them."""

import gradio as gr
from gradio.blocks import Block

from gptdesk.markup import pane
from gptdesk.page.option_widgets import Updates, Values
from gptdesk.training.run_directory import Sample


class SamplesPanel:
    """Slider and texts. At the end of the slider the newest texts are shown, also when more are written."""

    def __init__(self) -> None:
        with gr.Column(visible=False) as self.column:
            self.texts = gr.HTML(elem_id="run-samples", elem_classes="bare")
            self.slider = gr.Slider(
                1,
                2,
                value=1,
                step=1,
                label="Samples by step",
                info="The number of the evaluation.",
                elem_id="run-sample",
            )
        self.count = gr.State(0)  # evaluations that the slider reaches

    @property
    def inputs(self) -> list[Block]:
        """Widgets whose values `chosen` needs."""
        return [self.slider, self.count]

    @property
    def outputs(self) -> list[Block]:
        """Widgets that `show` updates."""
        return [self.column, self.slider, self.texts, self.count]

    def chosen(self, values: Values) -> int | None:
        """Return the number of the chosen evaluation, from 1; None for the newest, at the end of the slider."""
        number, count = values.get(self.slider), values.get(self.count)
        if not isinstance(number, int | float) or not isinstance(count, int) or number >= count:
            return None
        return int(number)

    def show(self, samples: list[Sample], number: int | None) -> Updates:
        """Return updates that show the texts of evaluation `number`, from 1, or of the newest."""
        steps = list(dict.fromkeys(sample.step for sample in samples))
        if not steps:
            hidden = gr.update(visible=False)
            return {self.column: hidden, self.slider: gr.update(value=1), self.texts: "", self.count: 0}
        at = len(steps) if number is None else min(max(1, number), len(steps))
        written = [sample for sample in samples if sample.step == steps[at - 1]]
        panes = "".join(pane(f"after step {sample.step:,}", sample.prompt, sample.text) for sample in written)
        return {
            self.column: gr.update(visible=True),
            self.slider: gr.update(maximum=max(2, len(steps)), value=at, visible=len(steps) > 1),
            self.texts: f'<div class="samples">{panes}</div>',
            self.count: len(steps),
        }
