"""Tree of texts: each keeps a beginning of its parent's text and goes on in its own way."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["prompt", "generated", "branched", "edited"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_NODES, MOST_CHARACTERS = 10_000, 50_000_000  # of a tree
MOST_STEPS = 100  # that can be undone
ROOT = 0


@dataclass(frozen=True)
class Place:
    """Place of new texts in a tree."""

    parent: int
    kept: int  # characters of the parent's text that they keep
    added: str  # what follows those in their prompt: a chosen token, or an edit by hand
    kind: Kind


@dataclass(frozen=True)
class Grown:
    """Text that a model has added to a prompt."""

    text: str
    tokens: int
    mean_logprob: float | None  # of these tokens under the raw model, nats; None: there are none
    entry: tuple[int, int] | None = None  # entry of the history, and row


@dataclass(frozen=True)
class Node:
    """One text of a tree: the first `kept` characters of its parent's, then its own."""

    id: int
    parent: int | None
    kept: int
    text: str  # its own
    kind: Kind
    tokens: int = 0  # that a model has drawn for it
    mean_logprob: float | None = None
    source: str = ""  # model and precision
    seed: int | None = None
    entry: tuple[int, int] | None = None

    @property
    def length(self) -> int:
        """Length of the whole text."""
        return self.kept + len(self.text)


@dataclass(frozen=True)
class Change:
    """Change of a tree by one step: the open text before and after it, and the texts that came and went."""

    before: int
    after: int
    added: tuple[Node, ...] = ()
    removed: tuple[Node, ...] = ()

    @property
    def reverse(self) -> "Change":
        """The step that takes this one back."""
        return Change(self.after, self.before, self.removed, self.added)


