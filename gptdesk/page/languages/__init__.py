"""Languages of the page: English in the source, a table of sentences for each other one."""

import json
import re
from collections.abc import Iterable
from functools import cache
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

ENGLISH = "en"
COOKIE = "gptdesk-language"  # what a visitor has chosen on the page; without it, the browser's language counts
LANGUAGES = {"en": "English", "de": "Deutsch"}  # own names by ISO 639-1 code; all but English have a table CODE.json
SCRIPTS = "Scripts"  # section of a table with the texts that scripts show

QUALITY = re.compile(r"\s*([a-z]{2,3})(?:-[a-z0-9-]*)?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?", re.I)


def load_sections(code: str) -> dict[str, dict[str, str]]:
    """Return the table of a language: by the part of the page, its texts by the English ones; English has none."""
    if code == ENGLISH:
        return {}
    table: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name(f"{code}.json").read_text(encoding="utf-8"))
    return table


@cache
def _table(code: str) -> dict[str, str]:
    """Return all texts of a language by the English ones."""
    return {english: text for section in load_sections(code).values() for english, text in section.items()}


def in_language_of(headers: Iterable[tuple[bytes, bytes]], text: str) -> str:
    """Return a text of the page in the language of a request; in English where its table lacks it."""
    return _table(choose_language(headers)).get(text, text)


def choose_language(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the code of the language for a request: its cookie's, else the browser's favourite that we have."""
    cookies, accepted = "", ""
    for name, value in headers:
        if name.lower() == b"cookie":
            cookies += value.decode("latin-1") + ";"
        elif name.lower() == b"accept-language":
            accepted += value.decode("latin-1") + ","
    if (chosen := _cookie(cookies)) in LANGUAGES:
        return chosen
    matches = [match for part in accepted.split(",") if (match := QUALITY.fullmatch(part))]
    wanted = sorted(matches, key=lambda match: -float(match[2] or 1))  # stable: the browser's order among equals
    return next((code for match in wanted if (code := match[1].lower()) in LANGUAGES and match[2] != "0"), ENGLISH)


def _cookie(cookies: str) -> str:
    try:
        cookie = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
