"""Export on the Models tab: format of the chosen model, and the folder that it is written to."""

import threading
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.export import FORMATS, export
from gptdesk.management import watched
from gptdesk.markup import markdown_text
from gptdesk.page.long_action import action_row
from gptdesk.page.option_widgets import STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.scheduler import Place
from gptdesk.system.file_manager import show_folder
from models.names import free_name

EXPORTS = "exports"  # folder in the home
TITLES = {"gguf": "GGUF", "huggingface": "Hugging Face", "html": "HTML", "space": "Space", "pt": "PyTorch"}


class ExportPanel:
    """Choice of the format, button and result."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._folder = desk.settings.home / EXPORTS
        titles = {known.name: known.title for known in FORMATS}
        self.format = gr.Dropdown(
            [(f"{short}: {titles[name]}", name) for name, short in TITLES.items()],
            value="gguf",
            label="Format",
            elem_id="models-export-format",
        )
        self._exporting = action_row(desk, "Export", ident="models-export", running={}, primary=False)
        self.line = self._exporting.line
        self._open = gr.Button("Open the folder of exports", size="sm", visible=False, elem_id="models-export-open")

    def wire(self, chosen: gr.Dropdown) -> None:
        """Connect the buttons; `chosen` holds the name of the model."""
        self._chosen = chosen
        self._exporting.wire()
        outputs = [*self._exporting.outputs, self._open]
        self._exporting.start.click(self._on_export, {chosen, self.format}, outputs, **STREAMING)
        self._open.click(self._on_folder, None, None, **WITH_MESSAGES)

    def _on_export(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(place: Place) -> Iterator[Updates]:
            line = self._exporting.line
            yield {line: "Exporting …", self._open: gr.update(visible=False)}
            for event in self._export(str(values[self._chosen] or ""), str(values[self.format])):
                if event:
                    yield {line: f"Exported to {markdown_text(str(event))}", self._open: gr.update(visible=True)}

        yield from self._exporting.run_queued(work, request)

    def _export(self, name: str, kind: str) -> Iterator[Path | None]:
        """Yield None while the model is written, then what to open. An export that has begun is not stopped."""
        checkpoint, tokenizer = self._desk.library.checkpoint(name), self._desk.tokenizer(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            taken = [path.stem if path.suffix == ".html" else path.name for path in self._folder.iterdir()]
        except OSError as error:
            raise ValueError(f"{self._folder} cannot be written: {error.strerror or error}") from error
        free = free_name(f"{name}-{TITLES.get(kind, kind)}".lower(), taken)
        to = self._folder / (f"{free}.html" if kind == "html" else free)
        yield (
            yield from watched(
                lambda: export(checkpoint, tokenizer, name=name, to=to, format=kind),
                stop=threading.Event(),
                progress=lambda: None,
            )
        )

    @shows_errors
    def _on_folder(self) -> None:
        show_folder(self._folder)
