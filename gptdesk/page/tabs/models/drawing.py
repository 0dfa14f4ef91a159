"""HTML of the Models tab: the list, a model's facts, files and sizes, histograms of its weights."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from gptdesk.formatting import file_size, short
from gptdesk.management import ListedModel, MemoryEstimate, when
from gptdesk.markup import html_table
from gptdesk.page.chart import Line, chart
from gptdesk.page.option_widgets import label
from models.about import About
from models.precision import PRECISIONS
from models.weight_reading import GROUPS, LayerHistogram
from models.weights import WEIGHTS

HEAD = (
    "Model",
    "Source",
    "Parameters",
    "Saved precisions",
    "Size",
    "Context",
    "Tokenizer",
    "Validation loss",
    "Saved on",
    "Last used",
)
DASH = "\N{EN DASH}"
OF_FLOATS = "(of the float model)"
QUANTIZED = {name for name, precision in PRECISIONS.items() if not precision.is_float}
CSS = """
#models-table table { white-space: nowrap; }
#models-table td:nth-child(2) { white-space: normal; min-width: 9rem; }
#models-table button { color: inherit !important; background: none !important; padding: 0 !important;
  text-decoration: underline; text-align: left; font-weight: 600; }
#models-table tbody tr { cursor: pointer; }
#models-table tbody tr:hover, #models-table tr:has([aria-current]) { background: var(--background-fill-secondary); }
#models-table tr:has([aria-current]) th { box-shadow: inset 3px 0 var(--color-accent); }
@media (max-width: 640px) {  /* a column of names, then as much as fits; each model's facts are below */
  #models-table td:nth-child(2), #models-table th:nth-child(2), #models-table :is(th, td):nth-child(n + 7),
  #models-table :is(th, td):nth-child(4) { display: none; }
  #models-table table { white-space: normal; }
  #models-table th, #models-table td { padding: 4px 6px !important; }
}
.size-bar { display: flex; height: 22px; border-radius: var(--radius-lg); overflow: hidden; }
.size-bar i { display: block; min-width: 2px; background: currentColor; }
.sizes .keys { display: flex; flex-wrap: wrap; gap: 2px 16px; margin-top: 8px; font-size: .9rem; }
.sizes .keys i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; background: currentColor;
  margin-right: 6px; }
