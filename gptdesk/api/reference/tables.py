"""Tables of the page at /docs: fields of a body, samplers with their options, presets."""

import html
import json
from collections.abc import Iterable, Mapping
from typing import Any

from gptdesk.desk import Desk
from gptdesk.presets import built_in_presets
from samplers import Chain, Sampler, get

Schema = Mapping[str, Any]
EMPTY: dict[str, object] = {"array": [], "object": {}}  # value of a field that makes its default, by type
BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "more than"), ("maximum", "at most"))


def fields_table(schema: Schema) -> str:
    """Return the fields of a body with their defaults, meanings and bounds, those that are required first."""
    required = schema.get("required", ())
    fields = sorted(schema["properties"].items(), key=lambda field: field[0] not in required)
    rows = [_row(_code(name), "required" if name in required else _default(one), _meaning(one)) for name, one in fields]
    return _table("Field", "Default", "Meaning", rows=rows)


def samplers_table(desk: Desk) -> str:
    """Return the samplers that a desk offers, plugins among them, each with the options that a chain can give it."""
    return _table("Option", "Range", "Default", "Meaning", rows=map(_sampler, map(get, desk.sampler_names())))


def presets_table(desk: Desk) -> str:
    """Return the presets, on a public desk the built-in ones, each with its chain or why it cannot be used."""
    names = built_in_presets() if desk.settings.public else desk.preset_names()
    return _table("Preset", "Chain", rows=[_row(html.escape(name), _chain(desk, name)) for name in names])


def _chain(desk: Desk, name: str) -> str:
    try:
        chain: Chain = desk.preset(name)
    except ValueError as error:
        return html.escape(f"cannot be used: {error}")
    return "[" + ", ".join(_code(json.dumps(link)) for link in chain.to_data()) + "]"


def _sampler(cls: type[Sampler]) -> str:
    """Return the row of a sampler and those of its options."""
    title = (
        f'<tr><th colspan="4" scope="rowgroup">{_code(cls.name)} <span>{html.escape(cls.summary())}</span></th></tr>'
    )
    options = cls.model_json_schema().get("properties", {})
    return title + "".join(
        _row(_code(name), html.escape(_range(one)), _default(one), _words(one)) for name, one in options.items()
    )


def _range(option: Schema) -> str:
    """Return the values that an option takes, in words."""
    kind = option.get("type")
    if "enum" in option:
        return ", ".join(map(json.dumps, option["enum"]))
    if kind == "boolean":
        return "true or false"
    if kind == "string":
        return f"text, at most {_number(option['maxLength'])} characters" if "maxLength" in option else "text"
    if "minimum" in option and "maximum" in option:
        return f"{_number(option['minimum'])} to {_number(option['maximum'])}"
    return _bounds(option) or "any number"


def _meaning(field: Schema) -> str:
    """Return the description of a field with its bounds, those of one that may be null from its other alternative."""
    limits = {name: value for one in field.get("anyOf", ()) for name, value in one.items()} | {**field}
    bounds = html.escape(_bounds(limits))
    return "; ".join(filter(None, (_words(field), bounds)))


def _bounds(limits: Schema) -> str:
    return ", ".join(f"{words} {_number(limits[name])}" for name, words in BOUNDS if name in limits)


def _number(value: float) -> str:
    """Return a bound as text, exactly: a whole number without decimals."""
    return f"{int(value):,}" if int(value) == value else f"{value:g}"


def _default(field: Schema) -> str:
    """Return the default of a field, of which a schema says nothing where it is a list or an object."""
    empty = EMPTY.get(field.get("type", ""))
    return html.escape(json.dumps(field.get("default", empty)))


def _words(field: Schema) -> str:
    return html.escape(field.get("description", ""))


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _row(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _table(*heads: str, rows: Iterable[str]) -> str:
    """Return a table in a box that scrolls where the window is narrow; its columns but the last do not break."""
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return f'<div class="box" tabindex="0"><table><thead><tr>{head}</tr></thead>{"".join(rows)}</table></div>'
