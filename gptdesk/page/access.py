"""Allow list of page events: those of a visitor of a public desk, and those of its owner alone.

An event that is in neither list stops the start of the desk, and so does an owner's event on a public desk: it must not
be registered there, rather than be hidden. docs/public.md has the same list in words; a test compares them.
"""

from collections.abc import Mapping

from gradio.blocks import BlockFunction

# Handlers by module and name, under the action that they serve.
VISITOR: dict[str, tuple[str, ...]] = {
    "open the page, and read what it shows": (
        "tabs.generate:GenerateTab._on_load",
        "tabs.compare:build.load",
        "tab_links:TabLinks.wire.opened",
    ),
    "generate a text, continue it, undo it and stop it": (
        "tabs.generate:GenerateTab._on_generate",
        "tabs.generate:GenerateTab._on_continue",
        "tabs.generate:GenerateTab._on_example",
        "tabs.generate:GenerateTab._on_undo",
        "tabs.generate:GenerateTab._on_model",
        "tabs.generate:GenerateTab._on_prompt",
        "long_action:LongActions._on_stop",
    ),
    "pick one of the desk's models, a precision, a built-in preset and samplers": (
        "pickers:ModelPicker._precisions",
        "pickers:PresetBar._on_restore",
        "pickers:PresetBar._on_neutralise",
        "option_widgets:ChainPanel._show_options",
        "tabs.compare.sides:SidesPanel._shape",
    ),
    "compare models: watch, measure within limits, take the blind test, run a list of prompts, save the report": (
        "tabs.compare.watch:SideBySideView._on_start",
        "tabs.compare.measure:MeasureView._on_start",
        "tabs.compare.measure:MeasureView._on_heat_map",
        "tabs.compare.blind:BlindView._on_start",
        "tabs.compare.blind:BlindView._voter.cast",
        "tabs.compare.prompts:PromptsView._on_start",
    ),
}
OWNER: dict[str, tuple[str, ...]] = {
    "delete the votes of the blind test": ("tabs.compare.blind:BlindView._on_reset",),
    "save and delete presets": ("pickers:PresetBar._on_save", "pickers:PresetBar._on_delete"),
    "make a link by which others can use the desk": (
        "share_switch:ShareSwitch._on_load",
        "share_switch:ShareSwitch._on_switch",
        "share_switch:ShareSwitch._on_tick",
    ),
    "have settings and texts remembered": (
        "persistence:SavedState.remember",
        "tabs.generate:GenerateTab._on_edit",
    ),
    "train: prepare a text, start, pause, stop, resume and delete runs": (
        "tabs.train:build.load",
        "tabs.train.text_source:TextSourcePanel._on_source",
        "tabs.train.form:FormView.list_models",
        "tabs.train.form:FormView._on_base_model",
        "tabs.train.form:FormView._on_preview",
        "tabs.train.form:FormView.wire.begin",
        "tabs.train.library:LibraryPanel._about",
        "tabs.train.library:LibraryPanel._on_fetch",
        "tabs.train.listing:ListingView._on_open",
        "tabs.train.listing:ListingView._on_choice",
        "tabs.train.listing:ListingView._on_ask",
        "tabs.train.listing:ListingView._on_delete",
        "tabs.train.run_view:RunView._on_open",
        "tabs.train.run_view:RunView._on_tick",
        "tabs.train.run_view:RunView._on_run",
        "tabs.train.run_view:RunView._on_choice",
        "tabs.train.run_view:RunView._on_sample",
        "tabs.train.run_buttons:RunButtons._handler.handle",
        "tabs.train.run_buttons:RunButtons._on_use",
    ),
    "find what was generated: open, repeat, rate, export and delete it": (
        "tabs.history.view:HistoryView._on_filter",
        "tabs.history.view:HistoryView._on_older",
        "tabs.history.view:HistoryView._on_entry",
        "tabs.history.view:HistoryView._on_generate",
        "tabs.history.view:HistoryView._on_recipe",
        "tabs.history.view:HistoryView._on_save",
        "tabs.history.view:HistoryView._on_delete",
        "tabs.history.view:HistoryView._on_undo",
        "tabs.history.view:HistoryView._on_export",
        "tabs.history.view:HistoryView._on_repeat",
    ),
    "manage models: look at them, import, verify, quantize, rename and remove them, open their folder": (
        "tabs.models.view:ModelsView._on_load",
        "tabs.models.view:ModelsView._on_open",
        "tabs.models.view:ModelsView._on_folder",
        "tabs.models.view:ModelsView._on_rename",
        "tabs.models.view:ModelsView._on_ask",
        "tabs.models.view:ModelsView._on_remove",
        "tabs.models.view:ModelsView._on_quantize",
        "tabs.models.view:ModelsView._on_weights",
        "tabs.models.view:ModelsView._on_verify",
        "tabs.models.import_panel:ImportPanel._on_source",
        "tabs.models.import_panel:ImportPanel._on_import",
    ),
}


def handler_name(fn: BlockFunction) -> str:
    """Return the name by which VISITOR and OWNER list the handler of an event."""
    module = str(getattr(fn.fn, "__module__", "")).removeprefix("gptdesk.page.")
    return f"{module}:{getattr(fn.fn, '__qualname__', '').replace('.<locals>', '')}"


def check_events(fns: Mapping[int, BlockFunction], *, public: bool) -> None:
    """Raise RuntimeError for an event that is on no list, or is the owner's on a public desk."""
    allowed = {name for names in VISITOR.values() for name in names}
    if not public:
        allowed |= {name for names in OWNER.values() for name in names}
    for fn in fns.values():
        if handler_name(fn) not in allowed:
            where = "a public desk" if public else "the page"
            raise RuntimeError(f"the event {handler_name(fn)} is not listed for {where} in gptdesk/page/access.py")
