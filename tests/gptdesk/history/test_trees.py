"""Trees in the history: read as they grew, pruned, with deleted and damaged entries."""

import sqlite3
from pathlib import Path

import pytest

from gptdesk.desk import Desk
from gptdesk.errors import NotFound
from gptdesk.generation import GenerationRequest, GenerationResult
from gptdesk.history import Branch, History, trees
from gptdesk.inspection.tree import ROOT
from gptdesk.settings import Settings
from models.manager import ModelKey

TINY = ModelKey("tiny")


def write(desk: Desk, prompt: str, branch: Branch | None, *, n: int = 1, seed: int = 1) -> GenerationResult:
    request = GenerationRequest(prompt=prompt, max_new_tokens=5, seed=seed, n=n)
    result = GenerationResult(n)
    for event in desk.generate(TINY, request, branch=branch):
        result.add(event)
    return result


def of(desk: Desk) -> History:
    assert desk.history is not None
    return desk.history


def first_of(desk: Desk, prompt: str, **options: int) -> tuple[Branch, GenerationResult]:
    branch = Branch(None, None, 0, "", "generated")
    return branch, write(desk, prompt, branch, **options)


def test_a_tree_is_read_again_as_it_grew(desk: Desk, home: Path) -> None:
    root, first = first_of(desk, "one", n=2)
    assert root.entry is not None
    more = Branch(root.entry, None, 3, "", "generated")  # the same prompt once more
    second = write(desk, "one", more, seed=2)
    text = "one" + first.texts[1]
    cut = Branch(root.entry, 1, len(text) - 2, "XY", "branched")
    third = write(desk, text[:-2] + "XY", cut, seed=3)
    of(desk).close()

    assert cut.entry is not None
    tree = of(Desk(Settings(home=home))).tree(cut.entry)
    assert len(tree) == 5
    node = tree.node(tree.current)
    assert tree.text(node.id) == text[:-2] + "XY" + third.texts[0]
    assert (node.entry, node.kind, node.tokens, node.seed) == ((cut.entry, 0), "branched", len(third.tokens[0]), 3)
    assert node.mean_logprob == pytest.approx(third.logprob_sums[0] / len(third.tokens[0]), abs=1e-5)
    assert node.source == "tiny:float32"
    assert node.parent is not None
    assert tree.text(node.parent) == text
    level = {tree.text(one) for one in tree.children(ROOT)}
    assert level == {"one" + one for one in (*first.texts, *second.texts)}
    assert not tree.can_undo
    whole = of(desk).tree(root.entry, 1)
    assert whole.text(whole.current) == text
    assert len(whole) == 5


def test_what_was_removed_stays_in_the_history_and_comes_back(desk: Desk) -> None:
    root, first = first_of(desk, "one", n=2)
    assert root.entry is not None
    below = Branch(root.entry, 0, 3 + len(first.texts[0]), "", "generated")
    write(desk, "one" + first.texts[0], below)
    assert below.entry is not None
    of(desk).prune([(root.entry, 0), (99, 0)], pruned=True)
    tree = of(desk).tree(below.entry)
    assert (len(tree), tree.current) == (2, ROOT)  # what followed it is out of the picture, too
    assert of(desk).count() == 2
    of(desk).prune([(root.entry, 0)], pruned=False)
    assert len(of(desk).tree(below.entry)) == 4


def test_deleted_entries_take_what_follows_out_of_the_tree(desk: Desk) -> None:
    root, first = first_of(desk, "one")
    assert root.entry is not None
    middle = Branch(root.entry, 0, 3 + len(first.texts[0]), "", "generated")
    second = write(desk, "one" + first.texts[0], middle)
    last = Branch(middle.entry, 0, 3 + len(first.texts[0] + second.texts[0]), "", "generated")
    write(desk, "one" + first.texts[0] + second.texts[0], last)
    assert middle.entry
    assert last.entry
    of(desk).delete([middle.entry])
    assert len(of(desk).tree(root.entry)) == 2
    with pytest.raises(NotFound):
        of(desk).tree(middle.entry)
    of(desk).restore([middle.entry])
    assert len(of(desk).tree(last.entry)) == 4
    with sqlite3.connect(of(desk).file) as connection:  # as `tidy` does after a day
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM generations WHERE id = ?", (middle.entry,))
    tree = of(desk).tree(last.entry)
    assert (len(tree), tree.text(ROOT)) == (2, "one" + first.texts[0] + second.texts[0])  # a tree of its own


def test_a_text_whose_parent_was_deleted_begins_a_tree_until_that_is_back(desk: Desk) -> None:
    root, first = first_of(desk, "one")
    prompt = "one" + first.texts[0]
    below = Branch(root.entry, 0, len(prompt), "", "generated")
    second = write(desk, prompt, below)
    assert root.entry is not None
    assert below.entry is not None
    of(desk).delete([root.entry])
    beside = Branch(below.entry, None, len(prompt), "", "generated")  # as a tree does that begins with it
    third = write(desk, prompt, beside, seed=2)
    assert beside.entry is not None
    tree = of(desk).tree(below.entry)
    assert (tree.text(ROOT), tree.text(tree.current)) == (prompt, prompt + second.texts[0])
    assert {tree.text(one) for one in tree.children(ROOT)} == {prompt + second.texts[0], prompt + third.texts[0]}
    of(desk).restore([root.entry])
    tree = of(desk).tree(beside.entry)
    assert (len(tree), tree.text(ROOT), tree.text(tree.current)) == (4, "one", prompt + third.texts[0])
    of(desk).delete([below.entry])
    assert len(of(desk).tree(beside.entry)) == 3  # its own place is not gone with the text beside it


def test_a_parent_that_is_gone_and_damaged_links_are_survived(desk: Desk) -> None:
    orphan = Branch(77, 0, 3, "", "generated")
    write(desk, "one", orphan)
    assert orphan.entry is not None
    assert len(of(desk).tree(orphan.entry)) == 2
    second, _ = first_of(desk, "two")
    with sqlite3.connect(of(desk).file) as connection:
        rows = [
            (orphan.entry, second.entry, 0, -5, "strange", "x"),
            (second.entry, orphan.entry, None, 9, "edited", ""),
        ]
        connection.executemany("INSERT OR REPLACE INTO branches VALUES (?, ?, ?, ?, ?, ?)", rows)
    assert len(of(desk).tree(second.entry)) <= 3  # a circle
    with pytest.raises(NotFound):
        of(desk).tree(12)


def test_a_saved_tree_beyond_the_limit_has_its_oldest_texts(desk: Desk) -> None:
    root, _ = first_of(desk, "one", n=3)
    for seed in range(2, 4):
        write(desk, "one", Branch(root.entry, None, 3, "", "generated"), n=3, seed=seed)
    assert root.entry is not None
    with sqlite3.connect(of(desk).file) as connection:
        tree = trees.read_tree(connection, root.entry, 0, most=6)
    assert (len(tree), tree.room) == (6, 0)
    assert [one.entry for one in tree.nodes()][1:4] == [(root.entry, row) for row in range(3)]
