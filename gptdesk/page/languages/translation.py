"""Translation of a built page: its configuration, as Gradio sends it to the browser, in another language."""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PROPERTIES = ("label", "info", "placeholder")
STATIC = {"button", "markdown", "html"}  # widgets whose value is a text of the page
WITH_CHOICES = {"radio", "checkboxgroup", "dropdown"}

# Pieces of a Markdown or HTML value between which texts stand: tags, ends of lines, marks of headings and list items.
HTML_TAG = re.compile(r"(<[^>]*>)")
MARKDOWN_MARK = re.compile(r"(<[^>]*>|\n+|^#+ +|^- +)", re.M)
ATTRIBUTE = re.compile(r'\b(title|aria-label|placeholder|alt)="([^"]*)"')
WORD = re.compile(r"[^\W\d_]{2}")

Say = Callable[[str], str]  # a text of the page -> the same in another language


def texts_of(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of a page that a person reads."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    translate_config(config, note)
    for text in dict.fromkeys(found):
        if WORD.search(text):
            yield text


def translate_config(config: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Return the configuration of a page with its texts changed by `say`; all values and ids stay as they are."""
    sent = {id for event in config["dependencies"] for id in event["inputs"]}  # whose values handlers receive
    components = []
    for component in config["components"]:
        props = translate_props(component["type"], component["props"], say, value=component["id"] not in sent)
        components.append({**component, "props": props})
    return {**config, "components": components}


def translate_props(kind: str, props: Mapping[str, Any], say: Say, *, value: bool) -> dict[str, Any]:
    """Return the properties of a widget with their texts changed; those of its value only where `value` is true."""
    changed = dict(props)
    for name in PROPERTIES:
        if isinstance(text := props.get(name), str) and text:
            changed[name] = say(text)
    if kind in WITH_CHOICES and not props.get("allow_custom_value"):  # there, the name of a choice is a value
        changed["choices"] = [(say(name) if isinstance(name, str) else name, one) for name, one in props["choices"]]
    if value and kind in STATIC and isinstance(text := props.get("value"), str) and text:
        changed["value"] = say(text) if kind == "button" else translate_markup(text, say, html=kind == "html")
    return changed


def translate_markup(markup: str, say: Say, *, html: bool) -> str:
    """Return HTML, or else Markdown, with the texts between its tags and in their attributes changed."""
    pieces = (HTML_TAG if html else MARKDOWN_MARK).split(markup)
    return "".join(
        ATTRIBUTE.sub(lambda match: _attribute(match, say), piece) if index % 2 else _piece(piece, say)
        for index, piece in enumerate(pieces)
    )


def _piece(piece: str, say: Say) -> str:
    text = " ".join(piece.split())
    if not text:
        return piece
    start, end = len(piece) - len(piece.lstrip()), len(piece.rstrip())
    return piece[:start] + say(text) + piece[end:]


def _attribute(match: re.Match[str], say: Say) -> str:
    return f'{match[1]}="{html.escape(say(html.unescape(match[2])))}"' if match[2] else match[0]