class BranchTree:
    """Texts that begin with a prompt, one of them open; the last MOST_STEPS steps can be undone.

    It has at most `most` texts of `most_characters` together, and as many again that steps to be undone bring back.
    """

    def __init__(self, prompt: str, *, most: int = MOST_NODES, most_characters: int = MOST_CHARACTERS) -> None:
        self._most, self._most_characters = most, most_characters
        self._nodes: dict[int, Node] = {}
        self._children: dict[int, list[int]] = {}
        self._characters = 0
        self._next = ROOT + 1
        self._done: deque[Change] = deque()
        self._undone: list[Change] = []
        self.current = ROOT
        self._put(Node(ROOT, None, 0, prompt, "prompt"))

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: int) -> bool:
        return node in self._nodes

    # Reading

    def node(self, node: int) -> Node:
        """Return a node; ValueError if it is not in the tree any more."""
        if node not in self._nodes:
            raise ValueError("this text is not in the tree any more; choose one of those shown")
        return self._nodes[node]

    def nodes(self) -> Iterable[Node]:
        """Return all nodes in the order of their ids."""
        return sorted(self._nodes.values(), key=lambda one: one.id)

    def path(self, node: int) -> list[int]:
        """Return the ids from the root to a node."""
        ids, parent = [node], self.node(node).parent
        while parent is not None:
            ids.append(parent)
            parent = self._nodes[parent].parent
        return ids[::-1]

    def text(self, node: int) -> str:
        """Return the whole text of a node."""
        return self._read(self.node(node), at_least=None)

    def branching_point(self, node: int, characters: int) -> str:
        """Return the last characters that a node keeps of its parent's text; "" if it keeps all of it."""
        one = self.node(node)
        if one.parent is None or one.kept == self._nodes[one.parent].length:
            return ""
        return self._read(self._nodes[one.parent], at_least=characters, end=one.kept)[-characters:]

    def _read(self, node: Node, *, at_least: int | None, end: int | None = None) -> str:
        """Return the text of a node up to the character `end`; with `at_least`, only that much of its end, or more."""
        end, parts, length = node.length if end is None else end, list[str](), 0
        while at_least is None or length < at_least:
            if end > node.kept:
                parts.append(node.text[: end - node.kept])
                length, end = length + end - node.kept, node.kept
            if node.parent is None:
                break
            node = self._nodes[node.parent]
        return "".join(reversed(parts))

    def children(self, node: int) -> list[int]:
        """Return the ids of what follows a node, by descending mean log-probability; equal ones, the oldest first."""
        return sorted(self._children.get(node, ()), key=self._rank)

    def _rank(self, node: int) -> tuple[float, int]:
        mean = self._nodes[node].mean_logprob
        return (float("inf") if mean is None else -mean, node)

    @property
    def can_undo(self) -> bool:
        """True if there is a step to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """True if there is an undone step."""
        return bool(self._undone)

    # Growing

    def nearest(self, text: str, nodes: Iterable[int]) -> int | None:
        """Return the one of these nodes whose text shares the longest beginning with `text`; None if none has a share.

        It must share the whole prompt: a text that does not begin with it belongs to another tree.
        """
        best, most = None, len(self._nodes[ROOT].text) - 1
        for node in nodes:
            if node in self._nodes and (shared := _shared(self.text(node), text)) > most:
                best, most = node, shared
        return best

    def place(self, prompt: str, source: int, *, cut: int | None = None) -> Place:
        """Return the place of what is generated from `prompt`, which begins as the text of the node `source`.

        `cut` is where another token was chosen, in characters. What keeps nothing of a node's own text goes beside it.
        """
        own = self.text(source)
        shared = _shared(own, prompt) if cut is None else min(cut, _shared(own, prompt))
        kind: Kind = "branched" if cut is not None else "generated" if prompt == own else "edited"
        node = self._nodes[source]
        while node.parent is not None and shared <= node.kept:
            node = self._nodes[node.parent]
        return Place(node.id, shared, prompt[shared:], kind)

    @property
    def room(self) -> int:
        """Number of texts that can still be added."""
        return self._most - len(self) if self._characters < self._most_characters else 0

    def check_room(self, texts: int) -> None:
        """Raise ValueError if so many more texts would be too many."""
        if texts > self.room:
            what = (
                f"{self._most:,} texts" if len(self) + texts > self._most else f"{self._most_characters:,} characters"
            )
            raise ValueError(f"a tree has at most {what}; remove a branch of it, or begin another with Generate")

    def add(self, place: Place, texts: Sequence[Grown], *, source: str = "", seed: int | None = None) -> list[int]:
        """Add texts that one generation has written, open the first of them, and return their ids.

        Raises ValueError if the parent is gone, and as `check_room`.
        """
        self.node(place.parent)
        self.check_room(len(texts))
        nodes = tuple(
            Node(
                id=self._next + i,
                parent=place.parent,
                kept=place.kept,
                text=place.added + one.text,
                kind=place.kind,
                tokens=one.tokens,
                mean_logprob=one.mean_logprob,
                source=source,
                seed=seed,
                entry=one.entry,
            )
            for i, one in enumerate(texts)
        )
        self._next += len(nodes)
        if nodes:
            self._do(Change(self.current, nodes[0].id, added=nodes))
        return [one.id for one in nodes]

    # Steps

    def move(self, node: int) -> None:
        """Open a text; ValueError if it is gone."""
        self.node(node)
        if node != self.current:
            self._do(Change(self.current, node))

    def remove(self, node: int) -> Change:
        """Remove a text and what follows it, and open its parent if it was open; ValueError for the prompt."""
        parent = self.node(node).parent
        if parent is None:
            raise ValueError("the prompt of a tree cannot be removed; remove what follows it, or write another prompt")
        found = [node]
        for one in found:  # it grows meanwhile
            found += self._children.get(one, ())
        after = parent if self.current in found else self.current
        change = Change(self.current, after, removed=tuple(self._nodes[one] for one in found))
        self._do(change)
        return change

    def undo(self) -> Change:
        """Take the last step back, and return what that did; ValueError if there is none."""
        if not self._done:
            raise ValueError("there is nothing to undo in the tree")
        change = self._done.pop()
        self._undone.append(change)
        self._apply(change.reverse)
        return change.reverse

    def redo(self) -> Change:
        """Do the last undone step again, and return it; ValueError if there is none."""
        if not self._undone:
            raise ValueError("there is nothing to redo in the tree")
        change = self._undone.pop()
        self._done.append(change)
        self._apply(change)
        return change

    def start_at(self, node: int) -> None:
        """Open a text without a step, and forget all steps: a tree that was read begins here."""
        self.current = self.node(node).id
        self._done.clear()
        self._undone.clear()

    def _do(self, change: Change) -> None:
        self._apply(change)
        self._done.append(change)
        self._undone.clear()
        while len(self._done) > MOST_STEPS or self._held_too_much():
            self._done.popleft()

    def _held_too_much(self) -> bool:
        removed = [one for change in self._done for one in change.removed]
        return len(removed) > self._most or sum(len(one.text) for one in removed) > self._most_characters

    def _apply(self, change: Change) -> None:
        for one in change.removed:
            del self._nodes[one.id]
            self._children.pop(one.id, None)
            self._characters -= len(one.text)
        for parent in self._children.keys() & {one.parent for one in change.removed}:
            self._children[parent] = [one for one in self._children[parent] if one in self._nodes]
        for one in change.added:
            self._put(one)
        self.current = change.after

    def _put(self, node: Node) -> None:
        self._nodes[node.id] = node
        self._characters += len(node.text)
        if node.parent is not None:
            self._children.setdefault(node.parent, []).append(node.id)


def _shared(first: str, second: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    least = min(len(first), len(second))
    if first[:least] == second[:least]:  # without a look at each character
        return least
    return next(i for i in range(least) if first[i] != second[i])
