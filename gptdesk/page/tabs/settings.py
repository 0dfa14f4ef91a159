"""Settings tab: options with their sources, prompts and presets, this installation, room on the disk."""

from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from gptdesk.desk import Desk
from gptdesk.disk_usage import usage
from gptdesk.formatting import file_size
from gptdesk.installation import added_samplers, installation_facts
from gptdesk.markup import html_table, markdown_text
from gptdesk.page.option_widgets import QUIETLY, WITH_MESSAGES, Updates, Values, hint, label, shows_errors
from gptdesk.page.tab_links import TabLinks
from gptdesk.page.tabs.saved_items_panel import SavedItemsPanel
from gptdesk.settings import FILE, Settings, save_settings, saved_settings
from gptdesk.system.file_manager import show_folder

TITLE = "Settings"
OWNER_ONLY = True  # paths, options and plugins are the owner's
SAVED = "Saved for the next start of the desk: close it and open it again."
NO_PLUGINS = "None. A file in the folder `samplers` of the home, or an installed package, adds one."
NAMES = {  # where the option's name reads badly
    "lan": "Local network (LAN)",
    "allow_host": "Host names of a proxy",
    "share": "Public link",
    "memory_gb": "Memory (GB)",
    "idle_minutes": "Idle time (minutes)",
}
COMMAND_LINE = {  # options of `gptdesk`, which sets the others by the environment and the file alone
    "home": "--home DIR",
    "host": "--host ADDRESS",
    "lan": "--lan",
    "allow_host": "--allow-host NAME,NAME",
    "public_desk": "--public",
    "port": "--port NUMBER",
    "api_key": "--api-key KEY",
    "browser": "--no-browser",
    "app_window": "--app-window",
    "share": "--share",
}
ORDER = (
    "An option of the command line goes before a variable of the environment, and that before a line of the file "
    "`settings.json` in the home folder."
)
CSS = """
#settings-options td:nth-child(2), #settings-facts td { overflow-wrap: anywhere; }
#settings-options td:nth-child(2) { min-width: 8rem; }
#settings-options td:last-child { font-family: var(--font-mono); font-size: .82rem; min-width: 15rem; }
#settings-options tbody th { white-space: nowrap; }
"""


def build(desk: Desk, links: TabLinks) -> None:
    """Lay out the tab inside the current container and connect it."""
    SettingsTab(desk).wire(links)


