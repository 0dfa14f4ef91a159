"""Saved widget state: values of a tab's widgets, on disk, restored after a restart."""

import logging
from collections.abc import Collection

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import PAGE, Desk
from gptdesk.json_store import JsonValues
from gptdesk.page.option_widgets import QUIETLY, ChainPanel, Updates, Values, fits, is_offered
from gptdesk.page.visitors import event_visitor
from gptdesk.settings import home_fault
from gptdesk.stored_values import warn_once

MOST_KEPT = 200_000  # characters of a text that is saved
log = logging.getLogger(__name__)


class SavedState:
    """Saved state of one tab: its widgets by name, and its sampler panels by name."""

    def __init__(self, desk: Desk, title: str, components: dict[str, Component], panels: dict[str, ChainPanel]) -> None:
        self._desk = desk
        self.title = title
        self._components = components
        self._panels = panels
        self.restored = gr.State(False)  # True once a page shows the saved values; before that, nothing is saved

    @property
    def controls(self) -> list[Component]:
        """Widgets whose values are saved."""
        return [*self._components.values(), *(one for panel in self._panels.values() for one in panel.components)]

    def wire(self, *, by_input: Collection[Component] = ()) -> None:
        """Save on every change; all widgets must have been laid out. A public desk saves nothing.

        Those of `by_input` are saved when a user changes them: for lists of several choices that are filled after the
        page has opened, Gradio sends the change event again with each answer.
        """
        if self._desk.settings.public:
            return
        changes = [
            component.input if component in by_input else component.change  # type: ignore[attr-defined]  # by Gradio
            for component in self.controls
        ]
        inputs: set[Block] = {*self.controls, self.restored}
        gr.on(changes, self.remember, inputs, **(QUIETLY | {"trigger_mode": "always_last"}))

    def remember(self, values: Values) -> None:
        """Save the values of the widgets."""
        if values[self.restored]:
            self.put(self.title, self.saved(values))

    def saved(self, values: Values) -> JsonValues:
        """Return the values of the widgets as they are saved, by name; without those that a widget cannot show."""
        current = {name: values[component] for name, component in self._components.items()}
        suitable = {name: value for name, value in current.items() if self._suits(name, value)}
        return suitable | {name: panel.remembered(values) for name, panel in self._panels.items()}

    def put(self, name: str, value: object) -> None:
        """Save another value of the tab under `name`."""
        try:
            self._desk.browsers.put(event_visitor(), name, value)
        except ValueError as error:  # a full disk is no reason to refuse a text
            if not home_fault(self._desk.settings.home):  # which the page says already
                log.warning("%s", error)

    def values(self) -> JsonValues:
        """Return all that the browser of the present event has saved, of all tabs; unchecked."""
        return self._desk.browsers.read(event_visitor())

    def read(self, stored: JsonValues | None = None) -> JsonValues:
        """Return the saved values by name; damaged ones are left out, and their widgets keep their defaults.

        They are those among the values of `stored`, if it is given, else what the present browser has saved.
        """
        kept = (self.values() if stored is None else stored).get(self.title, {})
        saved = kept if isinstance(kept, dict) else {}
        good = {name: value for name, value in saved.items() if self._suits(name, value)}
        if lost := [name for name in saved if name not in good] if isinstance(kept, dict) else ["all"]:
            warn_once(
                f"what {self._desk.settings.home / PAGE} remembers of {self.title} ({', '.join(lost):.200}) does not "
                "fit the page and is as at first"
            )
        return good

    def _suits(self, name: str, value: object) -> bool:
        if name in self._components:
            return fits(self._components[name], value) and (not isinstance(value, str) or len(value) < MOST_KEPT)
        return name in self._panels and isinstance(value, dict)

    def updates(self, kept: dict[str, object]) -> Updates:
        """Return updates that make the widgets show the values from `read`."""
        updates: Updates = {
            component: gr.update(value=kept[name])
            for name, component in self._components.items()
            if name in kept and is_offered(component, kept[name])
        }
        updates[self.restored] = True
        for name, panel in self._panels.items():
            updates |= panel.restored(kept.get(name))
        return updates
