"""Random hierarchical planner: tasks have methods, methods have steps, a step is an event or another task.

plans.txt has `task NAME A X`, then its methods, one per line: `- [condition, ...] step ; step`. A method is available
when its conditions hold. `?step` is optional, and skipped when the story is long; `C:climber` draws a person from that
list, `K=lost` sets a word; `/` begins a paragraph.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from gptdesk.starter.world.dice import Dice, zipf
from gptdesk.starter.world.frames import messages
from gptdesk.starter.world.lexicon import TEXT, Entity, article, exits, helper, lexicon, place, thing
from gptdesk.starter.world.state import PEOPLE, PLACES, THINGS, Atom, World, atoms
from gptdesk.starter.world.teller import Teller

LONG = 85  # words; from here on optional steps are skipped
OPTIONAL = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """Event or task with its arguments, and the lists from which new ones are drawn."""

    name: str
    args: tuple[tuple[str, str], ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class Method:
    """Decomposition of a task into steps, with its conditions."""

    guard: tuple[Atom, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """Task with its parameters and alternative methods."""

    parameters: tuple[str, ...]
    methods: tuple[Method, ...]


def _step(source: str) -> Step:
    name, *args = source.strip().lstrip("?").split()
    pairs = tuple((letter, sort) for letter, _, sort in (arg.replace("=", ":=").partition(":") for arg in args))
    return Step(name, pairs, source.strip()[0] == "?")


@cache
def tasks() -> dict[str, Task]:
    """Read all tasks by name from the plans*.txt files."""
    by_name: dict[str, Task] = {}
    for path in sorted(TEXT.glob("plans*.txt")):
        for block in path.read_text("utf-8").split("\ntask ")[1:]:
            header, *lines = block.splitlines()
            name, *parameters = header.split()
            methods = []
            for line in lines:
                if line.startswith("- "):
                    guard, _, steps = line[2:].rpartition("] ")
                    methods.append(Method(atoms(guard.lstrip("[")), tuple(map(_step, steps.split(";")))))
            assert name not in by_name, name
            by_name[name] = Task(tuple(parameters), tuple(methods))
    return by_name


class Planner:
    """Plans and narrates at once: `happen` applies an event to the world and passes it to the teller."""

    def __init__(self, dice: Dice, teller: Teller) -> None:
        self.dice = dice
        self.teller = teller
        self.world = World()
        self.signature: list[str] = []
        self.plot = ""
        self.drawn: list[str] = []  # the nouns of the things, places and helpers that came in
        self._first: dict[str, str] = {}  # thing and place
        self._used: set[str] = set()

    @property
    def first(self) -> tuple[str, ...]:
        """First thing and first place that were drawn, if any."""
        return tuple(self._first[sort] for sort in ("thing", "place") if sort in self._first)

    def use(self, *keys: str) -> None:
        """Reserve names: nothing else in this story is called so."""
        self._used.update(keys)

    def do(self, name: str, scope: dict[str, Entity | str]) -> None:
        """Carry out a task or an event for the variables in `scope`."""
        task = tasks().get(name)
        if task is None:
            self.happen(name, scope)
            return
        keys = _keys(scope)
        ways = [method for method in task.methods if all(self.world.holds(atom, keys) for atom in method.guard)]
        assert ways, f"no way to {name} {keys}"
        if self.teller.words > LONG:
            fewest = min(len(method.steps) for method in ways)
            ways = [method for method in ways if len(method.steps) <= fewest + 1]
        way = ways[self.dice.roll(zipf(len(ways), 10.0))]
        self.signature.append(f"{name} {task.methods.index(way)}")
        for step in way.steps:
            if step.optional and (self.teller.words > LONG or not self.dice.chance(OPTIONAL)):
                continue
            if step.name == "/":
                self.teller.paragraph()
                continue
            for letter, sort in step.args:
                if sort[:1] == "=":
                    scope[letter] = self.plot = sort[1:]
                elif sort:
                    scope[letter] = self.draw(letter, sort, scope)
            values = [scope[letter] for letter, _ in step.args]
            inner = tasks().get(step.name)
            names = inner.parameters if inner else tuple(messages()[step.name].operator.sorts)
            assert len(names) == len(values), step
            self.do(step.name, dict(zip(names, values, strict=True)))

    def possible(self, name: str, scope: dict[str, Entity | str]) -> bool:
        """Return whether the conditions of an event hold."""
        return not self.world.violations(messages()[name].operator, _keys(scope))

    def happen(self, name: str, scope: dict[str, Entity | str]) -> None:
        """Apply an event, which must be possible, and narrate it."""
        message = messages()[name]
        keys = _keys(scope)
        wrong = self.world.violations(message.operator, keys)
        assert not wrong, (name, keys, wrong, self.signature)
        self.world.apply(message.operator, keys)
        self.teller.tell(message, scope)

    def draw(self, letter: str, sort: str, scope: dict[str, Entity | str]) -> Entity | str:
        """Draw a person, thing, place or word that is new in this story; `exits.A` is a place next to A's."""
        if letter in PLACES:
            where = place(self._pick(tuple(self._places(sort, scope))))
            self._first.setdefault("place", where.key)
            return self._drawn(where)
        if letter in THINGS:
            noun = self._pick(lexicon().lists[sort])
            self._first.setdefault("thing", noun)
            return self._drawn(thing(noun, self._look(lexicon().maps[sort][noun])))
        if letter in PEOPLE:
            return self._drawn(helper(self._manner(self._pick(lexicon().lists[sort]))))
        words = lexicon().lists[sort] if "." not in sort else lexicon().keyed(*self._map_key(sort, scope))
        return self._pick(words)

    def _look(self, looks: tuple[str, ...]) -> str:
        """Draw the look of a thing, sometimes with a word for its size or state."""
        look = looks[self.dice.roll(zipf(len(looks)))]
        if "*" in look or not self.dice.chance(0.4):
            return look
        first = [word for word in lexicon().lists["first_look"] if word != look]
        return f"{first[self.dice.roll(zipf(len(first), 30.0))]} {look}"

    def _manner(self, full: str) -> str:
        """Return a helper as listed, such as "a wise toad", or draw another character."""
        kind = full.rsplit(" ", 1)[-1]
        if full[:2] not in ("a ", "an") or not self.dice.chance(0.6):
            return full
        characters = lexicon().lists["character"]
        return article(f"{characters[self.dice.roll(zipf(len(characters), 30.0))]} {kind}")

    def _drawn(self, entity: Entity) -> Entity:
        self.drawn.append(entity.key.rsplit(" ", 1)[-1])
        return entity

    def _map_key(self, sort: str, scope: dict[str, Entity | str]) -> tuple[str, str]:
        name, _, letter = sort.partition(".")
        value = scope[letter]
        return name, value.key if isinstance(value, Entity) else value

    def _places(self, sort: str, scope: dict[str, Entity | str]) -> Iterator[str]:
        name, _, letter = sort.partition(".")
        if not letter:
            yield from lexicon().lists[name]
            return
        value = scope[letter]
        key = value.key if isinstance(value, Entity) else value
        here = self.world.place.get(key, key)
        yield from lexicon().lists["place"] if here[0] == "~" else exits(here)

    def _pick(self, items: tuple[str, ...]) -> str:
        unused = [item for item in items if item.rsplit(" ", 1)[-1] not in self._used]
        item = unused[self.dice.roll(zipf(len(unused), 30.0))]
        self._used.add(item.rsplit(" ", 1)[-1])
        return item


def _keys(scope: dict[str, Entity | str]) -> dict[str, str]:
    return {letter: value.key if isinstance(value, Entity) else value for letter, value in scope.items()}
