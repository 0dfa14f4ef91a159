"""Origin of a model, as about.json holds it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from models import storage

ABOUT = "about.json"
SIZE_LIMIT = 1_000_000  # bytes
LARGEST_NUMBER = 1e18  # no step, token or loss comes near; JSON and the page can hold it


@dataclass(frozen=True)
class About:
    """Origin of a model in its author's words and numbers; losses in nats per token."""

    source: str = ""
    data: str = ""
    steps: int | None = None
    tokens: int | None = None
    loss: float | None = None
    validation_loss: float | None = None
    created: str = ""  # ISO 8601; the time of saving if empty
    licence: str = ""
    recipe: Mapping[str, object] | None = field(default=None, hash=False)  # of the run that trained it, as JSON


def about_to_json(about: About, *, parameters: int) -> dict[str, object]:
    """Return the content of about.json, with the present time as `created` if that is empty."""
    created = about.created or datetime.now(UTC).isoformat(timespec="seconds")
    values = asdict(replace(about, created=created))
    if about.recipe is None:
        del values["recipe"]
    return values | {"parameters": parameters}


def read_about(folder: Path) -> About:
    """Return what the about.json of `folder` says, an empty About if there is none.

    Raises ValueError, naming the field, for a value of the wrong type and for NaN, infinity and giant numbers.
    """
    file = folder / ABOUT
    if not file.exists():
        return About()
    data = storage.read_json(file, limit=SIZE_LIMIT)
    values = {one.name: data[one.name] for one in fields(About) if one.name in data}
    if not isinstance(values.get("recipe"), dict | None):
        raise ValueError(f"about.json has recipe = {values['recipe']!r:.60}, which is no object")
    for name, value in values.items():
        if name == "recipe":
            continue
        allowed = str if isinstance(getattr(About, name), str) else int | float | None
        if not isinstance(value, allowed) or isinstance(value, bool) or not _is_sane(value):
            raise ValueError(f"about.json has {name} = {value!r}, which is no {'text' if allowed is str else 'number'}")
    return About(**values)  # type: ignore[arg-type]


def _is_sane(value: object) -> bool:
    """Return whether a value is no NaN, infinity or giant number, which no JSON and no page could hold."""
    return not isinstance(value, int | float) or abs(value) < LARGEST_NUMBER
