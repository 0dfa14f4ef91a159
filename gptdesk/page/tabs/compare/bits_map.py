"""Map of layers and matrices as HTML: the KL divergence of each, in colour, and the precision it is raised to."""

import html
import math
from collections.abc import Sequence

from gptdesk.comparison.sensitivity import MatrixSensitivity
from models.gpt import GPTConfig
from models.precision import HEAD, PRECISIONS, WPE, WTE
from models.precision.mixed import ENCODINGS, levels

COLUMNS = {
    "attn.c_attn": "Attention in (c_attn)",
    "attn.c_proj": "Attention out (c_proj)",
    "mlp.c_fc": "MLP in (c_fc)",
    "mlp.c_proj": "MLP out (c_proj)",
}
TABLES = {WTE: "Token table (wte)", WPE: "Positions (wpe)", HEAD: "Output head (lm_head)"}

CSS = """
.bits { --heat: #f0932b; }
.dark .bits { --heat: #b4480f; }
.bits p { margin: 0 0 8px; font-size: .9rem; }
.bits-wide { overflow-x: auto; padding: 4px; margin: 0 -4px; }
.bits table { margin: 0 0 10px !important; border-collapse: separate;
  border-spacing: 3px; font-size: .9rem; font-variant-numeric: tabular-nums; }
.bits :is(table, thead, tbody, tr, th, td) { border: 0 !important; }
.bits th { font-weight: 400; text-align: left; padding: 2px 8px 2px 0 !important; white-space: nowrap; min-width: 140px;
  color: var(--body-text-color-subdued); }
.bits thead th { padding-left: 4px !important; }
.bits td { padding: 0 !important; min-width: 140px; text-align: center; }
.bits td button { font: inherit; width: 100%; padding: 5px 8px; border: 0; border-radius: 6px; cursor: pointer;
  color: var(--body-text-color); line-height: 1.3;
  background: color-mix(in srgb, var(--heat) calc(var(--share) * 80%), var(--background-fill-secondary)); }
.bits td button small { display: block; font-size: .8rem; }
.bits td button:hover { outline: 1px solid var(--body-text-color-subdued); }
.bits td button.raised { outline: 2px solid var(--color-accent); }
.bits td button.raised small { font-weight: 700; }
.bits td button:focus-visible { outline: 3px solid var(--color-accent); outline-offset: 1px; }
.bits .bits-worst { font: inherit; font-size: .875rem; padding: 4px 12px; border-radius: 999px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--button-secondary-text-color); margin-right: 10px; }
.bits .bits-bar { margin: 4px 0 2px; }
.bits .bits-tip { min-height: 1.4em; margin: 4px 0; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
@media (max-width: 900px) {
  .bits table { font-size: .75rem; border-spacing: 2px; }
  .bits :is(th, td), .bits thead th { min-width: 50px; white-space: normal; padding-right: 2px !important; }
  .bits td button { padding: 5px 2px; }
}
"""

# A press raises a matrix by one level, the one after the last takes it back. Arrow keys move, the tab key stops at one
# of them. The choice is in a hidden box until a button sends it.
SCRIPT = """
const all = () => [...element.querySelectorAll("td button")];
const level = button => Number(button.dataset.level);
const put = (button, at) => {
  const names = button.dataset.levels.split(" ");
  button.dataset.level = at % names.length;
  button.querySelector("small").textContent = names[level(button)];
  button.classList.toggle("raised", level(button) > 0);
};
const tell = () => {
  const raised = all().filter(level), bytes = button => button.dataset.bytes.split(" ").map(Number);
  const more = raised.reduce((sum, button) => sum + bytes(button)[level(button)] - bytes(button)[0], 0);
  const chosen = Object.fromEntries(raised.map(one => [one.dataset.matrix, one.dataset.levels.split(" ")[level(one)]]));
  const sum = element.querySelector(".bits-sum");
  if (sum) sum.textContent = `${raised.length} raised, ${(more / 1e6).toFixed(2)} MB more on disk`;
  const box = document.querySelector("#bits-raised :is(textarea, input)");
  box.value = JSON.stringify(chosen);
  box.dispatchEvent(new Event("input", {bubbles: true}));
};
element.addEventListener("click", event => {
  const cell = event.target.closest("td button"), worst = event.target.closest(".bits-worst");
  if (cell) put(cell, level(cell) + 1);
  else if (worst) {
    const left = all().filter(button => !level(button) && button.dataset.levels.includes(" "));
    if (left.length) put(left.reduce((a, b) => Number(b.dataset.kl) > Number(a.dataset.kl) ? b : a), 1);
  } else return;
  tell();
});
for (const kind of ["focusin", "mouseover"]) element.addEventListener(kind, event => {
  const cell = event.target.closest("td button"), tip = element.querySelector(".bits-tip");
  if (cell && tip) tip.textContent = cell.title;
  if (cell && kind === "focusin") for (const other of all()) other.tabIndex = other === cell ? 0 : -1;
});
element.addEventListener("keydown", event => {
  const cell = event.target.closest("td button");
  if (!cell || event.ctrlKey || event.altKey || event.metaKey) return;
  const row = cell.closest("tr"), measured = one => one.querySelector("button");
  const rows = [...element.querySelectorAll("tbody tr")].filter(measured);
  const inRow = [...row.querySelectorAll("button")], at = inRow.indexOf(cell), place = rows.indexOf(row);
  const beside = step => {
    const next = rows[place + step]?.querySelectorAll("button");
    return next && next[Math.min(at, next.length - 1)];
  };
  const moves = {ArrowRight: () => inRow[at + 1], ArrowLeft: () => inRow[at - 1], ArrowDown: () => beside(1),
    ArrowUp: () => beside(-1)};
  if (!(event.key in moves)) return;
  event.preventDefault();
  moves[event.key]()?.focus();
});
"""


