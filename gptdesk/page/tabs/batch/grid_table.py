"""HTML of a sampler grid: equal neighbours merged, shared beginnings paler, the first difference marked."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from gptdesk.batch.grid import Axis, Grid

GOLDEN_ANGLE = 137.508  # degrees between the hues of two texts, so that those of few texts are far apart

CSS = """
.grid-caption { margin: 4px 0 8px; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 9rem;
  overflow-y: auto; }
.sampler-grid { overflow: auto; max-height: 85vh; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); background: var(--background-fill-primary); }
.sampler-grid table { border-collapse: separate; border-spacing: 0; width: 100%; margin: 0; padding: 0;
  font-size: .875rem; }
.sampler-grid :is(table, thead, tbody, tr) { border: 0 !important; background: none !important; }
.sampler-grid :is(th, td) { text-align: left; vertical-align: top; padding: 10px 12px !important; border: 0 !important;
  border-right: 1px solid var(--border-color-primary) !important;
  border-bottom: 1px solid var(--border-color-primary) !important; }
.sampler-grid :is(th, td).end { border-right: 0 !important; }
.sampler-grid td { min-width: 180px; background: hsl(var(--hue) 65% 50% / var(--tint, 0)); }
.sampler-grid td.several { --tint: .09; }
.dark .sampler-grid td.several { --tint: .12; }
.sampler-grid th { font-weight: 700; font-variant-numeric: tabular-nums; white-space: nowrap;
  background: var(--background-fill-secondary); }
.sampler-grid th:first-child { position: sticky; left: 0; z-index: 1; }
.sampler-grid thead th { position: sticky; top: 0; z-index: 1; }
.sampler-grid thead th:first-child { z-index: 2; }
.sampler-grid th small { display: block; font-weight: 400; opacity: .8; }
.sampler-grid .number { display: inline-flex; align-items: center; gap: 6px; font-size: .75rem; margin-bottom: 5px;
  color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.sampler-grid .number b { min-width: 1.6em; padding: 1px 5px; border-radius: 999px; text-align: center;
  color: var(--body-text-color); background: hsl(var(--hue) 65% 50% / .28); }
.sampler-grid .text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55; }
.sampler-grid .shared { color: var(--body-text-color-subdued); }
.sampler-grid mark { background: rgba(249, 115, 22, .3); color: inherit; border-radius: 3px; padding: 1px 2px; }
.sampler-grid .waiting { opacity: .6; }
.copy-grid { margin-top: 8px; padding: 5px 12px; font-size: .85rem; border-radius: var(--radius-lg); cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-primary);
  color: var(--body-text-color); }
