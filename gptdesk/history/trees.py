"""Trees of texts in the history: read, and pruned, within a transaction of the caller."""

import sqlite3
from collections.abc import Iterable

from gptdesk.history import rows
from gptdesk.inspection.tree import KINDS, MOST_NODES, ROOT, BranchTree, Grown, Kind, Place

# UNION, not UNION ALL, so that a cycle in a damaged file ends
FIRST = """
WITH RECURSIVE above (id) AS (
    SELECT ? UNION SELECT parent FROM branches JOIN above ON generation = above.id
    JOIN generations ON generations.id = parent WHERE row IS NULL OR deleted IS NULL
) SELECT min(id) FROM above
"""  # a parent is older than what branches from it; below a text that was deleted begins a tree of its own
ALL = """
WITH RECURSIVE tree (id) AS (
    SELECT ? UNION SELECT generation FROM branches JOIN tree ON parent = tree.id LIMIT ?
)
SELECT id, deleted IS NOT NULL, branches.parent, branches.row, kept, kind, added, model || ':' || precision, seed
FROM tree JOIN generations USING (id) LEFT JOIN branches ON generation = id ORDER BY id
"""
TEXTS = """
SELECT row, text, tokens, logprobs FROM sequences WHERE generation = ?
AND NOT EXISTS (SELECT 1 FROM pruned WHERE pruned.generation = sequences.generation AND pruned.row = sequences.row)
ORDER BY row
"""


BRING_BACK = """
WITH RECURSIVE above (generation, row) AS (
    SELECT parent, row FROM branches WHERE generation = :number
    UNION SELECT branches.parent, branches.row FROM branches JOIN above ON branches.generation = above.generation
) DELETE FROM pruned WHERE generation = :number OR (generation, row) IN (SELECT generation, row FROM above)
"""


def bring_back(connection: sqlite3.Connection, number: int) -> None:
    """Bring the texts of an entry back into their tree, with those that they branch from."""
    connection.execute(BRING_BACK, {"number": number})


def prune(connection: sqlite3.Connection, texts: Iterable[tuple[int, int]], *, pruned: bool) -> None:
    """Remove texts from their tree, or bring them back; those that are gone are left out."""
    if pruned:
        query = "INSERT OR IGNORE INTO pruned SELECT generation, row FROM sequences WHERE generation = ? AND row = ?"
    else:
        query = "DELETE FROM pruned WHERE generation = ? AND row = ?"
    connection.executemany(query, texts)


def read_tree(connection: sqlite3.Connection, number: int, row: int, *, most: int = MOST_NODES) -> BranchTree:
    """Return the tree of a text, opened there, or at its prompt if it was removed from it.

    Of a larger tree than `most`, the newest texts are left out; and with each that was deleted, what follows it, unless
    it is asked for: then it is the first of the tree.
    """
    rows.check_there(connection, number)
    (first,) = connection.execute(FIRST, (number,)).fetchone()
    (prompt,) = connection.execute("SELECT prompt FROM generations WHERE id = ?", (first,)).fetchone()
    tree, found, places = BranchTree(prompt, most=most), dict[tuple[int, int], int](), dict[int, Place]()
    for entry, is_deleted, parent, row_above, *link, source, seed in connection.execute(ALL, (first, most)).fetchall():
        if entry == first:
            place: Place | None = Place(ROOT, len(prompt), "", "generated")
        elif row_above is None:
            place = _beside(places.get(parent), *link)
        else:
            place = _below(found.get((parent, row_above)), *link)
        if place is None:
            continue
        places[entry] = place
        texts = [] if is_deleted else _texts(connection, entry)[: tree.room]
        if texts:
            ids = tree.add(place, texts, source=source, seed=seed)
            found |= {one.entry: node for one, node in zip(texts, ids, strict=True) if one.entry}
    tree.start_at(found.get((number, row), ROOT))
    return tree


def _below(node: int | None, kept: int, kind: Kind, added: str) -> Place | None:
    """Return the place below a text; None if that is not in the tree, or the link is damaged."""
    return None if node is None or kind not in KINDS else Place(node, kept, added, kind)


def _beside(place: Place | None, kept: int, kind: Kind, added: str) -> Place | None:
    """Return the place of what branches from the prompt of the generation at `place`, which may not be the tree's."""
    if place is None:
        return None
    kept_added = place.added[: max(kept - place.kept, 0)]
    return _below(place.parent, min(kept, place.kept), kind, kept_added + added)


def _texts(connection: sqlite3.Connection, entry: int) -> list[Grown]:
    """Return the texts of a generation, but for those that were removed from the tree."""
    found = []
    for row, text, tokens, logprobs in connection.execute(TEXTS, (entry,)):
        values = rows.unblob("f", logprobs)
        found.append(Grown(text, len(tokens) // 4, sum(values) / len(values) if values else None, (entry, row)))
    return found