class SettingsTab:
    """Widgets of the tab and their event handlers; the disk is measured when the tab is opened."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._settings = desk, desk.settings
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("Options", render_children=True):
                self._widgets = self._lay_out_options()
            with gr.Tab("Saved items", render_children=True):
                self._saved_items = SavedItemsPanel(desk)
            with gr.Tab("Installation", render_children=True):
                self._lay_out_installation()

    def _lay_out_options(self) -> dict[str, Component]:
        """Lay out the options that a page may change, and the table of all with their sources; return the former."""
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                gr.Markdown("### For the next start")
                widgets = self._option_widgets()
                self.save = gr.Button("Save", variant="primary", elem_id="settings-save")
                self.line = gr.Markdown(elem_id="settings-line", elem_classes="note")
            with gr.Column(scale=3, min_width=320):
                gr.Markdown("### Options and their sources")
                gr.Markdown(ORDER, elem_classes="note")
                self.options = gr.HTML(elem_id="settings-options", elem_classes=["figures-table", "bare"])
        return widgets

    def _lay_out_installation(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                gr.Markdown("### This installation")
                self.facts = gr.HTML(elem_id="settings-facts", elem_classes=["figures-table", "bare"])
            with gr.Column(min_width=320):
                gr.Markdown("### Samplers added")
                self.samplers = gr.Markdown(elem_id="settings-samplers")
                gr.Markdown("### Room on the disk")
                self.disk = gr.HTML(elem_id="settings-disk", elem_classes=["figures-table", "bare"])
                self.open = gr.Button("Open the home folder", size="sm", elem_id="settings-open")

    def _option_widgets(self) -> dict[str, Component]:
        """Lay out the options that a page may change: those that open the desk to others are not among them."""

        def common(name: str, info: str = "") -> dict[str, Any]:
            info = info or str(hint(Settings.model_fields[name].description)).partition(";")[0]
            return {"label": _label(name), "info": info, "elem_id": f"settings-{name.replace('_', '-')}"}

        with gr.Group():
            return {
                "device": gr.Dropdown(["auto", "cuda", "mps", "cpu"], **common("device")),
                "memory_gb": gr.Number(**common("memory_gb", "For loaded models; empty: half of all memory")),
                "idle_minutes": gr.Number(**common("idle_minutes", "Until an unused model leaves; 0: never")),
                "history": gr.Checkbox(**common("history")),
                "browser": gr.Checkbox(**common("browser")),
                "app_window": gr.Checkbox(**common("app_window")),
                "port": gr.Number(precision=0, **common("port")),
            }

    def wire(self, links: TabLinks) -> None:
        """Connect the widgets."""
        shown: list[Block] = [self.options, self.facts, self.samplers, self.disk, *self._widgets.values()]
        links.on_open(TITLE, self._on_open, set(), shown, restores=True)
        self._saved_items.wire(TITLE, links)
        self.save.click(self._on_save, set(self._widgets.values()), [self.line, self.options], **WITH_MESSAGES)
        self.open.click(self._on_folder, None, None, **WITH_MESSAGES)
        for widget in self._widgets.values():
            widget.input(self._on_edit, None, self.line, **QUIETLY)  # type: ignore[attr-defined]  # made by Gradio

    @shows_errors
    def _on_open(self, _: Values) -> Updates:
        home = self._settings.home
        saved = saved_settings(home)
        rows = [[part.kind, file_size(part.size_bytes)] for part in usage(home)]
        # what an argument or the environment gives this time is not for the file
        current = {name: saved.get(name, Settings.model_fields[name].default) for name in self._widgets}
        return {
            self.options: self._option_table(saved),
            self.facts: html_table(["", "Here"], _fact_rows(self._desk)),
            self.samplers: self._sampler_list(),
            self.disk: html_table(["Kind", "Size"], rows),
            **{widget: gr.update(value=current[name]) for name, widget in self._widgets.items()},
        }

    @shows_errors
    def _on_save(self, values: Values) -> Updates:
        changes = {name: values[widget] for name, widget in self._widgets.items()}
        defaults = {name: Settings.model_fields[name].default for name in changes}
        try:
            save_settings(
                self._settings.home,
                {name: None if value == defaults[name] else value for name, value in changes.items()},
            )
        except OSError as error:
            raise ValueError(f"the settings were not saved ({error.strerror}); make room or check {FILE}") from error
        return {self.line: SAVED, self.options: self._option_table(saved_settings(self._settings.home))}

    def _on_edit(self) -> str:
        """Return an empty line: what it says is no longer true."""
        return ""

    @shows_errors
    def _on_folder(self) -> None:
        show_folder(self._settings.home)

    def _option_table(self, saved: dict[str, object]) -> str:
        rows = []
        for name in Settings.model_fields:
            source, value = self._settings.source(name), _words(name, getattr(self._settings, name))
            if name == "memory_gb" and self._settings.memory_gb is None:
                value = f"automatic: {(self._desk.manager.memory_budget or 0) / 1e9:.1f}"
            default = Settings.model_fields[name].default
            later = saved.get(name, default) if source in ("default", str(self._settings.home / FILE)) else None
            changed = later is not None and name in self._widgets and later != getattr(self._settings, name)
            note = f" ({_words(name, later)} from the next start)" if changed else ""
            source = source.replace(str(self._settings.home / FILE), FILE)
            rows.append([_label(name), value + note, source, ways_to_set(name)])
        return html_table(["Option", "Value", "Source", "Set by"], rows)

    def _sampler_list(self) -> str:
        lines = [f"- **{markdown_text(name)}**: {origin}" for name, origin in added_samplers().items()]
        lines += [f"- ⚠ {markdown_text(warning)}" for warning in self._desk.warnings]
        return "\n".join(lines) or NO_PLUGINS


def _label(name: str) -> str:
    return NAMES.get(name) or label(name)


def ways_to_set(name: str) -> str:
    """Return the names of an option on the command line, in the environment and in the file, those that it has."""
    ways = [COMMAND_LINE.get(name, ""), f"GPTDESK_{name.upper()}", f'"{name}"' if name != "home" else ""]
    return " · ".join(filter(None, ways))


def _words(name: str, value: object) -> str:
    """Return a value as text; a key is not shown."""
    if name == "api_key":
        return "set" if value else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "automatic" if value is None else str(value) or "none"


def _fact_rows(desk: Desk) -> list[list[str]]:
    rows = []
    for name, value in installation_facts(desk).items():
        if not isinstance(value, dict):
            rows.append([name, str(value)])
        else:
            rows += [[f"{name}: {key}", words] for key, words in value.items()]
    return rows
