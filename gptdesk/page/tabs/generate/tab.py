"""Widgets of the Generate tab, their events, and what the tab shows when the page opens."""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.history import Entry
from gptdesk.markup import markdown_text
from gptdesk.page.browser_copy import BrowserCopy
from gptdesk.page.input_script import PUT_TEXT
from gptdesk.page.long_action import Call, LongActions
from gptdesk.page.option_widgets import QUIETLY, STREAMING, WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.persistence import SavedState
from gptdesk.page.pickers import most_new_tokens
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.generate.examples import SHOWN_FIRST, lay_out_examples, shown_for
from gptdesk.page.tabs.generate.prompt_size import prompt_size
from gptdesk.page.tabs.generate.prompts import SavedPrompts
from gptdesk.page.tabs.generate.settings_panel import SettingsPanel
from gptdesk.page.tabs.generate.story_check import StoryCheckPanel
from gptdesk.page.tabs.generate.texts import MOST_SEQUENCES, TextCards
from gptdesk.page.tabs.generate.tokens import TokensView
from gptdesk.page.tabs.generate.tree import TreeView
from gptdesk.page.tabs.generate.use_from_code import UseFromCode
from gptdesk.page.tabs.generate.writing import Plan, Stats, Writer

TITLE = "Generate"


class GenerateTab:
    """Widgets of the tab and their event handlers."""

    def __init__(self, desk: Desk, page: gr.Blocks) -> None:
        self.desk = desk
        self.prompts: SavedPrompts | None = None  # a public desk saves none
        with gr.Row(elem_id="generate-row"):
            with gr.Column(elem_id="writing", min_width=320):
                self._lay_out_text()
            self.settings = SettingsPanel(desk)
        remembered: dict[str, Component] = {"prompt": self.prompt, **self.settings.remembered}
        self.kept = SavedState(desk, TITLE, remembered, {"chain": self.settings.panel})
        self.actions = LongActions(desk, buttons=(self.generate, self.undo), stop=self.stop, line=self.stats.line)
        self.writer = Writer(
            desk, self.kept, texts=self.texts, stats=self.stats, settings=self.settings, actions=self.actions
        )
        self._wire(page)

    # Layout

    def _lay_out_text(self) -> None:
        with gr.Column(elem_id="canvas"):
            self.prompt = gr.Textbox(
                label="Prompt",
                placeholder="Write the beginning of a text; leave empty to start a new one.",
                lines=3,
                max_lines=12,
                autofocus=True,
                elem_id="prompt",
            )
            with gr.Row(elem_id="under-prompt"):
                self.count = gr.Markdown(elem_id="count", elem_classes="note")
                if not self.desk.settings.public:
                    self.prompts = SavedPrompts(self.desk, self.prompt)
            self.example_row, self.show_me, self.examples = lay_out_examples()
            with gr.Row(elem_id="buttons", elem_classes="actions"):
                self.generate = gr.Button(
                    "Generate", variant="primary", elem_classes=["go", "starts"], elem_id="generate", min_width=100
                )
                self.stop = gr.Button(
                    "Stop", variant="stop", elem_classes="halt", elem_id="stop", interactive=False, min_width=100
                )
                self.undo = gr.Button("Undo", elem_id="undo", interactive=False, min_width=70)
                gr.Button("Sampling", elem_id="rail-button", min_width=70)  # of the page's script
            self.texts = TextCards(TITLE)
            self.tokens = TokensView(self.desk, self.texts)
            self.stats = Stats()
            self.tree = TreeView(self.desk, self.texts)
        self.copy = BrowserCopy(self.texts.saved_as) if self.desk.settings.public else None
        self.story = StoryCheckPanel(self.desk, self.texts)
        self.of_stories: list[Block] = [self.example_row, self.story.panel]
        self.code = UseFromCode(self.desk)

    # Wiring

    def _wire(self, page: gr.Blocks) -> None:
        controls, texts, settings = self.kept.controls, self.texts, self.settings
        inputs: set[Block] = {*controls, *texts.inputs, self.kept.restored}
        outputs = [*self.actions.outputs, *self.writer.outputs, *self.tokens.outputs, *self.story.closed]
        outputs += settings.seed_outputs
        outputs += self.tree.outputs
        self.generate.click(self._on_generate, inputs, outputs, **STREAMING)
        self.show_me.click(self._on_show_me, inputs, [*outputs, self.prompt], **STREAMING)
        taken_back = [*texts.outputs, self.undo, *self._of_other_texts]
        for i, (continue_, keep) in enumerate(zip(texts.continues, texts.keeps, strict=True)):
            continue_.click(self._continuing(i), inputs, outputs, **STREAMING)
            keep.click(self._keeping(i), texts.inputs, taken_back, **WITH_MESSAGES)
        self.tokens.branched.change(self._on_branch, inputs | {self.tokens.branched}, outputs, **STREAMING)
        self.actions.wire()
        self.code.wire(
            inputs,
            lambda values: settings.shown_request(values, str(values[self.prompt] or "")),
            lambda values, key, request: self.tokens.wrote(texts.texts(values), key, request),
        )
        self.story.wire()
        put = [texts.history, self.undo]
        for button in self.examples:
            button.click(self._on_example, [button, self.prompt, texts.history], put, js=PUT_TEXT, **QUIETLY)
        undone = [*taken_back, *controls, settings.seed_note]
        self.undo.click(self._on_undo, {texts.history}, undone, **WITH_MESSAGES)
        latest = QUIETLY | {"trigger_mode": "always_last"}
        if not self.desk.settings.public:
            texts.edited.click(self._on_edit, texts.inputs | {self.kept.restored}, None, **latest)
        if self.prompts:
            inserted = [self.prompts.picked, self.prompt, texts.history]
            self.prompts.wire().success(self._on_example, inserted, put, js=PUT_TEXT, **QUIETLY)
        settings.wire()
        counted: list[Any] = [self.prompt, settings.model.name, settings.max_new_tokens, settings.parse_special]
        gr.on([component.change for component in counted], self._on_prompt, counted, self.count, **latest)
        name = settings.model.name
        name.change(self._on_model, name, [settings.max_new_tokens, *self.of_stories], **latest)
        options = [*settings.panel.components, *settings.constraints]
        moved = [option.input for option in options] + settings.presets.applied  # type: ignore[attr-defined]  # by Gradio
        asked = {settings.seed, settings.new_seed, *texts.inputs}
        gr.on(moved, self._on_option, asked, settings.seed_outputs, **latest)
        self.tokens.wire(settings, inputs)
        self.tree.wire(self, inputs, outputs)
        self.kept.wire()
        loaded = [*self.entry_outputs, self.count, *self.of_stories, self.kept.restored]
        loaded += self.prompts.outputs if self.prompts else []
        sending = self.copy.wire(self.kept) if self.copy else {}
        page.load(self._on_load, outputs=loaded, **sending, **QUIETLY)

    def wire_links(self, links: TabLinks) -> None:
        """List the saved prompts and presets anew whenever the tab is opened; those of a public desk do not change."""
        links.prompts[TITLE] = self.prompt
        if self.desk.history:
            links.compare_buttons.append(self.stats.compare)
            links.recipe_buttons.append(self.stats.recipe)
        if self.prompts:
            preset = self.settings.presets.name
            links.on_open(TITLE, self._on_open, {preset, self.prompts.name}, [preset, self.prompts.name])

    # Generating

    def _on_generate(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        yield from self._run(values, str(values[self.prompt] or ""), request)

    def _on_show_me(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Generate from an example, for the first visit; Undo brings back the prompt that it replaces."""
        history = values[self.texts.history]
        if before := str(values[self.prompt] or ""):
            history = self.texts.with_step(history, {"prompt": before})
        yield {self.prompt: SHOWN_FIRST, self.texts.history: history}
        changed = {**values, self.prompt: SHOWN_FIRST, self.texts.history: history}
        yield from self._run(changed, SHOWN_FIRST, request)

    def _continuing(self, index: int) -> Callable[..., Iterator[Updates]]:
        """Return the handler that continues the text of a card."""

        def extend(values: Values, request: gr.Request) -> Iterator[Updates]:
            yield from self._run(values, None, request, card=index)

        return extend

    def _run(
        self, values: Values, prompt: str | None, request: gr.Request, *, card: int | None = None
    ) -> Iterator[Updates]:
        """Stream into the cards, or continue the text of one; an error is one sentence below them."""

        def work(call: Call) -> Generator[Updates, None, None]:
            text = self.texts.text(values, card) if card is not None else prompt
            text = str(text or values[self.prompt] or "")
            key, generation = self.settings.request(values, text, n=None if card is None else 1)
            self.kept.remember(values)
            yield self.story.closed
            plan = Plan(key, generation, text, card=card, source=None if card is None else text)
            yield from self.tree.write(plan, call, values, request)

        yield from self.actions.run(work, request)

    def _on_branch(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Continue the text whose tokens are shown from one of them with another token, as a new text."""

        def work(call: Call) -> Generator[Updates, None, None]:
            plan = self.tokens.branch(values, request)
            self.kept.remember(values)
            yield self.story.closed
            yield from self.tree.write(plan, call, values, request)

        yield from self.actions.run(work, request)

    # Texts and prompts

    def _keeping(self, index: int) -> Callable[[Values], object]:
        """Return the handler that keeps the text of a card alone."""

        @shows_errors
        def keep(values: Values) -> object:
            updates = self.texts.keep(self.kept, values, index) | {self.undo: gr.update(interactive=True)}
            line = f"Text {index + 1} was kept. Undo brings back the others."
            return updates | self._without_others(line, [self.texts.text(values, index)])

        return keep

    def _on_example(self, text: str, prompt: str | None, history: object) -> Updates:
        """Add the prompt that another has replaced to the history; the page's script has put the other there."""
        if not prompt or prompt == text:
            return {}
        steps = self.texts.with_step(history, {"prompt": prompt})
        self.texts.save_history(self.kept, steps)
        return {self.texts.history: steps, self.undo: gr.update(interactive=True)}

    @shows_errors
    def _on_undo(self, values: Values) -> Updates:
        """Bring back what the last generation, continuation, choice or other prompt has replaced."""
        steps = values[self.texts.history]
        if not isinstance(steps, list) or not steps:
            raise ValueError("there is nothing to undo")
        *rest, last = steps
        self.texts.save_history(self.kept, rest)
        updates: Updates = {self.texts.history: rest, self.undo: gr.update(interactive=bool(rest))}
        if "settings" in last:
            kept = self.kept.read({TITLE: last["settings"]})
            updates |= self.kept.updates(kept) | (self.settings.show(kept) if "model" in kept else {})
            del updates[self.kept.restored]
        if "prompt" in last:
            updates[self.prompt] = last["prompt"]
        if "texts" in last:
            self.texts.save(self.kept, last["texts"])
            updates |= self.texts.show(last["texts"]) | self._without_others("", last["texts"])
        return updates

    @property
    def _of_other_texts(self) -> list[Block]:
        """Widgets that `_without_others` updates."""
        return [self.stats.line, *self.stats.outputs, *self.tokens.outputs]

    def _without_others(self, line: str, texts: Sequence[str]) -> Updates:
        """Return updates that close stats and tokens of other texts than these; `line` takes the place of the stats."""
        return self.stats.replace(line) | self.tokens.close_unless_among(texts)

    def _on_edit(self, values: Values) -> None:
        """Save the texts after an edit by hand."""
        if values[self.kept.restored]:
            self.texts.save(self.kept, self.texts.texts(values))

    # Settings

    def _on_model(self, name: str | None) -> Updates:
        """Return updates of the slider of new tokens, whose maximum is the model's context, and of the examples.

        The page's script lowers the number to it, and says so.
        """
        try:
            most = most_new_tokens(self.desk, [name])
        except ValueError:  # said below the prompt
            return {}
        new_tokens = self.settings.max_new_tokens
        return {new_tokens: gr.update(maximum=most), **shown_for(name, self.of_stories, self.desk.library)}

    def _on_option(self, values: Values) -> Updates:
        """Keep the seed once an option is changed after a text, so that the next text differs by the option alone."""
        return self.settings.keep_seed(values) if any(self.texts.texts(values)) else {}

    def _on_prompt(self, prompt: str | None, name: str | None, wanted: object, parse_special: object) -> str:
        try:
            return prompt_size(self.desk, prompt or "", name, wanted=wanted, parse_special=bool(parse_special))
        except ValueError as error:
            return f"⚠ {markdown_text(str(error))}"

    # History

    title = TITLE

    @property
    def entry_inputs(self) -> set[Block]:
        """Inputs of an event that calls `show_entry`."""
        return {*self.kept.controls, *self.texts.inputs}

    @property
    def entry_outputs(self) -> list[Block]:
        """Outputs of an event that returns the updates of `show_entry`."""
        settings = [*self.kept.controls, self.settings.seed_note]
        return [*settings, *self.texts.outputs, self.undo, *self._of_other_texts, *self.tree.outputs]

    def show_entry(self, entry: Entry, values: Values, *, as_tree: bool = False) -> Updates:
        """Return updates that show an entry of the history, so that Generate writes it once more.

        Undo brings back the texts, the prompt and the settings that were there. With `as_tree`, the tree that
        it belongs to is drawn. Raises ValueError if one of its samplers or options is not known here.
        """
        settings = self.settings.show_entry(entry)
        before = {"prompt": str(values[self.prompt] or ""), "settings": self.kept.saved(values)}
        steps = self.texts.with_step(values[self.texts.history], self.texts.step(values) | before)
        texts = [entry.prompt + sequence.text for sequence in entry.sequences[:MOST_SEQUENCES]]
        self.texts.save_history(self.kept, steps)
        self.texts.save(self.kept, texts)
        updates: Updates = {self.prompt: entry.prompt, self.undo: gr.update(interactive=True)}
        tree = self.tree.show_entry(entry, as_tree=as_tree)
        updates |= self.texts.show(texts) | {self.texts.history: steps} | self._without_others("", texts)
        return updates | settings | tree

    # Saved state

    def _on_open(self, values: Values) -> Updates:
        presets, prompts = self.settings.presets, self.prompts
        assert prompts is not None, "a public desk has no saved prompts"
        return presets.list_again(values[presets.name]) | prompts.list_again(values[prompts.name])

    def _on_load(self, sent: str | None = None) -> Updates:
        """Return updates for a page that opens: the models now, and the saved state (a visitor's is `sent`)."""
        stored = self.copy.read(sent) if self.copy else self.kept.values()
        kept = self.kept.read(stored)
        updates = self.kept.updates(kept) | self.texts.restored(stored) | self.settings.show(kept)
        updates |= self.tree.restored()
        updates[self.undo] = gr.update(interactive=bool(updates[self.texts.history]))
        picked = self.settings.model.first_of(kept.get("model"))
        updates |= shown_for(picked, self.of_stories, self.desk.library)
        wanted = self.settings.wanted(kept, most_new_tokens(self.desk, [picked]))
        prompt = str(kept.get("prompt") or "")
        updates[self.count] = self._on_prompt(prompt, picked, wanted, kept.get("parse_special"))
        return updates | (self.prompts.show() if self.prompts else {})
