"""Sampler grid: one prompt and seed, with two options of the sampler chain along the sides of a table."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import Field

from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.history import Origin
from models.manager import ModelKey
from samplers import Chain, Options, build, get

MOST_VALUES = 10  # along a side


class Axis(Options):
    """Side of a grid: an option of one of the chain's samplers, and its values."""

    option: str = Field(min_length=1, max_length=100, description="name of the option, such as top_p")
    values: tuple[float, ...] = Field(min_length=1, max_length=MOST_VALUES, description="values, distinct")


TEMPERATURE = Axis(option="temperature", values=(0.2, 0.4, 0.7, 1.0, 1.3))
TOP_P = Axis(option="top_p", values=(0.5, 0.7, 0.85, 0.95, 1.0))
SUGGESTED: dict[str, tuple[float, ...]] = {
    TEMPERATURE.option: TEMPERATURE.values,
    TOP_P.option: TOP_P.values,
    "top_k": (1, 5, 20, 50, 200),
    "min_p": (0.0, 0.02, 0.05, 0.1, 0.3),
    "typical_p": (0.2, 0.5, 0.8, 0.95, 1.0),
    "repetition_penalty": (1.0, 1.05, 1.1, 1.2, 1.5),
    "presence_penalty": (0.0, 0.2, 0.5, 1.0, 2.0),
    "frequency_penalty": (0.0, 0.2, 0.5, 1.0, 2.0),
}


def number_options(samplers: Iterable[str]) -> dict[str, str]:
    """Return the options of these samplers that are numbers, each with the name of its sampler."""
    return {
        option: name
        for name in samplers
        for option, field in get(name).model_fields.items()
        if field.annotation in (int, float)
    }


def suggested_values(option: str, sampler: str) -> tuple[float, ...]:
    """Return values for an axis: those of SUGGESTED, else five from the lower to the upper bound, else the default."""
    if option in SUGGESTED:
        return SUGGESTED[option]
    field = get(sampler).model_fields[option]
    limits = ((kind, part) for part in field.metadata for kind in ("ge", "le") if hasattr(part, kind))
    bounds = {kind: float(getattr(part, kind)) for kind, part in limits}
    if set(bounds) != {"ge", "le"}:
        return (float(field.default),)
    low, step = bounds["ge"], (bounds["le"] - bounds["ge"]) / 4
    values = [low + i * step for i in range(5)]
    return tuple(dict.fromkeys(round(value) if field.annotation is int else value for value in values))


def with_sampler(chain: Chain, sampler: str) -> Chain:
    """Return the chain with this sampler at its end, at its neutral options, unless it has one already."""
    if any(one.name == sampler for one in chain.samplers):
        return chain
    return Chain(samplers=(*chain.samplers, build(sampler, **get(sampler).neutral)))


def read_axis(option: str, values: str) -> Axis:
    """Return the axis of values separated by commas or blanks, in ascending order; ValueError for one that is none."""
    numbers = []
    for word in values.replace(",", " ").split():
        try:
            numbers.append(float(word))
        except ValueError:
            raise ValueError(f"{word!r:.40} is no number; write the values of {option} as 0.2, 0.5, 1") from None
    return Axis(option=option, values=tuple(sorted(set(numbers))))


def with_option(chain: Chain, option: str, value: float) -> Chain:
    """Return the chain with another value of an option; ValueError if no sampler of the chain has it."""
    owner = next((one for one in chain.samplers if option in type(one).model_fields), None)
    if owner is None:
        known = ", ".join(name for one in chain.samplers for name in type(one).model_fields)
        raise ValueError(f"no sampler of the chain has the option {option!r:.60}; its options are: {known or 'none'}")
    number = int(value) if type(owner).model_fields[option].annotation is int and value == int(value) else value
    options: Mapping[str, object] = dict(owner) | {option: number}
    changed = build(owner.name, **options)
    return Chain(samplers=tuple(changed if one is owner else one for one in chain.samplers))


@dataclass(frozen=True)
class Cell:
    """Text at one place of the grid."""

    down: int  # index of the value of the side
    across: int  # ... and of the top
    text: str


def grid_cells(
    desk: Desk,
    key: ModelKey,
    request: GenerationRequest,
    *,
    down: Axis,
    across: Axis,
    stop: threading.Event | None = None,
    owner: str | None = None,
    origin: Origin = "page",
) -> Iterator[Cell]:
    """Yield the cells row by row, each generated with the seed of the request; `stop` ends with whole cells.

    `owner` and `origin` as for `Desk.generate`.

    Raises ValueError before the first one for an option that the chain does not have or a value out of its range, for
    a request without a seed or with several sequences, and as `Desk.generate`.
    """
    if down.option == across.option:
        raise ValueError(f"both sides of the grid are {down.option}; choose another option for one of them")
    if request.seed is None or request.n != 1:
        raise ValueError("a grid needs one seed and one sequence for all its cells")
    # all are made before the first is generated, so that a value out of range is refused at once
    requests = [
        [
            GenerationRequest(
                **(dict(request) | {"chain": with_option(with_option(request.chain, down.option, y), across.option, x)})
            )
            for x in across.values
        ]
        for y in down.values
    ]
    for i, line in enumerate(requests):
        for j, one in enumerate(line):
            result = collect(desk.generate(key, one, stop=stop, owner=owner, origin=origin), n=1)
            if stop is not None and stop.is_set():
                return
            yield Cell(i, j, result.texts[0])


@dataclass(frozen=True)
class Grid:
    """Finished grid. `texts[i][j]` belongs to value i down and j across."""

    down: Axis
    across: Axis
    texts: tuple[tuple[str, ...], ...]

    @property
    def groups(self) -> list[list[int]]:
        """Number of the text in each cell, from 0 in the order of appearance: equal texts have the same."""
        numbers: dict[str, int] = {}
        return [[numbers.setdefault(text, len(numbers)) for text in line] for line in self.texts]

    @property
    def sentence(self) -> str:
        """Sentences on how many texts differ, where they first do, and where an option changes nothing."""
        cells = [text for line in self.texts for text in line]
        different = len(set(cells))
        if different == 1:
            return f"All {len(cells)} texts are the same."
        shared = _shared_words(cells)
        begin = {0: "They differ from the first word on", 1: "All share their first word"}.get(
            shared, f"All share their first {shared:,} words"
        )
        parts = [begin]
        rows = [len(set(line)) == 1 for line in self.texts]
        columns = [len(set(column)) == 1 for column in zip(*self.texts, strict=True)]
        for one, other, same, size in (
            (self.across.option, self.down, rows, len(columns)),
            (self.down.option, self.across, columns, len(rows)),
        ):
            count = same.index(False) if False in same else len(same)
            if count and size > 1:
                upto = "" if count == len(same) else f" up to {other.option} {other.values[count - 1]:g}"
                parts.append(f"{one} changes nothing{upto}")
        return f"{different} different texts in {len(cells)} cells. {'; '.join(parts)}."


def _shared_words(texts: list[str]) -> int:
    """Return the number of words at the beginning of all texts that are equal."""
    count = 0
    for words in zip(*(text.split() for text in texts), strict=False):
        if len(set(words)) > 1:
            break
        count += 1
    return count