.sizes .keys span span { color: var(--body-text-color); font-variant-numeric: tabular-nums; }
.sizes .c0 { color: #0d9488; } .sizes .c1 { color: #ea580c; } .sizes .c2 { color: #7c3aed; }
.sizes .c3 { color: #2563eb; } .sizes .c4 { color: #db2777; } .sizes .c5 { color: #65a30d; }
.sizes .c6 { color: #94a3b8; }
.model-facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 4px 24px; }
.model-facts td { overflow-wrap: anywhere; }
.model-facts summary { font-weight: 700; padding: 8px 10px; cursor: pointer; }
#models-actions { gap: 8px; }
"""

# A click anywhere in a row shows its model; the mark moves here, so that the button keeps the focus.
SCRIPT = """<script>
addEventListener("click", event => {
  const button = event.target.closest?.("#models-table tbody tr")?.querySelector("button[data-model]");
  if (!button || String(getSelection())) return;
  const marked = document.querySelectorAll("#models-table [aria-current]");
  for (const other of marked) other.removeAttribute("aria-current");
  button.setAttribute("aria-current", "true");
  window.openedModel = button.dataset.model;
  document.querySelector("#models-pick")?.click();
});
</script>"""


def model_table(models: Mapping[str, ListedModel], *, chosen: str | None) -> str:
    """Return the list of models by their titles as a table, with a button in each row that shows the model."""
    table = html_table(HEAD, [_row(title, model) for title, model in models.items()])
    for title, model in models.items():
        cell, name = html.escape(title), html.escape(model.info.name)
        mark = ' aria-current="true"' if model.info.name == chosen else ""
        button = f'<button type="button" data-model="{name}"{mark} title="Show below">{cell}</button>'
        table = table.replace(f"<tr><th>{cell}</th>", f"<tr><th>{button}</th>", 1)
    return table


def _row(title: str, model: ListedModel) -> list[str]:
    info = model.info
    if info.problem:
        return [title, f"cannot be used: {info.problem}", *[""] * (len(HEAD) - 2)]
    return [
        title,
        info.source or DASH,
        short(info.parameters),
        ", ".join(model.stored),
        file_size(info.size_bytes),
        f"{info.context:,}",
        info.tokenizer,
        _loss(model),
        when(_saved_on(info.path)),
        when(model.last_used),
    ]


def _loss(model: ListedModel) -> str:
    """Return the validation loss; that of a quantized copy was measured before it was quantized."""
    if (loss := model.info.validation_loss) is None:
        return DASH
    return f"{loss:.4f} {OF_FLOATS}" if model.stored and model.stored[0] in QUANTIZED else f"{loss:.4f}"


def _saved_on(folder: Path) -> float | None:
    """Return when the weights were written, in seconds since 1970; None if that is not known."""
    try:
        return (folder / WEIGHTS).stat().st_mtime
    except OSError:
        return None


def facts(model: ListedModel, about: About, files: Mapping[str, int], memory: Iterable[MemoryEstimate]) -> str:
    """Return what is known of a model as tables: shape, about.json, memory by precision, files."""
    info = model.info
    shape = [
        ["Folder", str(info.path)],
        ["Parameters", f"{info.parameters:,}"],
        ["Context", f"{info.context:,} tokens"],
        ["Vocabulary", f"{info.vocab_size:,} tokens"],
        ["Tokenizer", info.tokenizer],
        ["Saved precisions", ", ".join(model.stored)],
        ["Last used", when(model.last_used)],
    ]
    said = asdict(about) | {"recipe": "" if about.recipe is None else "options of the run and hash of its text"}
    told = [[label(name), _value(value)] for name, value in said.items() if value not in ("", None)]
    if model.stored[:1] and model.stored[0] in QUANTIZED:
        told = [[name, f"{value} {OF_FLOATS}" if name == "Validation loss" else value] for name, value in told]
    listed = [[name, file_size(size)] for name, size in files.items()]
    tables = [
        html_table(["Model", ""], shape),
        html_table(["about.json", ""], told or [["It says nothing.", ""]]),
        html_table(
            ["Memory of the weights", "", ""],
            [[one.precision, f"at most {file_size(one.needed)}", one.verdict] for one in memory],
        ),
        f"<details><summary>Files</summary>{html_table(['Name', 'Size'], listed)}</details>",
    ]
    return f'<div class="model-facts">{"".join(f"<div>{table}</div>" for table in tables)}</div>'


def size_bar(sizes: Mapping[str, int]) -> str:
    """Return the sizes of the groups of tensors as one bar, with a key of names, sizes and shares."""
    whole = sum(sizes.values()) or 1
    parts, keys = [], []
    for group, size in sizes.items():
        colour = f"c{GROUPS.index(group)}"
        words = f"{html.escape(group)}: {file_size(size)}, {size / whole:.1%}"
        parts.append(f'<i class="{colour}" style="width:{size / whole:.2%}" title="{words}"></i>')
        keys.append(f'<span><i class="{colour}"></i><span>{words}</span></span>')
    return (
        f'<div class="sizes"><div class="size-bar">{"".join(parts)}</div><div class="keys">{"".join(keys)}</div></div>'
    )


def histogram_charts(layers: Sequence[LayerHistogram]) -> str:
    """Return a chart for each layer: share of the weights by value."""
    figures = []
    for layer in layers:
        # percent of the weights of each group in each bin
        lines = [
            Line(group, [(x, 100 * share) for x, share in zip(layer.centres, shares, strict=True)], GROUPS.index(group))
            for group, shares in layer.shares.items()
        ]
        heading = f"{layer.title}: standard deviation {layer.deviation:.3g}, largest {layer.largest:.3g}; %"
        figures.append(chart(heading, lines, unit="value", height=110))
    return f'<div class="small-charts">{"".join(figures)}</div>'


def _value(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)
