"""Form of a new batch: prompts, models, presets, and options with good defaults."""

from pathlib import Path

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.batch import BatchPlan, NamedChain, create_job, read_prompt_file, read_prompts
from gptdesk.batch.plan import MOST_CHAINS, MOST_MODELS
from gptdesk.batch.prompts import COLUMN, read_columns
from gptdesk.desk import Desk
from gptdesk.formatting import plural
from gptdesk.generation import draw_seed, read_word_bias
from gptdesk.markup import markdown_text
from gptdesk.page.event_values import LONGEST_CHOICE
from gptdesk.page.option_widgets import QUIETLY, Updates, Values
from gptdesk.page.pickers import FIRST_PRESET, MOST_TOKENS, STARTER
from gptdesk.page.tabs.batch.jobs import JobsView
from gptdesk.stop_strings import read_lines
from gptdesk.training.run_models import duplicates, title
from models.manager import ModelKey

NAME_LENGTH = 40  # characters of the first prompt that name a batch without a file
LATEST = QUIETLY | {"trigger_mode": "always_last"}


class BatchForm:
    """Widgets of the form, and the handlers that count its rows and start the batch."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.prompts = gr.Textbox(
            label="Prompts",
            info="One a line; \\n stands for a new line.",
            placeholder="Once upon a time\nThe dragon said",
            lines=5,
            max_lines=14,
            elem_id="batch-prompts",
        )
        self.file = gr.File(
            label="… or a file: CSV, JSONL or text (overrides the text box)",
            type="filepath",
            height=150,
            elem_id="batch-file",
        )
        self.column = gr.Dropdown([], label="Column of the prompts", visible=False, elem_id="batch-column")
        with gr.Group():
            self.models = gr.Dropdown(
                self._listed_models(),
                value=self._first_model(),
                multiselect=True,
                max_choices=MOST_MODELS,
                label="Models and precisions",
                elem_id="batch-models",
            )
            self.presets = gr.Dropdown(
                desk.preset_names(),
                value=[FIRST_PRESET],
                multiselect=True,
                max_choices=MOST_CHAINS,
                label="Presets",
                info="Every prompt is continued with each model and each preset.",
                elem_id="batch-presets",
            )
        with gr.Accordion("Advanced", open=False, elem_id="batch-advanced"):
            self._lay_out_options()
        self.count = gr.Markdown(elem_id="batch-count", elem_classes="note")
        self.start = gr.Button("Start the batch", variant="primary", elem_classes="go", elem_id="batch-start")
        self.line = gr.Markdown(elem_id="batch-line", elem_classes="note")

    def _lay_out_options(self) -> None:
        self.max_new_tokens = gr.Slider(
            1, MOST_TOKENS, value=100, step=1, label="Max new tokens", elem_id="batch-max-new-tokens"
        )
        self.n = gr.Slider(1, 16, value=1, step=1, label="Texts for each prompt", elem_id="batch-n")
        # text, because a browser's numbers are exact only up to 2^53
        self.seed = gr.Textbox(
            "1",
            label="Seed of the first prompt",
            info="The next one's is greater by one; leave empty to draw one.",
            max_lines=1,
            elem_id="batch-seed",
        )
        self.stop_strings = gr.Textbox(
            label="Stop strings", info="One a line; a text ends before it.", lines=1, elem_id="batch-stop-strings"
        )
        with gr.Accordion("Constraints", open=False, elem_id="batch-constraints"):
            self.banned_phrases = gr.Textbox(
                label="Banned phrases", info="One a line; no text has them.", lines=1, elem_id="batch-banned-phrases"
            )
            self.word_bias = gr.Textbox(
                label="Word bias",
                info="A word and a number a line, such as dragon: 3; above 0 more probable, below 0 less.",
                lines=1,
                elem_id="batch-word-bias",
            )
            self.choices = gr.Textbox(
                label="Choices",
                info="One a line, spaces included; the model writes exactly one of them.",
                lines=1,
                elem_id="batch-choices",
            )

    @property
    def remembered(self) -> dict[str, Component]:
        """Widgets whose values are saved, by name."""
        return {
            "prompts": self.prompts,
            "models": self.models,
            "presets": self.presets,
            "max_new_tokens": self.max_new_tokens,
            "n": self.n,
            "seed": self.seed,
            "stop": self.stop_strings,
            "banned_phrases": self.banned_phrases,
            "word_bias": self.word_bias,
            "choices": self.choices,
        }

    @property
    def inputs(self) -> set[Block]:
        """Widgets whose values make a batch."""
        return {*self.remembered.values(), self.file, self.column}

    def wire(self, jobs: JobsView) -> None:
        """Connect the widgets; a batch that starts is shown by `jobs`."""
        self._jobs = jobs
        self.file.change(self._on_file, self.inputs, [self.column, self.count, self.line], **QUIETLY)
        changes = [self.prompts.change, self.column.input, self.models.input, self.presets.input]
        gr.on(changes, self._on_change, self.inputs, self.count, **LATEST)
        self.start.click(self._on_start, self.inputs | jobs.inputs, [self.line, *jobs.outputs], **QUIETLY)

    # Models and presets

    def listed(self, values: Values) -> Updates:
        """Return updates that list the models and presets there are now and keep the chosen ones."""
        return self._pick(values[self.models], values[self.presets])

    def restored(self, saved: dict[str, object]) -> Updates:
        """Return updates that list the models and presets there are now and choose the saved ones."""
        return self._pick(saved.get("models"), saved.get("presets"))

    def _pick(self, models: object, presets: object) -> Updates:
        offered, names = self._listed_models(), self._desk.preset_names()
        spelled = [one for _, one in offered]
        chosen = [one for one in models if one in spelled] if isinstance(models, list) else []
        named = [one for one in presets if one in names] if isinstance(presets, list) else []
        return {
            self.models: gr.update(choices=offered, value=chosen or self._first_model()),
            self.presets: gr.update(choices=names, value=named or [FIRST_PRESET]),
        }

    def _listed_models(self) -> list[tuple[str, str]]:
        """Return title and spelled key of each model that can be used, in each of its precisions."""
        models = self._desk.library.available()
        same = duplicates(self._desk.settings.runs, [info.name for info in models])
        return [
            (f"{title(info.name)} · {precision}", ModelKey(info.name, precision).spelled)
            for info in models
            if not info.problem and info.name not in same
            for precision in info.precisions
        ]

    def _first_model(self) -> list[str]:
        spelled = [one for _, one in self._listed_models()]
        return [one for one in spelled if one.startswith(f"{STARTER}:")][:1] or spelled[:1]

    # Events

    def _on_file(self, values: Values) -> Updates:
        """List the columns of a file that was chosen, and count its rows."""
        hidden: Updates = {self.column: gr.update(choices=[], value=None, visible=False), self.line: ""}
        if not values[self.file]:
            return hidden | {self.count: self._count(values)}
        try:
            columns = [name for name in read_columns(self._path(values)) if len(name) < LONGEST_CHOICE]
        except ValueError as error:
            return hidden | {self.count: _warning(error)}
        if not columns:
            return hidden | {self.count: self._count({**values, self.column: None})}
        likely = COLUMN if COLUMN in columns else columns[0] if len(columns) == 1 else None
        return {
            self.line: "",
            self.column: gr.update(choices=columns, value=likely, visible=True),
            self.count: self._count({**values, self.column: likely}) if likely else "Choose the column of the prompts.",
        }

    def _on_change(self, values: Values) -> str:
        return self._count(values)

    def _count(self, values: Values) -> str:
        """Return the number of rows of the batch as Markdown; nothing while there are no prompts."""
        if not values[self.file] and not str(values[self.prompts] or "").strip():
            return ""
        try:
            prompts = len(self._read(values)[0])
        except ValueError as error:
            return _warning(error)
        models, presets = len(_chosen(values[self.models])), len(_chosen(values[self.presets]))
        factors = (plural(prompts, "prompt"), plural(models, "model"), plural(presets, "preset"))
        return f"{' x '.join(factors)} = {plural(prompts * models * presets, 'row')}."

    def _on_start(self, values: Values) -> Updates:
        """Save the batch and run it in the background; show a mistake as one sentence."""
        try:
            prompts, name, remarks = self._read(values)
            job = create_job(self._desk.settings.batches, self._plan(values), prompts, name=name)
            self._jobs.batches.start(job)
        except ValueError as error:
            return {self.line: _warning(error)}
        except OSError as error:
            return {self.line: _warning(f"the batch cannot be saved: {error.strerror or error}")}
        line = " ".join(f"⚠ {markdown_text(remark)}." for remark in remarks)
        return {self.line: line} | self._jobs.show(job.ident, values)

    def _path(self, values: Values) -> Path:
        return Path(str(values[self.file]))

    def _read(self, values: Values) -> tuple[list[str], str, tuple[str, ...]]:
        """Return the prompts, a name for the batch, and remarks on the encoding of its file."""
        if not values[self.file]:
            prompts = read_prompts(str(values[self.prompts] or ""), name="the text box")
            return prompts, " ".join(prompts[0].split())[:NAME_LENGTH] or "batch", ()
        path, column = self._path(values), str(values[self.column] or "")
        prompts, remarks = read_prompt_file(path, column=column)
        return prompts, path.name, remarks

    def _plan(self, values: Values) -> BatchPlan:
        models, presets = _chosen(values[self.models]), _chosen(values[self.presets])
        if not models:
            raise ValueError("no model is chosen; choose one or more")
        if not presets:
            raise ValueError("no preset is chosen; choose one or more")
        keys = [self._desk.library.key(one) for one in models]
        for key in keys:
            if problem := self._desk.model(key.name).problem:
                raise ValueError(problem)
        return BatchPlan(
            models=[(key.name, key.precision) for key in keys],
            chains=[NamedChain(name=name, chain=self._desk.preset(name)) for name in presets],
            n=values[self.n],
            seed=str(values[self.seed] or "").strip() or draw_seed(),
            max_new_tokens=values[self.max_new_tokens],
            stop=read_lines(values[self.stop_strings]),
            banned_phrases=read_lines(values[self.banned_phrases]),
            choices=read_lines(values[self.choices]),
            word_bias=read_word_bias(str(values[self.word_bias] or "").splitlines()),
        )


def _chosen(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _warning(error: object) -> str:
    return f"⚠ {markdown_text(str(error))}"
