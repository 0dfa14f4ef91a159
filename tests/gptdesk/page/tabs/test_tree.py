"""Tree view without a browser: what is drawn around the open text, hostile texts, where generations grow."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, GenerationResult, GenerationStart
from gptdesk.history import Branch
from gptdesk.inspection.tree import ROOT, BranchTree, Grown
from gptdesk.page.tabs.generate.tree.drawing import tree_html
from gptdesk.page.tabs.generate.tree.layout import MOST_BESIDE, MOST_DRAWN, MOST_LEVELS, Item, layout
from gptdesk.page.tabs.generate.tree.open_trees import Growth, OpenTree, prune
from gptdesk.page.tabs.generate.writing import Plan
from gptdesk.settings import Settings
from models.manager import ModelKey

HOSTILE = '<img src=x onerror=pwned=5>"&\x1b[31m\u202e'


def grow(tree: BranchTree, source: int, *means: float) -> list[int]:
    texts = [Grown(f" text{mean}", 5, mean) for mean in means]
    return tree.add(tree.place(tree.text(source), source), texts)


def check_places(items: list[Item]) -> None:
    """Require that no two items overlap, and that each stands in the row below its parent's."""
    assert all(one >= 0.999 for row in range(len(items)) for one in gaps([i.x for i in items if i.y == row]))
    rows = {one.target: one.y for one in items}
    assert all(one.parent is None or one.y == rows[one.parent] + 1 for one in items)
    assert len(rows) == len(items)


def gaps(columns: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(columns)]


def test_a_small_tree_is_drawn_whole_with_siblings_in_order() -> None:
    tree = BranchTree("Once")
    first, second, third = grow(tree, ROOT, -2.0, -1.0, -3.0)
    below = grow(tree, first, -1.0, -0.5)
    grow(tree, third, -1.0)
    items = layout(tree)
    check_places(items)
    assert len(items) == len(tree) == 7
    assert [one.target for one in items if one.level == 2] == [second, first, third]
    assert [(one.position, one.siblings) for one in items if one.parent == first] == [(1, 2), (2, 2)]
    assert [one.target for one in items if one.parent == first] == below[::-1]
    page = tree_html(tree)
    assert page.count('role="treeitem"') == 7
    assert page.count('aria-selected="true"') == page.count('tabindex="0"') == 1
    assert page.count("<path") == 6


def test_a_text_names_its_seed_zero_too() -> None:
    tree = BranchTree("Once")
    tree.add(tree.place("Once", ROOT), [Grown(" upon", 1, -1.0)], source="tiny:int8", seed=0)
    assert 'title="Continued · tiny:int8 · seed 0"' in tree_html(tree)
    assert 'title="Prompt"' in tree_html(tree)


def test_of_a_large_tree_a_bounded_part_is_drawn_and_every_text_can_be_reached() -> None:
    tree = BranchTree("x")
    wide = [one for i in range(500) for one in grow(tree, ROOT, *[-0.1 * i - 0.001 * j for j in range(10)])]
    for _ in range(2_000):
        grow(tree, tree.current, -1.0)
    deep = tree.current
    items = layout(tree)
    check_places(items)
    assert len(items) < MOST_DRAWN + 3 * MOST_LEVELS
    (above,) = [one for one in items if one.parent is None]
    assert above.hidden == len(tree.path(deep)) - MOST_LEVELS
    assert (items[-1].target, items[-1].level) == (deep, len(tree.path(deep)))
    tree.move(above.target)
    tree.move(ROOT)
    # from the most probable variant to the last, by the signs at the end of the row
    seen: Counter[int] = Counter()
    while True:
        items = layout(tree)
        check_places(items)
        row = [one for one in items if one.parent == ROOT]
        assert len(row) <= MOST_BESIDE + 2
        seen.update(one.target for one in row)
        if not row[-1].hidden:
            break
        tree.move(row[-1].target)
    assert set(seen) == set(tree.children(ROOT)) == set(wide)
    assert len(tree_html(tree)) < 200_000


