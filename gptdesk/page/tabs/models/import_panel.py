"""Import on the Models tab: source, name, and what the file does not say."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk import importing
from gptdesk.desk import Desk
from gptdesk.formatting import file_size
from gptdesk.importing import ImportEvent, ImportResult, ImportTarget
from gptdesk.markup import html_table, markdown_text
from gptdesk.page.long_action import Call, action_row
from gptdesk.page.option_widgets import QUIETLY, STREAMING, Updates, Values
from models.download import Received
from models.formats.importing import MissingOptions
from models.formats.options import ImportOptions
from models.gpt import GELU, LIMITS
from models.hub import SUGGESTED, HubModel

PLACE, FILES, HUB = "A path on this computer", "Upload files", "Hugging Face Hub"
SOURCES = (PLACE, FILES, HUB)
STEP = 0.005  # part of a download between two updates of the progress


class ImportPanel:
    """Folded form of an import, and the event handler of its button."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with gr.Accordion("Import a model", open=False, elem_id="models-import-box"):
            self.source = gr.Radio(
                SOURCES,
                value=PLACE,
                label="Source of the model",
                show_label=False,
                container=False,
                elem_id="models-import-source",
            )
            self._lay_out_sources()
            self.name = gr.Textbox(
                label="Name",
                info="Leave empty for a name like the file's.",
                max_lines=1,
                elem_id="models-import-name",
            )
            self._lay_out_options()
            self._actions = action_row(desk, "Import", ident="models-import", running={}, primary=False)
            self._files = gr.HTML(elem_id="models-import-files", elem_classes=["figures-table", "bare"])
        # id, revision and commit on the Hub whose files were listed
        self._listed = gr.State(None)

    def _lay_out_sources(self) -> None:
        self.place = gr.Textbox(
            label="File or folder",
            info="Its path on this computer: a file of weights, or the folder that it is in.",
            max_lines=1,
            elem_id="models-import-path",
        )
        self.uploads = gr.File(
            label="Weights and their JSON files, 1 GB at most",
            file_count="multiple",
            type="filepath",
            height=150,
            visible=False,
            elem_id="models-import-uploads",
        )
        with gr.Row(visible=False) as self._hub_box:
            self.hub = gr.Dropdown(
                list(SUGGESTED),
                value=SUGGESTED[0],
                label="Model on the Hub",
                info="NAME or OWNER/NAME of a GPT-2.",
                allow_custom_value=True,
                scale=2,
                min_width=200,
                elem_id="models-import-hub",
            )
            self.revision = gr.Textbox(
                label="Revision",
                info="Branch, tag or commit.",
                placeholder="main",
                max_lines=1,
                min_width=120,
                elem_id="models-import-revision",
            )

    def _lay_out_options(self) -> None:
        with gr.Accordion("Advanced", open=False, elem_id="models-import-advanced") as self._advanced:
            gr.Markdown("For a file that does not say these. Leave them empty otherwise.", elem_classes="note")
            with gr.Row():
                self.n_head = gr.Number(
                    label="Attention heads",
                    value=None,
                    precision=0,
                    minimum=1,
                    maximum=LIMITS["n_head"],
                    min_width=120,
                    elem_id="models-import-n-head",
                )
                self.activation = gr.Dropdown(
                    [("As the file says", ""), *((name, name) for name in GELU)],
                    value="",
                    label="Activation",
                    min_width=120,
                    elem_id="models-import-activation",
                )
                self.tokenizer = gr.Textbox(
                    label="Tokenizer",
                    placeholder="gpt2, or the path of its file",
                    max_lines=1,
                    min_width=200,
                    elem_id="models-import-tokenizer",
                )

    @property
    def _inputs(self) -> set[Block]:
        chosen: set[Block] = {self.source, self.place, self.uploads, self.hub, self.revision, self._listed}
        return chosen | {self.name, self.n_head, self.activation, self.tokenizer}

    def wire(self, show: Callable[[object], Updates], outputs: list[Block]) -> None:
        """Connect the form; `show` returns the updates of `outputs` that show a new model."""
        self._show = show
        self._actions.wire()
        self.source.change(self._on_source, self.source, [self.place, self.uploads, self._hub_box], **QUIETLY)
        own: list[Component | Block] = [
            *(self.name, self.n_head, self.activation, self.tokenizer, self.uploads),
            *(self._advanced, self._files, self._listed),
        ]
        updated = [*self._actions.outputs, *own, *outputs]
        self._actions.start.click(self._on_import, self._inputs, updated, **STREAMING)

    def _on_source(self, source: object) -> list[object]:
        return [gr.update(visible=source == one) for one in SOURCES]

    def _on_import(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        def work(call: Call) -> Generator[Updates, None, None]:
            options = ImportOptions(
                n_head=values[self.n_head] or 0,  # type: ignore[arg-type]
                activation=str(values[self.activation] or ""),
                tokenizer=_path_text(values[self.tokenizer]),
            )
            name = str(values[self.name] or "").strip() or None
            target = ImportTarget(self._desk.library, name, options, call.stop)
            try:
                yield from self._import(target, values, call)
            except MissingOptions as missing:
                yield self._asked(missing)

        yield from self._actions.run(work, request)

    def _import(self, target: ImportTarget, values: Values, call: Call) -> Iterator[Updates]:
        """Yield the updates of the import from the chosen source."""
        source = values[self.source]
        if source == HUB:
            yield from self._import_from_hub(target, values, call)
            return
        yield {self._files: ""}
        if source == FILES:
            files = values[self.uploads]
            uploads = [Path(str(file)) for file in files] if isinstance(files, list) else []
            if not uploads:
                raise ValueError("no file is chosen; choose the file of the weights, or drop it on the field")
            events = importing.import_uploads(target, uploads)
        else:
            place = _path_text(values[self.place])
            if not place:
                raise ValueError("no file or folder is named; type its path")
            events = importing.import_path(target, Path(place))
        yield from self._converted(events, call)

    def _import_from_hub(self, target: ImportTarget, values: Values, call: Call) -> Iterator[Updates]:
        """Yield the list of the files at the first time, the updates of download and import at the second."""
        line = self._actions.line
        model, revision = (str(values[box] or "").strip() for box in (self.hub, self.revision))
        if not model:
            raise ValueError("no model is named; choose one, or type its id")
        yield {line: "Asking the Hugging Face Hub …"}
        target, found = importing.find_on_hub(target, model, revision=revision)
        remark = f"{markdown_text(found.remark[:1].upper() + found.remark[1:])}. " if found.remark else ""
        listed = [model, revision, found.commit]
        if found.remaining and values[self._listed] != listed:
            left = f"{file_size(found.remaining)} of {file_size(found.size)} are to be downloaded"
            words = f"{remark}{left} into {markdown_text(str(found.repository))}. Press Import again to start."
            yield {line: words, self._files: _file_table(found), self._listed: listed}
            return
        yield {self._files: _file_table(found)}
        reported = -1.0
        events = importing.import_from_hub(target, found)
        for event in events:
            if not isinstance(event, Received):
                break
            part = event.done / max(found.size, 1)
            if part >= reported + STEP:
                reported = part
                yield {line: f"{remark}Downloading: {file_size(event.done)} of {file_size(found.size)} ({part:.0%}) …"}
        if call.stop.is_set():
            yield {line: "You stopped it. What has arrived is kept: the next import resumes."}
            return
        yield from self._converted(events, call)

    def _converted(self, events: Iterator[ImportEvent], call: Call) -> Iterator[Updates]:
        """Yield the updates of the conversion, in a place of the scheduler, and of the model that it makes."""
        line = self._actions.line
        with self._desk.scheduler.queue(stop=call.stop, owner=call.owner) as place:
            yield from map(self._actions.waiting, place.positions())
            for event in events:
                if isinstance(event, ImportResult):
                    yield {line: _sentence(event)} | self._emptied() | self._show(event.info.name)
                    return
                yield {line: "Converting …"}
        yield {line: "You stopped it. Nothing was changed."}

    def _asked(self, missing: MissingOptions) -> Updates:
        """Return updates that ask for the options that are missing, with the best guess filled in."""
        guess = missing.guess
        numbers = bool(guess.n_head or guess.activation)
        filled = (
            f" A guess is filled in under Advanced ({missing.why}); correct it if you know better." if numbers else ""
        )
        file = " Name its tokenizer under Advanced." if "tokenizer" in missing.missing else ""
        question = missing.question[:1].upper() + missing.question[1:]
        updates: Updates = {
            self._actions.line: f"{question}.{filled}{file} Then press Import again.",
            self._advanced: gr.update(open=True),
        }
        if guess.n_head:
            updates[self.n_head] = guess.n_head
        if guess.activation:
            updates[self.activation] = guess.activation
        return updates

    def _emptied(self) -> Updates:
        """Return updates that empty the form for the next model."""
        return {
            self.name: "",
            self.n_head: None,
            self.activation: "",
            self.tokenizer: "",
            self.uploads: None,
            self._advanced: gr.update(open=False),
            self._files: "",
            self._listed: None,
        }


def _path_text(value: object) -> str:
    """Return a path as typed or pasted, without the quotes that file managers put around it."""
    return os.path.expanduser(str(value or "").strip().strip('"'))


def _file_table(model: HubModel) -> str:
    return html_table([model.origin, ""], [[file.name, file_size(file.size)] for file in model.files])


def _sentence(made: ImportResult) -> str:
    """Return what became of the file, with the remarks, as Markdown."""
    info, remarks = made.info, [f"{one[:1].upper()}{one[1:]}." for one in made.imported.remarks]
    if info.problem:
        return f"⚠ {markdown_text(f'{info.name} was written, but cannot be used here: {info.problem}')}"
    text = f"Imported as {info.name}: a {made.imported.kind}, {info.parameters:,} parameters."
    return markdown_text(" ".join([text, *remarks]))
