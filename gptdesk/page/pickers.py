"""Model picker and preset bar, for every tab that generates."""

import html

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from gptdesk.desk import Desk
from gptdesk.page.option_widgets import WITH_MESSAGES, ChainPanel, Updates, Values, shows_errors
from gptdesk.training.run_models import duplicates, title
from models.manager import ModelKey
from models.precision import missing_here
from samplers import Chain, build

FIRST_PRESET = "Balanced"
STARTER = "starter"


class ModelPicker:
    """Two dropdowns: a model, and its precision; at first the `preferred` precision, if the model has it.

    The ids of its elements begin with `prefix`, so that a page may have several.
    """

    def __init__(self, desk: Desk, *, label: str = "Model", preferred: str | None = None, prefix: str = "") -> None:
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
                info=_missing_precisions(),
                elem_id=f"{prefix}precision",
                scale=2,
                min_width=110,
            )

    def wire(self) -> Dependency:
        """List the precisions of a model when it is picked."""
        return self.name.input(self._precisions, self.name, self.precision, **WITH_MESSAGES)

    def key(self, values: Values) -> ModelKey:
        """Return the picked model; ValueError if there is none."""
        name, precision = values[self.name], values[self.precision]
        if not name:
            raise ValueError("no model is chosen; choose one")
        if problem := self._desk.model(str(name)).problem:
            raise ValueError(problem)
        return ModelKey(str(name), str(precision))

    def first_of(self, *preferred: object) -> str | None:
        """Return the first of these names that is a usable model, else the starter, else the first usable model."""
        usable = [info.name for info in self._desk.library.available() if info.problem is None]
        return next((name for name in (*preferred, STARTER) if name in usable), next(iter(usable), None))

    def show(self, name: object, precision: object) -> Updates:
        """Return updates that list the models there are now and pick this one, if it still exists."""
        picked = self.first_of(name)
        return {
            self.name: gr.update(choices=self._listed(picked), value=picked),
            self.precision: self._precisions(picked, precision),
        }

    @shows_errors
    def _precisions(self, name: str | None, precision: object = None) -> object:
        offered = self._offered(name)
        return gr.update(choices=offered, value=precision if precision in offered else self._first(offered))

    def _first(self, offered: list[str]) -> str | None:
        return self._preferred if self._preferred in offered else next(iter(offered), None)

    def _offered(self, name: str | None) -> list[str]:
        return list(self._desk.model(name).precisions) if name else []

    def _listed(self, picked: str | None = None) -> list[tuple[str, str]]:
        """Return title and name of each model; of checkpoints that are models, too, only the `picked` one."""
        models = self._desk.library.available()
        same = duplicates(self._desk.settings.runs, [info.name for info in models])
        return [
            (title(info.name) + (" (cannot be used)" if info.problem else ""), info.name)
            for info in models
            if info.name == picked or info.name not in same
        ]


def _missing_precisions() -> str | None:
    """Return the precisions that this computer lacks, with reasons; None if it has all."""
    return "; ".join(f"no {name}: {reason}" for name, reason in missing_here().items()) or None


class PresetBar:
    """Dropdown of sampler presets, and buttons that apply them to `panel`, save and delete them.

    A public desk saves none, so it has no buttons to save and delete. The ids of its elements begin with `prefix`.
    """

    def __init__(self, desk: Desk, panel: ChainPanel, *, prefix: str = "") -> None:
        self._desk = desk
        self._panel = panel
        self._is_public = desk.settings.public
        with gr.Group():
            self.name = gr.Dropdown(
                desk.preset_names(),
                value=FIRST_PRESET,
                allow_custom_value=not self._is_public,
                label="Preset" if self._is_public else "Preset (to save your own, type a name for it)",
                elem_id=f"{prefix}preset",
            )
            with gr.Row():
                names = ("Restore", "Neutralise") if self._is_public else ("Restore", "Neutralise", "Save", "Delete")
                self._buttons = [
                    gr.Button(name, size="sm", min_width=60, elem_id=f"{prefix}preset-{name.lower()}") for name in names
                ]

    def wire(self) -> None:
        """Connect the buttons; the panel must have been laid out."""
        options = self._panel.components
        restore, neutralise, *own = self._buttons
        self.name.select(self._on_restore, self.name, options, **WITH_MESSAGES)
        restore.click(self._on_restore, self.name, options, **WITH_MESSAGES)
        neutralise.click(self._on_neutralise, set(options), options, **WITH_MESSAGES)
        if own:
            save, delete = own
            save.click(self._on_save, {self.name, *options}, self.name, **WITH_MESSAGES)
            delete.click(self._on_delete, self.name, self.name, **WITH_MESSAGES)

    def show(self, name: object) -> Updates:
        """Return updates that list the presets there are now and pick this one."""
        return {self.name: gr.update(choices=self._desk.preset_names(), value=name or FIRST_PRESET)}

    @shows_errors
    def _on_restore(self, name: str | None) -> Updates:
        return self._panel.show(self._desk.preset(name or ""))

    @shows_errors
    def _on_neutralise(self, values: dict[Component, object]) -> Updates:
        return self._panel.show(neutral_chain(self._panel.chain(values)))

    @shows_errors
    def _on_save(self, values: dict[Component, object]) -> object:
        name = self._desk.save_preset(str(values[self.name] or ""), self._panel.chain(values))
        gr.Info(f"Saved as {html.escape(name)}.")
        return gr.update(choices=self._desk.preset_names(), value=name)

    @shows_errors
    def _on_delete(self, name: str | None) -> object:
        self._desk.delete_preset(name or "")
        gr.Info(f"Deleted {html.escape(name or '')}.")
        return gr.update(choices=self._desk.preset_names(), value=FIRST_PRESET)


def neutral_chain(chain: Chain) -> Chain:
    """Return the chain with every option at its neutral value, without samplers that have none."""
    links = tuple(type(link)(**link.neutral) for link in chain.samplers if link.neutral)
    return Chain(samplers=links) if links else Chain(samplers=(build("temperature", temperature=1.0),))
