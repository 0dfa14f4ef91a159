"""Events of the Tree view: texts opened, removed, undone and written below others."""

import json
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

import gradio as gr
from gradio.blocks import Block

from gptdesk.desk import Desk
from gptdesk.generation import GenerationResult
from gptdesk.history import Branch, Entry
from gptdesk.inspection.tree import BranchTree, Change
from gptdesk.page.long_action import Call, LongActions
from gptdesk.page.option_widgets import STREAMING, WITH_MESSAGES, Updates, Values
from gptdesk.page.persistence import SavedState
from gptdesk.page.tabs.generate.settings_panel import SettingsPanel
from gptdesk.page.tabs.generate.texts import MOST_SEQUENCES, TextCards
from gptdesk.page.tabs.generate.tokens import TokensView
from gptdesk.page.tabs.generate.tokens.opened_texts import BySession
from gptdesk.page.tabs.generate.tree.drawing import fault_html, tree_html
from gptdesk.page.tabs.generate.tree.open_trees import Growth, OpenTree, prune
from gptdesk.page.tabs.generate.writing import Plan, Stats, Writer
from gptdesk.page.visitors import event_session

SAVED = "Generate: tree"  # recent texts, in the saved state
EMPTY = "There is no tree yet; generate a text, and this shows it with its branches."
Record = Callable[[GenerationResult], None]


class GeneratingTab(Protocol):
    """Parts of the tab that the view uses."""

    kept: SavedState
    settings: SettingsPanel
    actions: LongActions
    stats: Stats
    undo: gr.Button
    tokens: TokensView
    writer: Writer