#grid-legend p { font-size: .85rem; }
"""


@dataclass(frozen=True)
class Block:
    """Rectangle of cells with the same text."""

    down: int  # indices of its first cell
    across: int
    height: int
    width: int
    group: int


def merged_blocks(groups: Sequence[Sequence[int | None]]) -> list[Block]:
    """Return rectangles that cover the cells, row by row, each of one group and as wide, then as high, as it can be.

    None is a cell of its own that is merged with no other; its block has the group -1.
    """
    height, width = len(groups), len(groups[0])
    covered: set[tuple[int, int]] = set()
    blocks = []
    for y in range(height):
        for x in range(width):
            if (y, x) in covered:
                continue
            group, right, below = groups[y][x], x + 1, y + 1
            if group is not None:
                while right < width and groups[y][right] == group and (y, right) not in covered:
                    right += 1
                while below < height and all(
                    groups[below][i] == group and (below, i) not in covered for i in range(x, right)
                ):
                    below += 1
            covered |= {(i, j) for i in range(y, below) for j in range(x, right)}
            blocks.append(Block(y, x, below - y, right - x, -1 if group is None else group))
    return blocks


def grid_html(down: Axis, across: Axis, texts: Sequence[Sequence[str | None]]) -> str:
    """Return a grid as a table; None is a text that is still to come."""
    numbers: dict[str, int] = {}
    groups = [[None if one is None else numbers.setdefault(one, len(numbers)) for one in line] for line in texts]
    by_number = list(numbers)
    blocks = merged_blocks(groups)
    first = {block.group: i for i, block in reversed(list(enumerate(blocks)))}
    counts = {number: sum(line.count(number) for line in groups) for number in range(len(by_number))}
    cells: dict[int, list[str]] = {}
    for i, block in enumerate(blocks):
        is_end = block.across + block.width == len(across.values)
        if block.group < 0:
            cells.setdefault(block.down, []).append(f'<td{_classes(end=is_end)}><span class="waiting">…</span></td>')
            continue
        text = by_number[block.group]
        body = _same(block.group) if first[block.group] != i else _text(text, by_number[0])
        cells.setdefault(block.down, []).append(_cell(block, counts[block.group], body, is_end=is_end))
    head = f"<th><small>{_name(down)} ↓</small><small>{_name(across)} →</small></th>" + "".join(
        f'<th scope="col"{_classes(end=x == across.values[-1])}>{x:g}</th>' for x in across.values
    )
    lines = "".join(
        f'<tr><th scope="row">{y:g}</th>{"".join(cells.get(i, []))}</tr>' for i, y in enumerate(down.values)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    # what scrolls can be scrolled by keys
    return f'<div class="sampler-grid" tabindex="0" role="region" aria-label="Sampler grid">{table}</div>'


def legend(grid: Grid) -> str:
    """Return how to read the table, in one sentence of Markdown; nothing if all texts are the same."""
    if not any(number for line in grid.groups for number in line):
        return ""
    return (
        "Cells with the same text have one number, and are merged where they touch. Pale: the beginning that a text "
        "shares with text 1. Marked: its first word that differs."
    )


def _name(axis: Axis) -> str:
    return html.escape(axis.option)


def _classes(*, end: bool, several: bool = False) -> str:
    names = " ".join(name for name, applies in (("end", end), ("several", several)) if applies)
    return f' class="{names}"' if names else ""


def _cell(block: Block, count: int, body: str, *, is_end: bool) -> str:
    spans = f' rowspan="{block.height}"' * (block.height > 1) + f' colspan="{block.width}"' * (block.width > 1)
    several = f" in {count} cells" if count > 1 else ""
    number = f'<div class="number"><b>{block.group + 1}</b>{several}</div>'
    style = f' style="--hue:{block.group * GOLDEN_ANGLE % 360:.0f}"'
    return f"<td{_classes(end=is_end, several=count > 1)}{spans}{style}>{number}{body}</td>"


def _same(group: int) -> str:
    return f'<div class="text shared">the same as text {group + 1}</div>'


def _text(text: str, reference: str) -> str:
    """Return a text with its beginning as in the reference paler, and its first word that differs marked."""
    if text == reference:
        return f'<div class="text">{html.escape(text) or "(empty)"}</div>'
    at = _divergence(text, reference)
    end = at
    while end < len(text) and text[end].isspace():
        end += 1
    while end < len(text) and not text[end].isspace():
        end += 1
    shared, word, rest = (html.escape(part) for part in (text[:at], text[at:end], text[end:]))
    mark = f"<mark>{word}</mark>" if word else "<mark>(ends here)</mark>"
    pale = f'<span class="shared">{shared}</span>' if shared else ""
    return f'<div class="text">{pale}{mark}{rest}</div>'


def _divergence(text: str, reference: str) -> int:
    """Return the place of the first word in `text` that is not as in the reference."""
    at = next(
        (i for i, (a, b) in enumerate(zip(text, reference, strict=False)) if a != b), min(len(text), len(reference))
    )
    while at > 0 and at < len(text) and not text[at - 1].isspace() and not text[at].isspace():
        at -= 1  # to the beginning of its word
    return at