def map_html(results: Sequence[MatrixSensitivity], config: GPTConfig, precision: str, *, title: str) -> str:
    """Return the map of the matrices measured so far; `title` says of which model, in plain text."""
    found = {one.matrix: one for one in results}
    largest = max((one.kl for one in results), default=0.0)
    exponent = 3 * math.floor(math.log10(largest) / 3) if largest > 0 else 0
    shapes = PRECISIONS[precision].matrices(config)

    def cell(matrix: str) -> str:
        if matrix not in found:
            return "<td>…</td>"
        names = levels(precision, matrix, config)
        return f"<td>{_button(found[matrix], names, shapes[matrix], largest=largest, exponent=exponent)}</td>"

    tables = "".join(
        f'<tr><th scope="row">{html.escape(TABLES[matrix])}</th>{cell(matrix)}</tr>'
        for matrix in TABLES
        if matrix in shapes
    )
    layers = "".join(
        f'<tr><th scope="row">Layer {i + 1} (h.{i})</th>{"".join(cell(f"h.{i}.{name}") for name in COLUMNS)}</tr>'
        for i in range(config.n_layer)
    )
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in COLUMNS.values())
    unit = f"10<sup>{exponent}</sup> nats" if exponent else "nats"
    content = (
        f'<div class="bits"><p>{html.escape(title)}: KL divergence in {unit} a token, by the weights of each matrix '
        f'alone. Press one to raise it.</p><div class="bits-wide"><table><tbody>{tables}</tbody></table>'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{layers}</tbody></table></div>"
        '<p class="bits-tip">Point at a matrix to see its figures and sizes.</p>'
        '<p class="bits-bar"><button type="button" class="bits-worst">Raise the worst one</button>'
        '<span class="bits-sum" role="status">0 raised</span></p></div>'
    )
    return content.replace('tabindex="-1"', 'tabindex="0"', 1)


def _button(
    one: MatrixSensitivity, names: Sequence[str], shape: tuple[int, int], *, largest: float, exponent: int
) -> str:
    """Return the button of a matrix (N, K), whose encodings `names` begin with its own."""
    sizes = {name: _bytes(name, shape) for name in names}
    size = ", ".join(f"{value / 1e6:.2f} MB at {name}" for name, value in sizes.items())
    tip = f"{one.matrix} at {one.encoding}: KL {one.kl:.2e} ± {one.kl_se:.1e} nats; {size}"
    # the eye compares areas of colour by their root
    share = math.sqrt(one.kl / largest) if largest else 0.0
    return (
        f'<button type="button" tabindex="-1" data-matrix="{one.matrix}" data-level="0" data-kl="{one.kl!r}" '
        f'data-levels="{" ".join(names)}" data-bytes="{" ".join(map(str, sizes.values()))}" '
        f'style="--share:{share:.3f}" title="{html.escape(tip)}">{_figure(one.kl / 10.0**exponent)}'
        f"<small>{one.encoding}</small></button>"
    )


def _bytes(name: str, shape: tuple[int, int]) -> int:
    return ENCODINGS[name].nbytes(*shape)


def _figure(value: float) -> str:
    """Return a number from 0 to 1,000 with two to three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