class TreeView:
    """Closed accordion with the tree of the texts; nothing is drawn while it is closed.

    The page's script writes what was pressed into a hidden text box.
    """

    def __init__(self, desk: Desk, texts: TextCards) -> None:
        self._desk, self._texts = desk, texts
        self._open: BySession[OpenTree] = BySession()
        self._lock = threading.RLock()
        with gr.Accordion("Tree", open=False, visible=False, elem_id="tree", elem_classes="quiet") as self._panel:
            self._picture = gr.HTML(elem_id="tree-picture", elem_classes="bare")
            with gr.Row(elem_id="tree-write"):
                self._variants = gr.Number(
                    3,
                    minimum=1,
                    maximum=MOST_SEQUENCES,
                    precision=0,
                    label="Variants",
                    elem_id="variants",
                    min_width=80,
                )
                self._write = gr.Button(
                    "Write below the open text", size="sm", elem_id="write-below", elem_classes="starts", min_width=120
                )
        self._asked = gr.Textbox(visible="hidden", elem_id="tree-asked")

    @property
    def outputs(self) -> list[Block]:
        """Widgets of the view that other events update."""
        return [self._panel, self._picture]

    def wire(self, tab: "GeneratingTab", inputs: set[Block], outputs: list[Block]) -> None:
        """Connect the events; `inputs` and `outputs` are those of a generation of the tab."""
        self._tab = tab
        self._panel.expand(self._on_open, None, self._picture, **WITH_MESSAGES)
        self._panel.collapse(self._on_close, None, None, **WITH_MESSAGES)
        shown = [*self.outputs, *self._texts.outputs, tab.undo, tab.stats.line, tab.stats.compare]
        self._asked.change(self._on_ask, self._texts.inputs | {self._asked}, shown, **WITH_MESSAGES)
        self._write.click(self._on_write, inputs | {self._variants}, outputs, **STREAMING)

    # Generations

    def _grow(self, plan: Plan) -> tuple[Branch, Record]:
        """Return the place of a generation in the tree, for the history, and what takes its result.

        Without a `source`, it begins a tree with its prompt, or goes on in it. Raises ValueError if a tree is full.
        """
        session, public = event_session(), self._desk.settings.public
        with self._lock:
            open_tree = self._opened(session)
            growth = Growth.of(open_tree, plan, public=public)

        def record(result: GenerationResult) -> None:
            with self._lock:
                growth.record(open_tree, result, source=plan.key.spelled)
                self._keep(session, open_tree)

        return growth.link, record

    def _shown_tree(self) -> Updates:
        """Return updates that show the tree as it is now, drawn if its panel is open."""
        with self._lock:
            open_tree = self._opened(event_session())
            updates: Updates = {self._panel: gr.update(visible=open_tree.tree is not None)}
            return updates | ({self._picture: self._drawn(open_tree)} if open_tree.is_shown else {})

    def write(self, plan: Plan, call: Call, values: Values, request: gr.Request) -> Generator[Updates, None, None]:
        """Stream into the cards or one of them, and put the texts at their place in the tree."""
        branch, grow = self._grow(plan)
        tokens, settings = self._tab.tokens, self._tab.settings
        if plan.card is None:
            yield tokens.close()
        keep = tokens.recorder(request, plan.key, plan.request, plan.prompt)

        def record(result: GenerationResult, first: int) -> None:
            keep(result, first)
            grow(result)

        keeps_seed = plan.cut is None and settings.keeps_seed(values)  # for this text alone
        begun = settings.release_seed(draw=True) if keeps_seed else {}
        yield from self._tab.writer.stream(plan, call, values=values, record=record, begun=begun, branch=branch)
        yield self._shown_tree()

    # The tree of a session

    def _opened(self, session: str) -> OpenTree:
        """Return the tree of a session, which begins with the one that its browser has saved."""
        open_tree = self._open.get(session)
        if open_tree is None:
            open_tree = OpenTree()
            if self._desk.history:
                open_tree.restore(self._desk.history, self._tab.kept.values().get(SAVED))
            self._open.put(session, open_tree)
        return open_tree

    def _keep(self, session: str, open_tree: OpenTree) -> None:
        self._open.put(session, open_tree)
        if self._desk.history:
            self._tab.kept.put(SAVED, open_tree.entries)

    def _drawn(self, open_tree: OpenTree, *, note: str = "") -> str:
        return tree_html(open_tree.tree, note=note) if open_tree.tree else fault_html(EMPTY)

    def restored(self) -> Updates:
        """Return updates for a page that opens: the panel has a place where a tree was saved, and is closed."""
        has_one = bool(self._desk.history and self._tab.kept.values().get(SAVED))
        return {self._panel: gr.update(visible=has_one, open=False), self._picture: ""}

    def show_entry(self, entry: Entry, *, as_tree: bool) -> Updates:
        """Return updates that make the tree of an entry of the history the open one; `as_tree`: and open its panel."""
        session, history = event_session(), self._desk.history
        if history is None or not entry.id:
            return {}
        with self._lock:
            before = self._opened(session)
            open_tree = OpenTree(is_shown=as_tree or before.is_shown)
            open_tree.restore_entry(history, entry.id, n=entry.n, bring_back=as_tree)
            self._keep(session, open_tree)
            return self._shown_tree() | ({self._panel: gr.update(visible=True, open=True)} if as_tree else {})

    # Events

    def _on_open(self) -> Updates:
        with self._lock:
            open_tree = self._opened(event_session())
            open_tree.is_shown = True
            return {self._picture: self._drawn(open_tree)}

    def _on_close(self) -> None:
        with self._lock:
            self._opened(event_session()).is_shown = False

    def _on_ask(self, values: Values) -> Updates:
        """Open or remove a text, or take a step back or forward; an error is a sentence above the picture."""
        session = event_session()
        with self._lock:
            open_tree = self._opened(session)
            if (tree := open_tree.tree) is None:
                return {self._picture: self._drawn(open_tree)}
            before, note = tree.current, ""
            try:
                prune(self._desk.history, _step(tree, str(values[self._asked] or "")))
            except ValueError as error:
                note = str(error)
            updates: Updates = {self._picture: self._drawn(open_tree, note=note)}
            if tree.current != before:
                open_tree.show([tree.current])
                updates |= self._put_text(values, tree.text(tree.current))
            self._keep(session, open_tree)
            return updates

    def _put_text(self, values: Values, text: str) -> Updates:
        """Return updates that show a text alone; Undo brings back those that were shown."""
        texts = self._texts
        if texts.texts(values) == [text]:
            return {}
        steps = texts.with_step(values[texts.history], texts.step(values))
        texts.save_history(self._tab.kept, steps)
        texts.save(self._tab.kept, [text])
        undo = {texts.history: steps, self._tab.undo: gr.update(interactive=True)}
        return texts.show([text]) | undo | self._tab.stats.replace("")

    def _on_write(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Write variants below the open text, each time from a new seed; the cards show them."""

        def work(call: Call) -> Generator[Updates, None, None]:
            tree, count = self._opened(event_session()).tree, values[self._variants]
            if tree is None:
                raise ValueError(EMPTY)
            if not isinstance(count, int | float) or not 1 <= count <= MOST_SEQUENCES:
                raise ValueError(f"variants is a number from 1 to {MOST_SEQUENCES}, not {count}; choose one of these")
            text = tree.text(tree.current)
            self._opened(event_session()).show([tree.current])
            key, generation = self._tab.settings.request(values, text, n=int(count))
            generation = generation.model_copy(update={"seed": None})
            yield from self.write(Plan(key, generation, text, source=text), call, values, request)

        yield from self._tab.actions.run(work, request)


def _step(tree: BranchTree, asked: str) -> Change:
    """Do what the page's script asks, and return what came and went; ValueError for anything else."""
    try:
        data = json.loads(asked)
    except ValueError:
        data = None
    action, node = (data.get("do"), data.get("node")) if isinstance(data, dict) else (None, None)
    if action == "undo":
        return tree.undo()
    if action == "redo":
        return tree.redo()
    if action not in ("open", "remove") or type(node) is not int:
        raise ValueError("there is no such text; choose one of those shown")
    if action == "remove":
        return tree.remove(node)
    tree.move(node)
    return Change(tree.current, tree.current)
