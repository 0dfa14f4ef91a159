"""Layout of a tree's picture: which texts are drawn around the open one, and where."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptdesk.inspection.tree import BranchTree

MOST_DRAWN = 150
MOST_BESIDE = 12  # variants beside each other
MOST_LEVELS = 40  # above the open text


@dataclass(frozen=True)
class Item:
    """Text of the picture, or a sign for several that are not drawn."""

    target: int  # node that it opens
    parent: int | None  # target of the item above
    hidden: int  # 0: the text itself; else the number of texts that the sign stands for
    below: int  # children, drawn or not
    level: int  # in the tree, from 1
    position: int  # among its siblings, from 1
    siblings: int
    x: float  # in widths of an item
    y: int  # in rows of the picture


def layout(tree: BranchTree) -> list[Item]:
    """Return the items of a picture, each before what is below it, siblings in their order.

    The path to the open text is drawn with its variants, then the rest as far as MOST_DRAWN texts go.
    """
    path = tree.path(tree.current)
    shown = path[-MOST_LEVELS:]
    hidden_levels = len(path) - len(shown)  # the sign for them has the first row
    higher = max(0, hidden_levels - 1)
    windows = _windows(tree, shown)
    items: list[Item] = []
    free = 0.0  # the first column without an item

    def lay(node: int, parent: int | None, y: int, position: int, siblings: int) -> float:
        nonlocal free
        at = len(items)
        items.append(Item(node, parent, 0, len(tree.children(node)), y + higher + 1, position, siblings, 0.0, y))
        columns = []
        children, first, last = windows.get(node, ((), 0, 0))
        if first > 0:
            columns.append(sign(children[first - 1], node, first, y + 1, first, len(children)))
        for i in range(first, last):
            columns.append(lay(children[i], node, y + 1, i + 1, len(children)))
        if last < len(children):
            columns.append(sign(children[last], node, len(children) - last, y + 1, last + 1, len(children)))
        if columns:
            x = (columns[0] + columns[-1]) / 2
        else:
            x, free = free, free + 1
        items[at] = replace(items[at], x=x)
        return x

    def sign(target: int, parent: int | None, hidden: int, y: int, position: int, siblings: int) -> float:
        nonlocal free
        items.append(Item(target, parent, hidden, 0, y + higher + 1, position, siblings, free, y))
        free += 1
        return free - 1

    if hidden_levels:
        above = path[-len(shown) - 1]
        sign(above, None, hidden_levels, 0, 1, 1)
        free = 0
        x = lay(shown[0], above, 1, 1, 1)
        items[0] = replace(items[0], x=x)
        return items
    lay(shown[0], None, 0, 1, 1)
    return items


def _windows(tree: BranchTree, path: Sequence[int]) -> dict[int, tuple[list[int], int, int]]:
    """Return for each text whose children are drawn these, and the first and the one after the last drawn of them."""
    windows, drawn, queue = {}, 1, deque[int]()
    for i, node in enumerate(path):
        children = tree.children(node)
        around = children.index(path[i + 1]) if i + 1 < len(path) else 0
        # the path comes first: where it has many variants, fewer of each are drawn
        most = max(1, min(MOST_BESIDE, (MOST_DRAWN - drawn) // (len(path) - i)))
        first = max(0, min(around - most // 2, len(children) - most))
        windows[node] = (children, first, min(len(children), first + most))
        drawn += windows[node][2] - first
        queue.extend(one for one in children[first : first + most] if one not in path)
    while queue and drawn < MOST_DRAWN:
        node = queue.popleft()
        children = tree.children(node)
        last = min(len(children), MOST_BESIDE, MOST_DRAWN - drawn)
        windows[node] = (children, 0, last)
        drawn += last
        queue.extend(children[:last])
    return windows
