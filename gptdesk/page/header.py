"""Header of the page: mark, model in use, training progress, help, theme and settings."""

import hashlib
import html
from collections.abc import Iterable

import gradio as gr

from gptdesk.desk import Desk
from gptdesk.markup import markdown_text
from gptdesk.page.option_widgets import QUIETLY, Updates
from gptdesk.settings import home_fault
from gptdesk.training import control
from gptdesk.training.control import RunInfo
from gptdesk.training.states import ACTIVE, IN_WORDS

INTERVAL = 3.0  # seconds between looks at the runs

MARK = """<div class="mark"><svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
<rect width="24" height="24" rx="6" fill="var(--mark)"/><path d="M6 8h12M6 12h7" stroke="#fff" stroke-width="2"
stroke-linecap="round"/><rect x="15.5" y="11" width="2.5" height="6" rx="1" fill="#fff"/></svg><h1>GPT Desk</h1></div>
<p id="tagline">A small GPT-2 model continues the text that you write.</p>
<button type="button" id="model-chip" hidden title="Open the list of models"></button>"""

ACTIONS = """<button type="button" id="theme-button">Theme: system</button>
<button type="button" id="language-button" hidden></button>
<button type="button" id="help-button" aria-haspopup="dialog">Help</button>
<button type="button" id="settings-button" hidden>Settings</button>
<div id="live" role="status" class="unseen"></div>
<dialog id="help" aria-labelledby="help-title"><h2 id="help-title" tabindex="-1" autofocus>Help</h2>
<p>A GPT-2 model continues the text that you give it; it does not answer questions.</p>
<p>Generate writes the continuation, and Sampling decides how the next token is drawn.</p>
<p>Tokens, below a text, shows what else could have come at each place, and writes on from there.</p>
<p>Compare shows two models or precisions on the same prompt, and measures size, speed and quality.</p>
{tabs}
<p>Learn has lessons, shows the inside of a model and its tokens, and lets you guess the next word of a story.</p>
<dl><dt>Ctrl+Enter</dt><dd>start what the open tab does</dd><dt>Esc</dt><dd>stop it</dd>
<dt>Arrow keys</dt><dd>move between the tabs, the tokens of a text, the texts of a tree, and the choices of a list</dd>
<dt>Home, End</dt><dd>move to the first or the last of them</dd>
<dt>Enter</dt><dd>open a token or a text of a tree</dd></dl>
<p><a href="./docs" target="_blank">The API for programs</a></p>
<button type="button" id="help-close">Close</button></dialog>"""
VISITORS_TABS = """<p>This desk is public: it keeps nothing that you write, and its visitors share one computer.</p>
<p>Training, importing models, a history and presets of your own need a desk of your own.</p>
<p>Batch writes a prompt with several values of a sampler's options, side by side.</p>"""
OWNERS_TABS = """<p>Batch continues many prompts, or one with several values of a sampler's options.</p>
<p>Train makes a model of your own text; the run goes on when this page is closed.</p>
<p>Models lists, imports and exports models, and History keeps each text with what is needed to repeat it.</p>
<p>A prompt can be saved and inserted in Generate; Settings lists the saved prompts and presets.</p>
<p>Share gives others a link from anywhere; in this network they reach a desk that was started with --lan.</p>"""


class Header:
    """Row at the top of the page; its parts are laid out in the current row."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        gr.HTML(MARK, elem_id="title", elem_classes="bare")
        self._pill = None if desk.settings.public else gr.HTML(elem_id="training", elem_classes="bare")
        # Digest of models and runs, kept on the page, and again in `changed` once it differs from the last one: a page
        # that opens has just read them, so its first digest is no change.
        self._known = None if desk.settings.public else gr.Textbox("", visible="hidden", elem_id="known-models")
        self.changed = None if desk.settings.public else gr.Textbox("", visible="hidden", elem_id="changed-models")

    def lay_out_actions(self) -> None:
        """Lay out the buttons at the end of the row."""
        tabs = VISITORS_TABS if self._desk.settings.public else OWNERS_TABS
        gr.HTML(ACTIONS.replace("{tabs}", tabs), elem_id="actions", elem_classes="bare")

    def lay_out_fault(self) -> None:
        """Lay out the line that says when the home cannot be written; a public desk keeps nothing anyway."""
        if not self._desk.settings.public:
            fault = _fault(self._desk)
            self._fault = gr.Markdown(fault, visible=bool(fault), elem_id="home-fault", elem_classes="note")

    def wire(self, page: gr.Blocks) -> None:
        """Show the progress of a running run, and whether the home can be written; a public desk does neither."""
        if self._pill is None or self._known is None or self.changed is None:
            return
        outputs = [self._pill, self._fault, self._known, self.changed]
        page.load(self._on_tick, None, outputs, **QUIETLY)
        gr.Timer(INTERVAL).tick(self._on_tick, self._known, outputs, **QUIETLY)

    def _on_tick(self, known: str | None = None) -> Updates:
        """Return the updates that show the newest run that a process works on, if any, and a fault of the home.

        They have the digest of models and runs as well, if it is not the one that the page has `known`.
        """
        assert self._pill is not None, "a public desk has no runs"
        assert self._known is not None, "a public desk has no changes"
        assert self.changed is not None, "a public desk has no changes"
        runs = control.newest_first(self._desk.run_context)
        fault = _fault(self._desk)
        digest = models_digest(self._desk.library.listed_names(), runs)
        updates: Updates = {
            self._pill: next((training_pill(run) for run in runs if run.state in ACTIVE), ""),
            self._fault: gr.update(value=fault, visible=bool(fault)),
        }
        if digest != known:
            updates[self._known] = digest
            if known:
                updates[self.changed] = digest
        return updates


def models_digest(models: Iterable[str], runs: Iterable[RunInfo]) -> str:
    """Return a short text that differs once models or states of runs do; a run's further checkpoints do not count."""
    names = sorted(name for name in models if not ("@" in name and name.rpartition("@")[2].isdecimal()))
    states = sorted(f"{run.name}\n{run.state}" for run in runs)
    return hashlib.sha256("\n\n".join([*names, *states]).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _fault(desk: Desk) -> str:
    """Return the sentence on a home that cannot be written as Markdown; empty if it can be."""
    fault = home_fault(desk.settings.home)
    return f"⚠ {markdown_text(fault[0].upper() + fault[1:])}." if fault else ""


def training_pill(run: RunInfo) -> str:
    """Return the button that shows the progress of a run, as HTML."""
    status = run.status
    step = run.last.get("step")
    done = max(status.step, step if isinstance(step, int) else 0) / status.steps if status.steps else 0.0
    share = f" · {done:.0%}" if done else ""
    name = html.escape(run.name)
    return (
        f'<button type="button" id="training-pill" title="Open Train">'
        f'<span style="width:{min(done, 1):.0%}"></span>{name} {IN_WORDS[run.state]}{share}</button>'
    )
