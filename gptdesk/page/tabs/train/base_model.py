"""Choice of the base model of a new run."""

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.page.pickers import STARTER
from gptdesk.training.run_models import duplicates, title

NEW = "a new model"
INFO = "A new model starts untrained. The training of an existing one continues, with its tokenizer."


class BaseModelChoice:
    """List of a new model and those that can be trained further."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.box = gr.Dropdown(self._models(), value="", label="Base model", info=INFO, elem_id="train-from")

    def list_models(self, name: object) -> dict[str, object]:
        """Return the update that lists the models that exist now, and keeps the chosen one, by its name of now."""
        models = self._models()
        names = {value for _, value in models}
        present = self._desk.library.renames.follow(name) if isinstance(name, str) and name not in names else name
        gone = bool(name) and present not in names
        info = f"{title(str(name))} is gone: {NEW} is chosen in its place." if gone else INFO
        return gr.update(choices=models, value=present if present in names else "", info=info)

    def list_again(self, name: object) -> dict[str, object]:
        """Return the update of `list_models`, which leaves the chosen one alone unless it is gone."""
        update = self.list_models(name)
        return gr.update(choices=update["choices"], info=INFO) if update["value"] == name else update

    def has_starter(self) -> bool:
        """Return whether the starter can be chosen."""
        return STARTER in (name for _, name in self._models())

    def _models(self) -> list[tuple[str, str]]:
        infos = self._desk.library.available()
        same = duplicates(self._desk.settings.runs, [info.name for info in infos])
        trainable = [info.name for info in infos if "float32" in info.precisions and info.name not in same]
        return [(NEW, ""), *((title(name), name) for name in trainable)]