def test_hostile_texts_are_text() -> None:
    tree = BranchTree(HOSTILE)
    [first] = tree.add(tree.place(HOSTILE, ROOT), [Grown(HOSTILE, 3, -1.0)], source=HOSTILE, seed=7)
    tree.add(tree.place(HOSTILE + "<img", first, cut=len(HOSTILE) + 4), [Grown("", 0, None)])
    page = tree_html(tree, note=HOSTILE)
    assert set(re.findall(r"<(\w+)", page)) == {*"pib", "section", "div", "button", "svg", "path", "span"}
    assert "\x1b" not in re.sub(r'title="[^"]*"|<p class="tree-note.*?</p>', "", page)
    assert "onerror=pwned=5&gt;" in page


def test_a_branch_shows_where_it_leaves_its_parent() -> None:
    tree = BranchTree("Once")
    [first] = tree.add(tree.place("Once", ROOT), [Grown(" upon a time there", 5, -1.0)])
    tree.add(tree.place("Once upon the", first, cut=10), [Grown(" hill", 1, -2.0)])
    assert "<i>…Once upon t</i> he hill" not in tree_html(tree)  # whole tokens are kept
    assert "<i>…Once upon</i> the hill" in tree_html(tree)
    assert tree.branching_point(first, 12) == ""


# Where generations grow


def plan(prompt: str, *, source: str | None = None, cut: int | None = None, n: int = 1) -> Plan:
    return Plan(ModelKey("tiny"), GenerationRequest(n=n), prompt, source=source, cut=cut)


def result(*texts: str) -> GenerationResult:
    made = GenerationResult(len(texts))
    made.start = GenerationStart(3, 1, 0, 0, 64, "", 0.1)
    made.texts, made.tokens, made.logprob_sums = list(texts), [[1, 2]] * len(texts), [-3.0] * len(texts)
    return made


def write(open_tree: OpenTree, what: Plan, *texts: str, public: bool = False) -> Growth:
    growth = Growth.of(open_tree, what, public=public)
    growth.record(open_tree, result(*texts), source="tiny")
    return growth


def test_texts_of_one_prompt_grow_in_one_tree_and_another_prompt_begins_another() -> None:
    shown = OpenTree()
    write(shown, plan("One"), " a")
    write(shown, plan("One"), " b", " c")
    assert shown.tree is not None
    assert len(shown.tree) == 4
    assert [shown.tree.text(one) for one in shown.recent] == ["One b", "One c", "One a"]
    write(shown, plan("One c d", source="One c d"), " e")  # edited by hand, then continued
    assert [shown.tree.text(one) for one in shown.tree.path(shown.tree.current)] == ["One", "One c", "One c d e"]
    assert shown.tree.node(shown.tree.current).mean_logprob == -1.5
    before = shown.tree
    write(shown, plan("Two"), " a")
    assert shown.tree is not before
    write(shown, plan("One c d", source="One c d"), " e")  # of a tree that is not open any more
    assert len(shown.tree) == 2


def test_what_was_refused_or_wrote_nothing_leaves_the_tree_as_it_is() -> None:
    shown = OpenTree()
    write(shown, plan("One"), " a")
    tree = shown.tree
    Growth.of(shown, plan("Two"), public=False)  # and then refused
    assert shown.tree is tree
    growth = Growth.of(shown, plan("One"), public=False)
    growth.record(shown, GenerationResult(1), source="tiny")
    assert tree is not None
    assert len(tree) == 2
    late = Growth.of(shown, plan("One a", source="One a"), public=False)
    tree.remove(tree.current)
    late.record(shown, result(" b"), source="tiny")  # its parent was removed meanwhile
    assert len(tree) == 1


