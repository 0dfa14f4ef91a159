"""Links between tabs: opening a tab with a model picked, and listing new models when a tab opens."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.events import Dependency

from gptdesk.history import Entry
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, Values
from gptdesk.page.pickers import ModelPicker
from gptdesk.training.plan import RunPlan


@dataclass(frozen=True)
class _Opened:
    """Handler of the opening of a tab, with its inputs and outputs."""

    handler: Callable[..., object]
    inputs: Component | set[Block]
    outputs: Sequence[Block]
    restores: bool  # the saved values of the tab, the first time


@dataclass(frozen=True)
class _PlanForm:
    """Form of a new run: its tab, the function that returns the updates which show a plan, and their outputs."""

    title: str
    fill: Callable[[RunPlan], Updates]
    outputs: Sequence[Block]


class EntryView(Protocol):
    """Tab that shows an entry of the history as it was generated."""

    title: str

    @property
    def entry_inputs(self) -> set[Block]:
        """Inputs of an event that calls `show_entry`."""

    @property
    def entry_outputs(self) -> list[Block]:
        """Outputs of an event that returns the updates of `show_entry`."""

    def show_entry(self, entry: Entry, values: Values, *, as_tree: bool = False) -> Updates:
        """Return updates that show an entry, and its tree if wanted; ValueError if an option is not known."""


@dataclass(frozen=True)
class TabLinks:
    """Page, tabs and the model pickers of each tab; made once a page."""

    page: gr.Blocks
    tabs: gr.Tabs  # a tab's id is its TITLE
    changed: gr.Textbox | None = None  # changes when models or states of runs do; None on a public desk
    pickers: dict[str, list[ModelPicker]] = field(default_factory=dict)  # by the TITLE of their tab
    prompts: dict[str, gr.Textbox] = field(default_factory=dict)  # by the TITLE of their tab
    compare_buttons: list[gr.Button] = field(default_factory=list)  # that open the comparison of the newest two entries
    recipe_buttons: list[gr.Button] = field(default_factory=list)  # that show the recipe of the newest entry
    _entries: list[EntryView] = field(default_factory=list)  # the one that opens entries of the history
    _forms: list[_PlanForm] = field(default_factory=list)  # the one that shows plans; a public desk has none
    _run_lists: list[tuple[str, gr.Tabs, str]] = field(default_factory=list)  # the one list of runs: see add_run_list
    _opened: dict[str, list["_Opened"]] = field(default_factory=dict)  # by the TITLE of the tab
    _loads: dict[str, Dependency] = field(default_factory=dict)  # load events that restore a tab, by its TITLE

    def add_pickers(self, title: str, *pickers: ModelPicker) -> None:
        """Add model pickers of the tab `title`."""
        self.pickers.setdefault(title, []).extend(pickers)

    def on_open(
        self,
        title: str,
        handler: Callable[..., object],
        inputs: Component | set[Block],
        outputs: Sequence[Block],
        *,
        restores: bool = False,
    ) -> None:
        """Call `handler` whenever the tab `title` is opened; one that `restores` its saved values does so at first.

        The tab takes no input until the handler has returned for the first time.
        """
        self._opened.setdefault(title, []).append(_Opened(handler, inputs, outputs, restores))

    def on_load(self, title: str, handler: Callable[[], Updates], outputs: Sequence[Block]) -> None:
        """Call `handler`, which restores the saved values of the tab `title`, when the page loads.

        The tab takes no input until it has returned.
        """
        self._loads[title] = self.page.load(handler, None, list(outputs), **QUIETLY)

    def wire(self, title: str, tab: gr.Tab) -> None:
        """List the models anew in the pickers of a tab whenever it is opened, and call its handlers."""
        if title in self._loads:
            self._hold(title, tab, until=self._loads[title], name="restored-at-once")
        for one in self._opened.get(title, []):
            event = tab.select(one.handler, one.inputs, list(one.outputs), **QUIETLY)
            if one.restores:
                self._hold(title, tab, until=event, name="restored-when-opened")
        if pickers := self.pickers.get(title, []):
            # at once in the first tab, whose model the header shows
            self._relist_pickers(pickers, tab, at_changes=title == next(iter(self.pickers)))

    def _relist_pickers(self, pickers: Sequence[ModelPicker], tab: gr.Tab, *, at_changes: bool) -> None:
        """List the models anew in `pickers` when the tab is opened, and `at_changes`, too."""
        boxes: list[Component] = [box for picker in pickers for box in (picker.name, picker.precision)]

        def relist(values: Values) -> Updates:
            updates: Updates = {}
            for picker in pickers:
                listed = picker.list_again(values[picker.name], values[picker.precision])
                shown = listed[picker.name]
                if isinstance(shown, dict) and (sentence := shown.get("info")):
                    gr.Warning(html.escape(str(sentence)))
                updates |= listed
            return updates

        tab.select(relist, set(boxes), boxes, **WITH_MESSAGES)
        if at_changes and self.changed:
            self.changed.change(relist, set(boxes), boxes, **WITH_MESSAGES)

    def _hold(self, title: str, tab: gr.Tab, *, until: Dependency, name: str) -> None:
        """Let the script of the header keep a tab from taking input until an event has ended; `name` is a class."""
        tab.elem_classes = [*tab.elem_classes, name]
        until.then(None, js=f"() => {{ window.tabRestored({title!r}); return []; }}", **QUIETLY)

    def add_entry_view(self, view: EntryView) -> None:
        """Let this tab show entries of the history."""
        self._entries.append(view)

    @property
    def entry_inputs(self) -> set[Block]:
        """Inputs of an event that calls `open_entry`."""
        return self._entries[0].entry_inputs

    @property
    def entry_outputs(self) -> list[Block]:
        """Outputs of an event that returns the updates of `open_entry`."""
        return [self.tabs, *self._entries[0].entry_outputs]

    def open_entry(self, entry: Entry, values: Values, *, as_tree: bool = False) -> Updates:
        """Return updates that show an entry of the history; ValueError if one of its options is not known."""
        view = self._entries[0]
        return {self.tabs: gr.update(selected=view.title)} | view.show_entry(entry, values, as_tree=as_tree)

    def add_plan_form(self, title: str, fill: Callable[[RunPlan], Updates], outputs: Sequence[Block]) -> None:
        """Let the tab `title` show plans of new runs."""
        self._forms.append(_PlanForm(title, fill, outputs))

    @property
    def plan_outputs(self) -> list[Block]:
        """Outputs of an event that returns the updates of `open_plan`; empty if no tab shows plans."""
        return [self.tabs, *self._forms[0].outputs] if self._forms else []

    def add_run_list(self, title: str, views: gr.Tabs, view: str) -> None:
        """Let the tab `title` list all runs, in that `view` of its views."""
        self._run_lists.append((title, views, view))

    @property
    def run_list_outputs(self) -> list[gr.Tabs]:
        """Outputs of an event that returns the updates of `open_run_list`; empty if no tab lists runs."""
        return [self.tabs, self._run_lists[0][1]] if self._run_lists else []

    def open_run_list(self) -> Updates:
        """Return updates that open the list of all runs."""
        title, views, view = self._run_lists[0]
        return {self.tabs: gr.update(selected=title), views: gr.update(selected=view)}

    def open_plan(self, plan: RunPlan) -> Updates:
        """Return updates that show a plan as a new run; ValueError if its base model or its text is gone."""
        form = self._forms[0]
        return {self.tabs: gr.update(selected=form.title)} | form.fill(plan)

    def use(self, title: str, name: str, *, position: int = 0) -> Updates:
        """Return updates that open the tab `title` with the model `name` in its picker of this `position`."""
        picker = self.pickers[title][position]
        return {self.tabs: gr.update(selected=title)} | picker.show(name, None)

    def use_outputs(self, title: str, *, position: int = 0) -> list[gr.Tabs | gr.Dropdown]:
        """Return the outputs of an event that returns the updates of `use`."""
        picker = self.pickers[title][position]
        return [self.tabs, picker.name, picker.precision]
