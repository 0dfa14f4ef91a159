"""Tree of texts: places, order, steps and limits, without a page."""

import pytest

from gptdesk.inspection.tree import MOST_STEPS, ROOT, BranchTree, Grown


def grown(text: str, mean: float | None = -1.0) -> Grown:
    return Grown(text, 0 if mean is None else len(text), mean)


def grow(tree: BranchTree, prompt: str, source: int, *texts: Grown, cut: int | None = None) -> list[int]:
    return tree.add(tree.place(prompt, source, cut=cut), texts)


def test_texts_keep_a_beginning_of_their_parents() -> None:
    tree = BranchTree("Once")
    [first] = grow(tree, "Once", ROOT, grown(" upon a time"))
    [on] = grow(tree, "Once upon a time", first, grown(", there was"))
    [other] = grow(tree, "Once upon the", on, grown(" hill"), cut=10)  # a token of the first text, not of `on`
    [late] = grow(tree, "Once upon a time, we", on, grown(" were"), cut=18)
    [edited] = grow(tree, "Once upon a time, there IS", on, grown("!"))
    texts = {node: tree.text(node) for node in (first, on, other, late, edited)}
    assert texts == {
        first: "Once upon a time",
        on: "Once upon a time, there was",
        other: "Once upon the hill",
        late: "Once upon a time, we were",
        edited: "Once upon a time, there IS!",
    }
    assert [tree.node(one).parent for one in texts] == [ROOT, first, first, on, on]
    assert [tree.node(one).kind for one in texts] == ["generated", "generated", "branched", "branched", "edited"]
    assert tree.path(late) == [ROOT, first, on, late]
    assert tree.current == edited


def test_a_branch_at_the_first_token_of_a_text_stands_beside_it() -> None:
    tree = BranchTree("A")
    [first] = grow(tree, "A", ROOT, grown(" cat"))
    [beside] = grow(tree, "A car", first, grown(" goes"), cut=1)  # shares more characters than whole tokens
    assert (tree.node(beside).parent, tree.text(beside)) == (ROOT, "A car goes")
    [another] = grow(tree, "A", ROOT, grown(" dog", -0.5))
    assert tree.children(ROOT) == [another, first, beside]


def test_siblings_stand_by_mean_log_probability() -> None:
    tree = BranchTree("")
    ids = grow(tree, "", ROOT, grown("a", -2.0), grown("b", None), grown("c", -0.5), grown("d", -2.0))
    assert [tree.text(one) for one in tree.children(ROOT)] == ["c", "a", "d", "b"]
    assert tree.current == ids[0]
    assert tree.children(ids[0]) == []


def test_the_nearest_text_begins_with_the_prompt() -> None:
    tree = BranchTree("The cat")
    first, second = grow(tree, "The cat", ROOT, grown(" sat down"), grown(" sat up"))
    assert tree.nearest("The cat sat up again", [ROOT, first, second]) == second
    assert tree.nearest("The cat slept", [first, ROOT]) == first  # the first of those that share as much
    assert tree.nearest("The dog", [first, ROOT]) is None
    assert tree.nearest("The cat sat", []) is None
    assert BranchTree("").nearest("anything", [ROOT]) == ROOT


def test_steps_are_undone_and_done_again() -> None:
    tree = BranchTree("x")
    [a] = grow(tree, "x", ROOT, grown("a"))
    [b] = grow(tree, "xa", a, grown("b"))
    tree.move(ROOT)
    tree.move(ROOT)  # no step
    assert [one.id for one in tree.remove(a).removed] == [a, b]
    assert (len(tree), tree.children(ROOT), tree.current) == (1, [], ROOT)
    assert [one.id for one in tree.undo().added] == [a, b]
    assert tree.text(b) == "xab"
    assert (tree.undo().after, tree.current) == (b, b)
    assert [one.id for one in tree.undo().removed] == [b]
    assert (tree.current, b in tree) == (a, False)
    tree.redo()
    assert (tree.current, tree.children(a)) == (b, [b])
    [c] = grow(tree, "xa", a, grown("c"))  # what was undone is gone
    assert c not in (a, b)
    with pytest.raises(ValueError, match="nothing to redo"):
        tree.redo()
    for _ in range(3):
        tree.undo()
    assert (len(tree), tree.can_undo, tree.can_redo) == (1, False, True)
    with pytest.raises(ValueError, match="nothing to undo"):
        tree.undo()


def test_removal_opens_the_parent_and_spares_the_prompt() -> None:
    tree = BranchTree("x")
    [a] = grow(tree, "x", ROOT, grown("a"))
    [b] = grow(tree, "xa", a, grown("b"))
    [c] = grow(tree, "x", ROOT, grown("c"))
    tree.remove(b)
    assert tree.current == c  # another one stays open
    tree.remove(c)
    assert tree.current == ROOT
    with pytest.raises(ValueError, match="prompt of a tree cannot be removed"):
        tree.remove(ROOT)
    for gone in (b, 99, -1):
        for action in (tree.remove, tree.move, tree.text, tree.path):
            with pytest.raises(ValueError, match="not in the tree any more"):
                action(gone)
    with pytest.raises(ValueError, match="not in the tree any more"):
        grow_below_a_removed_one(tree, a)


def grow_below_a_removed_one(tree: BranchTree, node: int) -> None:
    """As when a text is removed while another is written below it."""
    place = tree.place("xa", node)
    tree.remove(node)
    tree.add(place, [grown("late")])


def test_a_full_tree_is_one_sentence_and_stays_usable() -> None:
    tree = BranchTree("x")
    while tree.room:
        grow(tree, tree.text(tree.current), tree.current, grown("a"))  # one long line
    assert len(tree) == 10_000
    with pytest.raises(ValueError, match="at most 10,000 texts; remove a branch of it, or begin another"):
        grow(tree, "x", ROOT, grown("b"))
    assert (len(tree.text(tree.current)), len(tree.path(tree.current))) == (10_000, 10_000)
    [child] = tree.children(ROOT)
    tree.remove(child)
    grow(tree, "x", ROOT, grown("b"))
    tree.undo(), tree.undo()
    assert len(tree) == 10_000
    small = BranchTree("x", most_characters=10)
    grow(small, "x", ROOT, grown("a" * 9))
    with pytest.raises(ValueError, match="at most 10 characters"):
        small.check_room(1)


def test_steps_are_bounded_in_number_and_in_what_they_hold() -> None:
    tree = BranchTree("x", most=4)
    [a] = grow(tree, "x", ROOT, grown("a"))
    for _ in range(MOST_STEPS):
        tree.move(ROOT)
        tree.move(a)
    steps = 0
    while tree.can_undo:
        tree.undo()
        steps += 1
    assert steps == MOST_STEPS
    tree.start_at(ROOT)
    for _ in range(5):  # three texts each time
        ids = grow(tree, "x", ROOT, *[grown("b")] * (4 - len(tree)))
        for one in ids:
            tree.remove(one)
    back = 0
    while tree.can_undo:
        back += len(tree.undo().added)
    assert back == 4  # no more than a tree has
