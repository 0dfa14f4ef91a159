"""HTML of the Tree view: the picture of a tree, and the buttons above it."""

import html

from gptdesk.formatting import plural
from gptdesk.inspection.tree import BranchTree, Node
from gptdesk.page.tabs.generate.tree.layout import Item, layout

WIDTH, HEIGHT = 152, 62  # pixels of an item
ACROSS, DOWN = 166, 98  # from one item to the next
MINUS = "\N{MINUS SIGN}"
SNIPPET, KEPT = 60, 12  # characters of a text, and of what it keeps of the one above
KINDS = {"prompt": "Prompt", "generated": "Continued", "branched": "Another token chosen", "edited": "Edited by hand"}


def tree_html(tree: BranchTree, *, note: str = "") -> str:
    """Return the picture of a tree with its buttons; `note`: a sentence above it."""
    items = layout(tree)
    width = round(max(one.x for one in items) * ACROSS) + WIDTH
    height = max(one.y for one in items) * DOWN + HEIGHT
    path = set(tree.path(tree.current))
    boxes = "".join(_item(one, tree, path) for one in items)
    places = {one.target: one for one in items}
    ordered = sorted(items, key=lambda one: one.target in path)  # the path above the others
    lines = "".join(_line(places[one.parent], one, path) for one in ordered if one.parent is not None)
    fault = f'<p class="tree-note" role="alert">⚠ {html.escape(note)}</p>' if note else ""
    return (
        f'<section class="branch-tree" aria-label="Tree of texts">{_head(tree)}{fault}'
        f'<div class="tree-scroll"><div class="tree-items" role="tree" '
        'aria-label="Texts; arrow keys move, Enter opens one, Delete removes one" '
        f'style="width:{width}px;height:{height}px">'
        f'<svg width="{width}" height="{height}" aria-hidden="true">{lines}</svg>{boxes}</div></div></section>'
    )


def fault_html(error: object) -> str:
    """Return an error in place of a picture."""
    return f'<p class="tree-note" role="alert">⚠ {html.escape(str(error))}</p>'


def _head(tree: BranchTree) -> str:
    node = tree.node(tree.current)
    parts = [plural(len(tree) - 1, "text"), f"level {len(tree.path(node.id))} is open"]
    if node.mean_logprob is not None:
        parts.append(f"mean log-probability {_number(node)} nats")
    buttons = (
        ("undo", "Undo", tree.can_undo),
        ("redo", "Redo", tree.can_redo),
        ("remove", "Remove", node.parent is not None),
    )
    actions = "".join(
        f'<button type="button" data-do="{name}"{"" if can else " disabled"}>{text}</button>'
        for name, text, can in buttons
    )
    return (
        f'<div class="tree-head"><p>{" · ".join(parts)}</p>'
        f'<div class="tree-actions" role="group" aria-label="Steps in the tree">{actions}</div></div>'
    )


def _item(item: Item, tree: BranchTree, path: set[int]) -> str:
    is_open = item.target == tree.current and not item.hidden
    attributes = (
        f'role="treeitem" tabindex="{0 if is_open else -1}" aria-level="{item.level}" '
        f'aria-posinset="{item.position}" aria-setsize="{item.siblings}" aria-selected="{str(is_open).lower()}" '
        f'data-node="{item.target}" data-parent="{"" if item.parent is None else item.parent}" '
        f'style="left:{round(item.x * ACROSS)}px;top:{item.y * DOWN}px"'
    )
    if item.hidden:
        return f'<div class="more" {attributes}>{item.hidden:,} more</div>'
    node = tree.node(item.target)
    classes = " ".join(name for name, holds in (("on", node.id in path), ("open", is_open)) if holds)
    title = " · ".join(filter(None, (KINDS[node.kind], node.source, "" if node.seed is None else f"seed {node.seed}")))
    return (
        f'<div class="{classes}" {attributes} title="{html.escape(title)}">'
        f"<b>{_kept(tree, node)}{_snippet(node)}</b><span>{_figures(node, item)}</span></div>"
    )


def _kept(tree: BranchTree, node: Node) -> str:
    """Return the last words that a text keeps, where it leaves a part of the one above it out."""
    kept = _words(tree.branching_point(node.id, KEPT))
    return f"<i>…{html.escape(kept)}</i> " if kept else ""


def _words(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _snippet(node: Node) -> str:
    """Return the beginning of a text's own part."""
    words = _words(node.text[: 4 * SNIPPET])
    cut = "…" if len(words) > SNIPPET or len(node.text) > 4 * SNIPPET else ""
    return html.escape(words[:SNIPPET]) + cut or "<i>empty</i>"


def _figures(node: Node, item: Item) -> str:
    if node.kind == "prompt":
        return plural(item.below, "text") + " below" if item.below else "prompt"
    mean = "no tokens" if node.mean_logprob is None else f"{_number(node)} · {plural(node.tokens, 'token')}"
    return f"edited · {mean}" if node.kind == "edited" else mean


def _number(node: Node) -> str:
    return f"{node.mean_logprob:.2f}".replace("-", MINUS)


def _line(above: Item, below: Item, path: set[int]) -> str:
    x1, y1 = above.x * ACROSS + WIDTH / 2, above.y * DOWN + HEIGHT
    x2, y2 = below.x * ACROSS + WIDTH / 2, below.y * DOWN
    middle = (y1 + y2) / 2
    on = ' class="on"' if below.target in path and not below.hidden else ""
    return f'<path{on} d="M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"/>'
