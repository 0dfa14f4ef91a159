"""Languages of the page: the choice by a request, what is translated, and complete tables."""

import subprocess
import sys
from pathlib import Path

import pytest

from gptdesk.page.languages import choose_language
from gptdesk.page.languages.translation import translate_config, translate_markup


@pytest.mark.parametrize(
    ("accepted", "cookie", "code"),
    [
        (b"", b"", "en"),
        (b"de-DE,de;q=0.9,en;q=0.8", b"", "de"),
        (b"fr-FR, en;q=0.5, DE;q=0.7", b"", "de"),
        (b"de;q=0, fr", b"", "en"),
        (b"*, \xff;q=x, de;q=1.", b"", "de"),
        (b"de", b"a=1; gptdesk-language=en", "en"),
        (b"en", b"gptdesk-language=de", "de"),
        (b"de", b"gptdesk-language=../../x", "de"),
    ],
)
def test_a_cookie_counts_before_the_languages_of_the_browser(accepted: bytes, cookie: bytes, code: str) -> None:
    assert choose_language([(b"Accept-Language", accepted), (b"cookie", cookie)]) == code


def test_only_what_a_person_reads_is_translated() -> None:
    choices = [("Save", "Save"), ("2", 2)]
    config = {
        "components": [
            {
                "id": 1,
                "type": "radio",
                "props": {"elem_id": "Save", "label": "Save", "value": "Save", "choices": choices},
            },
            {"id": 2, "type": "dropdown", "props": {"choices": choices, "allow_custom_value": True}},
            {"id": 3, "type": "button", "props": {"value": "Save"}},
            {"id": 4, "type": "button", "props": {"value": "Save"}},
            {"id": 5, "type": "textbox", "props": {"value": "Save", "placeholder": "Save"}},
        ],
        "dependencies": [{"inputs": [4, 5]}],
    }
    props = [one["props"] for one in translate_config(config, str.upper)["components"]]
    upper = [("SAVE", "Save"), ("2", 2)]
    assert props == [
        {"elem_id": "Save", "label": "SAVE", "value": "Save", "choices": upper},
        {"choices": choices, "allow_custom_value": True},
        {"value": "SAVE"},
        {"value": "Save"},  # which an event receives
        {"value": "Save", "placeholder": "SAVE"},
    ]
    assert config["components"][2]["props"] == {"value": "Save"}
    markup = '<b id="x" title="a &lt; b">one\n two</b> three'
    assert translate_markup(markup, str.upper, html=True) == '<b id="x" title="A &lt; B">ONE TWO</b> THREE'
    assert translate_markup("### one\n\n- **two** <i>x</i>", str.upper, html=False) == "### ONE\n\n- **TWO** <i>X</i>"


def test_each_text_of_the_page_has_a_translation_and_each_translation_a_text() -> None:
    script = Path(__file__).parents[3] / "scripts" / "translations"
    listed = subprocess.run([sys.executable, script], capture_output=True, text=True, encoding="utf-8", check=False)
    assert (listed.returncode, listed.stderr) == (0, ""), listed.stdout + listed.stderr
    assert "de.json: 0 not translated" in listed.stdout
