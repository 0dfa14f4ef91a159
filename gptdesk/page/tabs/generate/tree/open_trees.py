"""Trees of the sessions: kept on the server, and read from the history where a session begins with a saved one."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gptdesk.generation import GenerationResult
from gptdesk.history import Branch, History
from gptdesk.inspection.tree import MOST_CHARACTERS, MOST_NODES, ROOT, BranchTree, Change, Grown, Place
from gptdesk.page.tabs.generate.texts import MOST_SEQUENCES
from gptdesk.page.tabs.generate.writing import Plan

MOST_PUBLIC_NODES, MOST_PUBLIC_CHARACTERS = 500, 1_000_000  # of the tree of a visitor
MOST_RECENT = 8 * MOST_SEQUENCES  # texts that may be in the cards, also after Undo


@dataclass
class OpenTree:
    """Tree of a session; None until a text is generated, or the saved one is needed."""

    tree: BranchTree | None = None
    recent: list[int] = field(default_factory=list)  # nodes that were put in the cards, the newest first
    is_shown: bool = False  # its panel is open

    @property
    def entries(self) -> list[list[int]]:
        """Recent texts by entry of the history and row, to be saved."""
        tree = self.tree
        nodes = [tree.node(one).entry for one in self.recent if one in tree] if tree else []
        return [list(entry) for entry in nodes if entry]

    def restore(self, history: History, saved: object) -> None:
        """Read the tree of saved `entries`, opened at the first; leave it where there is none any more."""
        wanted = [tuple(one) for one in saved if _is_entry(one)] if isinstance(saved, list) else []
        for number, row in wanted[:1]:
            try:
                tree = history.tree(number, row)
            except ValueError:  # deleted, or the file cannot be read
                return
            found = {one.entry: one.id for one in tree.nodes()}
            self.tree, self.recent = tree, [found[one] for one in wanted if one in found][:MOST_RECENT]

    def restore_entry(self, history: History, number: int, *, n: int, bring_back: bool) -> None:
        """Read the tree of an entry with `n` texts, opened at the first of them that is in it.

        With `bring_back`, an entry whose texts were all removed from the tree is put into it again.
        """
        entries = [[number, row] for row in range(n)]
        self.restore(history, entries)
        if bring_back and not self.recent:
            history.bring_back(number)
            self.restore(history, entries)
        if self.tree and self.recent:
            self.tree.start_at(self.recent[0])

    def show(self, nodes: Iterable[int]) -> None:
        """Put nodes first among the recent ones."""
        nodes = list(nodes)
        self.recent = [*nodes, *(one for one in self.recent if one not in nodes)][:MOST_RECENT]


def _is_entry(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value)


@dataclass(frozen=True)
class Growth:
    """Place of a generation in a tree, with its link for the history."""

    tree: BranchTree
    place: Place
    link: Branch

    @classmethod
    def of(cls, open_tree: OpenTree, plan: Plan, *, public: bool) -> "Growth":
        """Return the growth of what a plan writes: in the open tree if it belongs there, else in a new one.

        What Generate writes belongs there if it has the same prompt and there is room, what continues a text if that is
        one of the recent texts. Raises ValueError as `BranchTree.check_room`.
        """
        tree, count = open_tree.tree, plan.request.n
        if tree is not None and plan.source is None:
            if tree.text(ROOT) == plan.prompt and tree.room >= count:
                return cls._at(tree, Place(ROOT, len(plan.prompt), "", "generated"))
        elif tree is not None and plan.source is not None:
            node = tree.nearest(plan.source, open_tree.recent)
            if node is not None:
                tree.check_room(count)
                return cls._at(tree, tree.place(plan.prompt, node, cut=plan.cut))
        return cls._of_new_tree(plan.prompt, public=public)

    @classmethod
    def _of_new_tree(cls, prompt: str, *, public: bool) -> "Growth":
        most, most_characters = (MOST_PUBLIC_NODES, MOST_PUBLIC_CHARACTERS) if public else (MOST_NODES, MOST_CHARACTERS)
        tree = BranchTree(prompt, most=most, most_characters=most_characters)
        return cls(tree, Place(ROOT, len(prompt), "", "generated"), Branch(None, None, len(prompt), "", "generated"))

    @classmethod
    def _at(cls, tree: BranchTree, place: Place) -> "Growth":
        entry = tree.node(place.parent).entry
        if place.parent == ROOT:
            entries = [one.entry for one in map(tree.node, tree.children(ROOT)) if one.entry]
            link = Branch(min(entries)[0] if entries else None, None, place.kept, place.added, place.kind)
        else:
            parent, row = entry or (None, None)
            link = Branch(parent, row, place.kept, place.added, place.kind)
        return cls(tree, place, link)

    def record(self, open_tree: OpenTree, result: GenerationResult, *, source: str) -> None:
        """Add the texts of a generation to the tree, which becomes the open one; `source`: model and precision."""
        if result.start is None or not any(result.tokens) or self.place.parent not in self.tree:
            return
        rows = zip(result.texts, result.tokens, result.logprob_sums, strict=True)
        texts = [
            Grown(
                text,
                len(tokens),
                total / len(tokens) if tokens else None,
                None if self.link.entry is None else (self.link.entry, row),
            )
            for row, (text, tokens, total) in enumerate(rows)
        ]
        if open_tree.tree is not self.tree:
            open_tree.tree, open_tree.recent = self.tree, []
        fit = texts[: self.tree.room]
        open_tree.show(self.tree.add(self.place, fit, source=source, seed=result.start.seed))


def prune(history: History | None, change: Change) -> None:
    """Save what a step has removed from a tree and brought back."""
    if history is None:
        return
    for nodes, pruned in ((change.removed, True), (change.added, False)):
        if entries := [one.entry for one in nodes if one.entry]:
            history.prune(entries, pruned=pruned)
