"""Lenient parsing of the lines of metrics.jsonl and samples.jsonl: damaged values and lines are left out."""

from collections.abc import Iterable
from contextlib import suppress

from gptdesk.stored_values import is_number
from models.json_values import parse_json

COUNTS = frozenset(("step", "tokens", "steps"))  # of a line of metrics
CHECKED = COUNTS | {"train_loss", "val_loss", "learning_rate", "grad_norm", "tokens_per_second", "seconds", "epoch"}


def objects(lines: Iterable[bytes]) -> list[dict[str, object]]:
    """Return the JSON objects of lines; those that a power cut has damaged are left out."""
    parsed = []
    for line in lines:
        with suppress(ValueError):
            if isinstance(data := parse_json(line), dict):
                parsed.append(data)
    return parsed


def valid_metrics(data: dict[str, object]) -> tuple[dict[str, object], bool]:
    """Return the valid values of a line of metrics, and whether it has others."""
    good = {name: value for name, value in data.items() if name not in CHECKED or _fits(name, value)}
    return good, len(good) < len(data)


def _fits(name: str, value: object) -> bool:
    if value is None:
        return name not in COUNTS
    return is_number(value) and (name not in COUNTS or (type(value) is int and value >= 0))


def step_of(line: bytes) -> float:
    """Return the step of a line; infinity if it cannot be read."""
    for data in objects([line]):
        if isinstance(step := data.get("step"), int):
            return step
    return float("inf")
