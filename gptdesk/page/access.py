"""Allow list of page events: those of a visitor of a public desk, and those of its owner alone.

An event that is in neither list stops the start of the desk, and so does an owner's event on a public desk: it must not
be registered there, rather than be hidden. docs/public.md has the same list in words; a test compares them.
"""

from collections.abc import Mapping

from gradio.blocks import BlockFunction

# Handlers by module and name, under the action that they serve.
VISITOR: dict[str, tuple[str, ...]] = {
    "open the page, and read what it shows": (
        "tabs.generate.tab:GenerateTab._on_load",
        "tabs.compare:build.load",
        "tab_links:TabLinks._relist_pickers.relist",
    ),
    "generate a text, continue it, keep one of several, undo it and stop it": (
        "tabs.generate.tab:GenerateTab._on_generate",
        "tabs.generate.tab:GenerateTab._on_show_me",
        "tabs.generate.tab:GenerateTab._continuing.extend",
        "tabs.generate.tab:GenerateTab._keeping.keep",
        "tabs.generate.tab:GenerateTab._on_example",
        "tabs.generate.tab:GenerateTab._on_undo",
        "tabs.generate.tab:GenerateTab._on_model",
        "tabs.generate.tab:GenerateTab._on_option",
        "tabs.generate.settings_panel:SettingsPanel._on_new_seed",
        "tabs.generate.settings_panel:SettingsPanel._on_seed",
        "tabs.generate.tab:GenerateTab._on_prompt",
        "long_action:LongActions._on_stop",
    ),
    "see the tokens of a text and what else could have come at each, and continue from one with another": (
        "tabs.generate.tokens.view:TokensView._opening.toggle",
        "tabs.generate.tokens.view:TokensView._on_beside",
        "tabs.generate.tokens.picked_token:PickedToken._on_pick",
        "tabs.generate.tokens.picked_token:PickedToken._on_search",
        "tabs.generate.tokens.picked_token:PickedToken._on_chain",
        "tabs.generate.tokens.picked_token:PickedToken._on_chain_flips",
        "tabs.generate.tokens.view:TokensView._on_chain_text",
        "tabs.generate.tab:GenerateTab._on_branch",
    ),
    "check a story for contradictions": ("tabs.generate.story_check:StoryCheckPanel._on_open",),
    "see the branches of a text as a tree of one's own: open, remove, undo and write them, within limits": (
        "tabs.generate.tree.view:TreeView._on_open",
        "tabs.generate.tree.view:TreeView._on_close",
        "tabs.generate.tree.view:TreeView._on_ask",
        "tabs.generate.tree.view:TreeView._on_write",
    ),
    "see the request on screen as code": ("tabs.generate.use_from_code:UseFromCode._on_ask",),
    "pick one of the desk's models, a precision, a built-in preset and samplers": (
        "pickers:ModelPicker._on_name",
        "pickers:PresetBar._on_restore",
        "pickers:PresetBar._on_reset",
        "pickers:PresetBar._on_change",
        "pickers:PresetBar._on_neutralise",
        "option_widgets:ChainPanel._show_options",
        "tabs.compare.sides:SidesPanel._shape",
        "tabs.compare.sides:SidesPanel._on_models",
        "tabs.compare.side_samplers:SideSampler._on_change",
        "tabs.compare.sides:SidesPanel._on_use_prompt",
    ),
    "compare models: watch, measure within limits, take the blind test, run a list of prompts, save the report": (
        "tabs.compare.watch:SideBySideView._on_start",
        "tabs.compare.measure:MeasureView._on_start",
        "tabs.compare.measure:MeasureView._on_heat_map",
        "tabs.compare.blind:BlindView._on_start",
        "tabs.compare.blind:BlindView._voter.cast",
        "tabs.compare.prompts:PromptsView._on_start",
    ),
    "write a sampler grid within limits, and save it": (
        "tabs.batch.grid:GridView._on_option",
        "tabs.batch.grid:GridView._on_start",
    ),
    "learn: do lessons, look inside a model, see tokens and play Shannon's game, within limits": (
        "tabs.learn:build.opened",
        "tabs.learn.lessons:LessonsView._on_lesson",
        "tabs.learn.lessons:LessonsView._on_start",
        "tabs.learn.lessons:LessonsView._on_check",
        "tabs.learn.lessons:LessonsView._on_next",
        "tabs.learn.inside:InsideView._on_show",
        "tabs.learn.inside:InsideView._on_fade",
        "tabs.learn.tokens:TokensView._on_show",
        "tabs.learn.game:GameView._on_start",
        "tabs.learn.game:GameView._on_guess",
    ),
}
OWNER: dict[str, tuple[str, ...]] = {
    "delete the votes of the blind test": ("tabs.compare.blind:BlindView._on_reset",),
    "see where the bits of a quantized model went, raise matrices and save the mixed model": (
        "tabs.compare.bits:BitsView._on_map",
        "tabs.compare.bits:BitsView._on_measure",
        "tabs.compare.bits:BitsView._on_save",
    ),
    "save and delete presets": ("pickers:PresetBar._on_save", "pickers:PresetBar._on_delete"),
    "save prompts, and insert saved ones": (
        "tabs.generate.prompts:SavedPrompts._on_save",
        "tabs.generate.prompts:SavedPrompts._on_pick",
        "tabs.generate.tab:GenerateTab._on_open",
    ),
    "make a link by which others can use the desk": (
        "share_switch:ShareSwitch._on_load",
        "share_switch:ShareSwitch._on_switch",
        "share_switch:ShareSwitch._on_create",
        "share_switch:ShareSwitch._on_tick",
    ),
    "see the progress of a running run at the top of the page": ("header:Header._on_tick",),
    "have settings and texts remembered": (
        "persistence:SavedState.remember",
        "tabs.generate.tab:GenerateTab._on_edit",
    ),
    "train: prepare a text, start, pause, stop, resume and delete runs": (
        "tabs.train:build.load",
        "tabs.train:build.fill_again",
        "tabs.train:build.open_run",
        "tabs.train.base_model:BaseModelChoice.list_again",
        "tabs.train.run_name:RunNameBox._on_leave",
        "tabs.train.form:FormView._on_base_model",
        "tabs.train.form:FormView._on_text",
        "tabs.train.form:FormView._on_starter",
        "tabs.train.form:FormView._on_time",
        "tabs.train.form:FormView._on_limits",
        "tabs.train.form:FormView._on_preview",
        "tabs.train.form:FormView.wire.begin",
        "tabs.train.library:LibraryPanel._about",
        "tabs.train.library:LibraryPanel._on_fetch",
        "tabs.train.listing:ListingView._on_open",
        "tabs.train.listing:ListingView._on_choice",
        "tabs.train.listing:ListingView._on_change",
        "tabs.train.listing:ListingView._on_ask",
        "tabs.train.listing:ListingView._on_cancel",
        "tabs.train.listing:ListingView._on_delete",
        "tabs.train.run_view:RunView.on_open",
        "tabs.train.run_view:RunView._on_tick",
        "tabs.train.run_view:RunView._on_run",
        "tabs.train.run_view:RunView._on_choice",
        "tabs.train.run_view:RunView._on_sample",
        "tabs.train.run_buttons:RunButtons._handler.handle",
        "tabs.train.run_buttons:RunButtons._on_use",
    ),
    "run batches of prompts: start, pause, stop, resume, export and delete them": (
        "tabs.batch:build.opened",
        "tabs.batch.form:BatchForm._on_file",
        "tabs.batch.form:BatchForm._on_change",
        "tabs.batch.form:BatchForm._on_start",
        "tabs.batch.jobs:JobsView._on_tick",
        "tabs.batch.jobs:JobsView._on_choice",
        "tabs.batch.jobs:JobsView._on_resume",
        "tabs.batch.jobs:JobsView._on_pause",
        "tabs.batch.jobs:JobsView._on_stop",
        "tabs.batch.jobs:JobsView._on_ask",
        "tabs.batch.jobs:JobsView._on_delete",
        "tabs.batch.jobs:JobsView._exporter.export",
    ),
    "find what was generated: open, repeat, compare, rate, export and delete it": (
        "tabs.history.view:HistoryView._on_open",
        "tabs.history.view:HistoryView._show_list",
        "tabs.history.view:HistoryView._on_older",
        "tabs.history.view:HistoryView._on_newest",
        "tabs.history.view:HistoryView._on_newest_recipe",
        "tabs.history.view:HistoryView._on_entry",
        "tabs.history.view:HistoryView._on_generate",
        "tabs.history.view:HistoryView._on_tree",
        "tabs.history.view:HistoryView._on_save",
        "tabs.history.view:HistoryView._on_delete",
        "tabs.history.view:HistoryView._on_undo",
        "tabs.history.view:HistoryView._on_export",
        "tabs.history.view:HistoryView._on_repeat",
        "tabs.history.comparing:ComparePanel._on_compare",
        "tabs.history.recipes:RecipeExport._on_recipe",
        "tabs.history.statistics:StatisticsView._on_show",
        "tabs.history.statistics:StatisticsView._on_export",
    ),
    "open a recipe, show it in Generate and run it": tuple(
        f"tabs.history.recipes:RecipeBox._on_{action}" for action in ("text", "link", "file", "open", "run", "close")
    ),
    "change settings, and see what the desk found here": (
        "tabs.settings:SettingsTab._on_open",
        "tabs.settings:SettingsTab._on_save",
        "tabs.settings:SettingsTab._on_folder",
        "tabs.settings:SettingsTab._on_edit",
    ),
    "order, rename, delete, export and import prompts and presets": tuple(
        f"tabs.saved_items_panel:SavedItemsPanel._on_{action}"
        for action in ("open", "up", "down", "delete", "undo", "rename", "export", "import")
    ),
    "manage models: look at them, use, import, export, verify, quantize, rename and remove them, open their folder, "
    "fill the form of a run from their recipe": (
        "tabs.models.view:ModelsView._on_load",
        "tabs.models.view:ModelsView._on_open",
        "tabs.models.view:ModelsView._user.use",
        "tabs.models.view:ModelsView._repeater.repeat",
        "tabs.models.view:ModelsView._on_folder",
        "tabs.models.view:ModelsView._on_choice",
        "tabs.models.view:ModelsView._on_row",
        "tabs.models.view:ModelsView._on_change",
        "tabs.models.rename_panel:RenamePanel._on_rename",
        "tabs.models.rename_panel:RenamePanel._on_ask",
        "tabs.models.rename_panel:RenamePanel._on_cancel",
        "tabs.models.rename_panel:RenamePanel._on_remove",
        "tab_links:TabLinks.open_run_list",
        "tabs.models.view:ModelsView._on_quantize",
        "tabs.models.weights_panel:WeightsPanel._on_weights",
        "tabs.models.view:ModelsView._on_verify",
        "tabs.models.export_panel:ExportPanel._on_export",
        "tabs.models.export_panel:ExportPanel._on_folder",
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
        if fn.fn is not None and handler_name(fn) not in allowed:  # without a handler, nothing is sent
            where = "a public desk" if public else "the page"
            raise RuntimeError(f"the event {handler_name(fn)} is not listed for {where} in gptdesk/page/access.py")
