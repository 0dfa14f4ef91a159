"""Distribution of a model's weights on the Models tab, one chart for each layer."""

from collections.abc import Iterator

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, Updates, Values
from gptdesk.page.tabs.models.drawing import histogram_charts
from gptdesk.scheduler import Place
from models.weight_reading import histograms

STOPPED = "You stopped it."


class WeightsPanel:
    """Button that reads the weights, and the charts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._drawing = action_row(
            desk, "Show the weights' distribution", ident="models-weights", running={}, primary=False
        )
        self.charts = gr.HTML(elem_id="models-charts", elem_classes="bare")

    def wire(self, chosen: gr.Dropdown) -> None:
        """Connect the button; `chosen` holds the name of the model."""
        self._chosen = chosen
        self._drawing.wire()
        self._drawing.start.click(self._on_weights, {chosen}, [*self._drawing.outputs, self.charts], **STREAMING)

    def _on_weights(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            line, layers = self._drawing.line, []
            for layer in histograms(self._desk.library.checkpoint(str(values[self._chosen] or ""))):
                layers.append(layer)
                yield {line: f"{layer.title} was read …"}
                if place.stop.is_set():
                    break
            yield {line: STOPPED if place.stop.is_set() else "", self.charts: histogram_charts(layers)}

        yield from self._drawing.run_queued(work, request)