def test_the_tree_of_a_visitor_is_full_after_500_texts() -> None:
    shown = OpenTree()
    while shown.tree is None or shown.tree.room >= 8:
        write(shown, plan("One", n=8), *[" a"] * 8, public=True)
    tree = shown.tree
    assert len(tree) in range(493, 501)
    with pytest.raises(ValueError, match="at most 500 texts"):
        write(shown, plan("One a", source="One a", n=8), *[" b"] * 8, public=True)
    write(shown, plan("One", n=8), *[" a"] * 8, public=True)  # Generate is never refused
    assert shown.tree is not tree


def test_an_entry_that_was_removed_is_brought_back_where_it_is_opened_as_a_tree(tmp_path: Path) -> None:
    desk = Desk(Settings(home=tmp_path))
    history = desk.history
    assert history is not None

    def write_entry(prompt: str, branch: Branch) -> list[str]:
        request = GenerationRequest(prompt=prompt, max_new_tokens=3, seed=1, n=2)
        made = GenerationResult(2)
        for event in desk.generate(ModelKey("starter"), request, branch=branch):
            made.add(event)
        return [prompt + text for text in made.texts]

    def opened(number: int, *, bring_back: bool) -> str:
        open_tree = OpenTree()
        open_tree.restore_entry(history, number, n=2, bring_back=bring_back)
        assert open_tree.tree is not None
        return open_tree.tree.text(open_tree.tree.current)

    first = Branch(None, None, 0, "", "generated")
    texts = write_entry("Once", first)
    assert first.entry is not None
    below = Branch(first.entry, 1, len(texts[1]), "", "generated")
    more = write_entry(texts[1], below)
    assert below.entry is not None
    history.prune([(first.entry, 0)], pruned=True)
    assert opened(first.entry, bring_back=True) == texts[1]  # the one that is in the tree; the other stays removed
    history.prune([(first.entry, 1), (below.entry, 0), (below.entry, 1)], pruned=True)
    assert opened(below.entry, bring_back=False) == "Once"
    assert opened(below.entry, bring_back=True) == more[0]
    tree = history.tree(first.entry)
    assert {tree.text(node.id) for node in tree.nodes()} == {"Once", texts[1], *more}
    assert opened(first.entry, bring_back=False) == texts[1]
    history.close()


def test_a_saved_tree_is_found_again_with_what_was_removed(tmp_path: Path) -> None:
    desk = Desk(Settings(home=tmp_path))
    assert desk.history is not None
    shown, key = OpenTree(), ModelKey("starter")

    def generate(what: Plan) -> None:
        growth = Growth.of(shown, what, public=False)
        made = GenerationResult(what.request.n)
        for event in desk.generate(key, what.request, branch=growth.link):
            made.add(event)
        growth.record(shown, made, source=key.spelled)

    request = GenerationRequest(prompt="Once", max_new_tokens=4, seed=1, n=2)
    generate(Plan(key, request, "Once"))
    generate(Plan(key, request.model_copy(update={"seed": 2, "n": 1}), "Once"))
    assert shown.tree is not None
    text = shown.tree.text(shown.tree.current)
    more = request.model_copy(update={"prompt": text, "n": 1})
    generate(Plan(key, more, text, source=text))
    prune(desk.history, shown.tree.remove(shown.tree.children(ROOT)[0]))

    again = OpenTree()
    again.restore(desk.history, shown.entries)
    assert again.tree is not None
    shown.tree.move(ROOT)
    again.tree.move(ROOT)
    drawn = [re.sub(r'data-(node|parent)="\d*"', "", tree_html(tree)) for tree in (shown.tree, again.tree)]
    assert drawn[0].split("tree-scroll")[1] == drawn[1].split("tree-scroll")[1]  # but for the ids
    prune(desk.history, shown.tree.undo())
    prune(desk.history, shown.tree.undo())
    again.restore(desk.history, shown.entries)
    assert len(again.tree) == len(shown.tree) == 5
    for damaged in (None, 7, [7], [[1]], [["1", 0]], [[99, 0]]):
        lost = OpenTree()
        lost.restore(desk.history, damaged)
        assert lost.tree is None
    desk.history.close()
