"""Model picker and preset bar, for every tab that generates."""

import html
from collections.abc import Collection, Iterable
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import (
    NO_NAME,
    QUIETLY,
    WITH_MESSAGES,
    ChainPanel,
    Updates,
    Values,
    hint,
    shows_errors,
)
from gptdesk.training.run_models import by_run, title
from models.manager import ModelKey
from models.precision import missing_here
from samplers import Chain, build

FIRST_PRESET = "Balanced"
STARTER = "starter"
MOST_TOKENS = 1000  # new tokens that the page offers to generate in one go


class ModelPicker:
    """Two dropdowns: a model, and its precision; at first the `preferred` precision, if the model has it.

    The ids of its elements begin with `prefix`, so that a page may have several. Without `with_precision`, the second
    one is not shown.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        label: str = "Model",
        preferred: str | None = None,
        prefix: str = "",
        with_precision: bool = True,
    ) -> None:
        self._desk = desk
        self._preferred = preferred
        picked = self.first_of()
        offered = self._offered(picked)
        with gr.Group(), gr.Row():
            self.name = gr.Dropdown(
                self._listed(), value=picked, label=label, elem_id=f"{prefix}model", scale=3, min_width=150
            )
            self.precision = gr.Dropdown(
                offered,
                value=self._first(offered),
                label="Precision",
                info=hint(_missing_precisions()),
                elem_id=f"{prefix}precision",
                visible=with_precision,
                scale=2,
                min_width=110,
            )

    def wire(self) -> Dependency:
        """List the precisions of a model when it is picked."""
        boxes = [self.name, self.precision]
        return self.name.input(self._on_name, boxes, boxes, **WITH_MESSAGES)

    def key(self, values: Values) -> ModelKey:
        """Return the picked model; ValueError if there is none."""
        name, precision = values[self.name], values[self.precision]
        if not name:
            raise ValueError("no model is chosen; choose one")
        if problem := self._desk.model(str(name)).problem:
            raise ValueError(problem)
        return ModelKey(str(name), str(precision))

    def first_of(self, *preferred: object) -> str | None:
        """Return the first of these that is usable, by its name of now, else the starter, else any usable one."""
        usable = [info.name for info in self._desk.library.available() if info.problem is None]
        wanted = (self._present(name, usable) for name in (*preferred, STARTER))
        return next((name for name in wanted if name in usable), next(iter(usable), None))

    def show(self, name: object, precision: object) -> Updates:
        """Return updates that list the models there are now and pick this one, by its name of now.

        If it is gone, they pick another, and the hint of the list says so.
        """
        picked = self.first_of(name)
        return {
            self.name: gr.update(choices=self._listed(picked), value=picked, info=self._replaced(name, picked) or None),
            self.precision: self._precisions(picked, precision),
        }

    def list_again(self, name: object, precision: object) -> Updates:
        """Return updates that list the models there are now; those of `show` if the picked one is gone.

        A page that opens asks for it with what it showed first, and the answer may come after its saved state: so
        what is picked is left alone.
        """
        if self.first_of(name) != name:
            return self.show(name, precision)
        return {self.name: gr.update(choices=self._listed(str(name)))}

    @shows_errors
    def _on_name(self, name: str | None, precision: object) -> object:
        """List the precisions of the picked model; one that it has stays.

        The list of models sends this event, too, when it is left with the model that it had.
        """
        offered = self._offered(name)
        listed = gr.update(choices=offered) if precision in offered else self._precisions(name)
        return [gr.update(info=None), listed]

    def _present(self, name: object, names: Collection[str | None]) -> object:
        """Return the name that a model has now, which may have been renamed since it was picked."""
        return self._desk.library.renames.follow(name) if isinstance(name, str) and name not in names else name

    def _replaced(self, name: object, picked: str | None) -> str:
        """Return the sentence that a model is gone and which one is picked in its place; empty if it is not."""
        if not isinstance(name, str) or not name or self._present(name, [picked]) == picked:
            return ""
        why = "cannot be used now" if name in self._desk.library.listed_names() else "is gone"
        return f"The model {title(name)} {why}: {title(picked) if picked else 'none'} is picked in its place."

    def _precisions(self, name: str | None, precision: object = None) -> dict[str, object]:
        offered = self._offered(name)
        return gr.update(choices=offered, value=precision if precision in offered else self._first(offered))

    def _first(self, offered: list[str]) -> str | None:
        return self._preferred if self._preferred in offered else next(iter(offered), None)

    def _offered(self, name: str | None) -> list[str]:
        return list(self._desk.model(name).precisions) if name else []

    def _listed(self, picked: str | None = None) -> list[tuple[str, str]]:
        """Return title and name of each model; of the models of a run only its main ones and the `picked` one."""
        models = self._desk.library.available()
        of_runs = by_run(self._desk.settings.runs, [info.name for info in models])
        listed = []
        for info in models:
            of_run = of_runs.get(info.name)
            if of_run is None or of_run.is_main or info.name == picked:
                named = of_run.title if of_run else info.name
                listed.append((named + (" (cannot be used)" if info.problem else ""), info.name))
        return listed


def most_new_tokens(desk: Desk, names: Iterable[object]) -> int:
    """Return the most new tokens that the page offers for these models: the shortest context, within MOST_TOKENS.

    None among the names is no model. Raises ValueError as `Desk.model`.
    """
    return max(2, min([MOST_TOKENS, *(desk.model(str(name)).context for name in names if name)]))


def _missing_precisions() -> str | None:
    """Return the precisions that this computer lacks, with reasons; None if it has all."""
    return "; ".join(f"no {name}: {reason}" for name, reason in missing_here().items()) or None


class PresetBar:
    """Dropdown of sampler presets, and a menu that restores, neutralises, saves and deletes them.

    A public desk saves none, so its menu has the first two alone. The ids of its elements begin with `prefix`.
    """

    def __init__(self, desk: Desk, panel: ChainPanel, *, prefix: str = "") -> None:
        self._desk = desk
        self._panel = panel
        self._saves = not desk.settings.public
        self._prefix = prefix
        with gr.Group(elem_classes="preset-bar"):
            self.name = gr.Dropdown(desk.preset_names(), value=FIRST_PRESET, label="Preset", elem_id=f"{prefix}preset")
            with gr.Accordion("Preset options", open=False, elem_id=f"{prefix}preset-options", elem_classes="menu"):
                with gr.Row():
                    self._restore = self._button("Restore", f"{prefix}preset-restore")
                    self._neutralise = self._button("Neutralise", f"{prefix}preset-neutralise")
                    if self._saves:
                        self._delete = self._button("Delete", f"{prefix}preset-delete")
                if self._saves:
                    # a box of its own: an update of the dropdown must not reset a name that is being typed
                    with gr.Row(elem_classes="save-as"):
                        self._new_name = gr.Textbox(
                            label="Save as",
                            placeholder="Name, or folder/name",
                            max_lines=1,
                            elem_id=f"{prefix}preset-name",
                            scale=3,
                            min_width=120,
                        )
                        self._save = self._button("Save", f"{prefix}preset-save")
        # pressed by the page's script in place of the reset button of a slider, whose id it sends along
        self._reset = gr.Button("Reset", visible="hidden", elem_id=f"{prefix}preset-reset")

    @staticmethod
    def _button(label: str, ident: str) -> gr.Button:
        return gr.Button(label, size="sm", min_width=70, elem_id=ident)

    def wire(self) -> None:
        """Connect the buttons; the panel must have been laid out."""
        options = self._panel.components
        # of several changes at once, as when a preset is restored, the last shows the state after all of them
        latest = QUIETLY | {"trigger_mode": "always_last"}
        changes = [option.change for option in options]  # type: ignore[attr-defined]  # made by Gradio
        gr.on(changes, self._on_change, {self.name, *options}, [self.name], **latest)
        self.name.select(self._on_restore, self.name, options, **WITH_MESSAGES)
        self._restore.click(self._on_restore, self.name, options, **WITH_MESSAGES)
        self._neutralise.click(self._on_neutralise, set(options), options, **WITH_MESSAGES)
        reset = "name => [name, window.resetOption ?? '']"
        self._reset_option = gr.Textbox(visible="hidden")  # takes what the script sends
        self._reset.click(self._on_reset, [self.name, self._reset_option], options, js=reset, **WITH_MESSAGES)
        for option in options:
            option.elem_classes = [*(option.elem_classes or []), f"{self._prefix}preset-option"]
        if self._saves:
            saved: list[Any] = [self._save.click, self._new_name.submit]
            inputs = {self._new_name, *options}
            gr.on(saved, self._on_save, inputs, [self.name, self._new_name], **WITH_MESSAGES)
            self._delete.click(self._on_delete, {self.name, *options}, [self.name], **WITH_MESSAGES)

    @property
    def applied(self) -> list[Any]:
        """Triggers of the events that set the samplers of the panel."""
        return [self.name.select, self._restore.click, self._neutralise.click, self._reset.click]

    def show(self, name: object) -> Updates:
        """Return updates that list the presets there are now and pick this one, or the first if it is gone."""
        names = self._desk.preset_names()
        return {self.name: gr.update(choices=names, value=name if name in names else FIRST_PRESET)}

    def list_again(self, name: object) -> Updates:
        """Return updates that list the presets there are now, and leave the picked one alone unless it is gone."""
        names = self._desk.preset_names()
        return {self.name: gr.update(choices=names)} if name in names else self.show(name)

    def _label(self, name: str, values: Values) -> str:
        """Return the label, which says whether the samplers are still those of the preset."""
        try:
            changed = self._panel.chain(values) != self._desk.preset(name)
        except ValueError:  # a value that Generate will refuse
            changed = False
        return "Preset, changed" if changed else "Preset"

    def _on_change(self, values: dict[Component, object]) -> Updates:
        return {self.name: gr.update(label=self._label(str(values[self.name] or ""), values))}

    @shows_errors
    def _on_restore(self, name: str | None) -> Updates:
        return self._panel.show(self._desk.preset(name or ""))

    @shows_errors
    def _on_reset(self, name: str | None, ident: str | None) -> object:
        """Return updates that give the option whose widget has this id the value of the preset, else its default."""
        shown = self._panel.show(self._desk.preset(name or ""))
        for option in self._panel.components[1:]:
            if option.elem_id == ident:
                known = shown[option]
                assert isinstance(known, dict)
                return {option: gr.update(value=known.get("value", option.value))}
        return gr.skip()

    @shows_errors
    def _on_neutralise(self, values: dict[Component, object]) -> Updates:
        return self._panel.show(neutral_chain(self._panel.chain(values)))

    @shows_errors
    def _on_save(self, values: dict[Component, object]) -> Updates:
        if not str(values[self._new_name] or "").strip():
            return {self._new_name: gr.update(info=NO_NAME)}
        name = self._desk.save_preset(str(values[self._new_name] or ""), self._panel.chain(values))
        gr.Info(f"Saved as {html.escape(name)}.")
        return self._listed(name, values) | {self._new_name: gr.update(value="", info="")}

    @shows_errors
    def _on_delete(self, values: dict[Component, object]) -> Updates:
        name = str(values[self.name] or "")
        self._desk.presets.delete(name)
        gr.Info(f"Deleted {html.escape(name)}.")
        return self._listed(FIRST_PRESET, values)

    def _listed(self, name: str, values: Values) -> Updates:
        """Return updates that list the presets anew and pick this one; the samplers stay as they are."""
        return {self.name: gr.update(choices=self._desk.preset_names(), value=name, label=self._label(name, values))}


def neutral_chain(chain: Chain) -> Chain:
    """Return the chain with every option at its neutral value, without samplers that have none."""
    links = tuple(type(link)(**link.neutral) for link in chain.samplers if link.neutral)
    return Chain(samplers=links) if links else Chain(samplers=(build("temperature", temperature=1.0),))
