"""What the tabs of a page know of each other: the page they lie on, and where each of them picks a model."""

from dataclasses import dataclass, field

import gradio as gr
from gradio.components import Component

from gptdesk.page.option_widgets import QUIETLY, Updates, Values
from gptdesk.page.pickers import ModelPicker


@dataclass(frozen=True)
class TabLinks:
    """Made once a page; a tab adds its pickers when it is built, so that they list new models when it is opened."""

    page: gr.Blocks
    tabs: gr.Tabs  # a tab's id is its TITLE
    pickers: dict[str, list[ModelPicker]] = field(default_factory=dict)  # by the TITLE of their tab

    def picks(self, title: str, *pickers: ModelPicker) -> None:
        """The tab `title` has these pickers."""
        self.pickers.setdefault(title, []).extend(pickers)

    def wire(self, title: str, tab: gr.Tab) -> None:
        """List the models there are now whenever the tab is opened."""
        pickers = self.pickers.get(title, [])
        boxes: list[Component] = [box for picker in pickers for box in (picker.name, picker.precision)]

        def opened(values: Values) -> Updates:
            return {
                box: update
                for picker in pickers
                for box, update in picker.shown(values[picker.name], values[picker.precision]).items()
            }

        if pickers:
            tab.select(opened, set(boxes), boxes, **QUIETLY)

    def use(self, title: str, name: str) -> Updates:
        """Updates that open the tab `title` with the model `name` picked first; `used` lists what they touch."""
        picker = self.pickers[title][0]
        return {self.tabs: gr.update(selected=title)} | picker.shown(name, None)

    def used(self, title: str) -> list[gr.Tabs | gr.Dropdown]:
        """The outputs of an event that returns what `use` does."""
        picker = self.pickers[title][0]
        return [self.tabs, picker.name, picker.precision]
