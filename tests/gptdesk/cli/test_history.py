"""`gptdesk history`: lists, search, marks, export and deletion."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint

from gptdesk.__main__ import main


@pytest.fixture
def home(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    """Return a home with three entries, ids 1 to 3."""
    home = tmp_path / "home"
    monkeypatch.setenv("GPTDESK_HOME", str(home))
    shutil.copytree(tiny_folder / "tiny", home / "models" / "tiny")
    for prompt in ("a brown fox", "=1+1", "```\nfences```` <b>"):
        assert main(["generate", "--model", "tiny", "--prompt", prompt, "--max-new-tokens", "4", "--seed", "5"]) == 0
    capsys.readouterr()
    return home


@pytest.mark.usefixtures("home")
def test_entries_are_listed_searched_and_shown(capsys: Capture) -> None:
    assert [entry["id"] for entry in answer(capsys, "history", "list")] == [3, 2, 1]
    assert [entry["id"] for entry in answer(capsys, "history", "list", "--limit", "1")] == [3]
    assert [entry["prompt"] for entry in answer(capsys, "history", "search", "brown", "fo")] == ["a brown fox"]
    shown = answer(capsys, "history", "show", "1")
    assert (shown["origin"], shown["seed"], shown["request"]["max_new_tokens"]) == ("cli", 5, 4)
    assert main(["history", "list"]) == 0
    assert "tiny:float32             a brown fox | " in capsys.readouterr().out
    assert main(["history", "search", "nosuchword"]) == 0
    assert "nothing in the history fits" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_two_entries_are_compared(capsys: Capture) -> None:
    compared = answer(capsys, "history", "compare", "1", "2")
    assert [one["name"] for one in compared["settings"]] == ["prompt"]
    assert main(["history", "compare", "1", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "All settings are the same."
    for absent in ("9", "9" * 30):
        assert "there is no entry 9" in complaint(capsys, "history", "compare", "1", absent)


@pytest.mark.usefixtures("home")
def test_marks_filter_and_deletions_are_undone(capsys: Capture) -> None:
    assert main(["history", "mark", "2", "--rating", "liked", "--note", "odd", "--tag", "x", "--tag", "y"]) == 0
    [entry] = answer(capsys, "history", "list", "--rating", "liked", "--tag", "y")
    assert (entry["id"], entry["note"], entry["tags"], entry["rating"]) == (2, "odd", ["x", "y"], 1)
    assert main(["history", "mark", "2", "--rating", "none"]) == 0
    assert answer(capsys, "history", "list", "--rating", "liked") == []
    assert main(["history", "delete", "1", "2"]) == 0
    assert [entry["id"] for entry in answer(capsys, "history", "list")] == [3]
    assert main(["history", "restore", "1"]) == 0
    assert [entry["id"] for entry in answer(capsys, "history", "list")] == [3, 1]


def test_exports_are_whole_and_harmless(home: Path, capsys: Capture) -> None:
    for kind in ("json", "csv", "markdown"):
        assert main(["history", "export", "--format", kind, "--to", str(home / f"all.{kind}")]) == 0
    assert main(["history", "export"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries == json.loads((home / "all.json").read_text("utf-8"))
    texts = {entry["id"]: entry["sequences"][0]["text"] for entry in entries}
    rows = list(csv.DictReader(io.StringIO((home / "all.csv").read_bytes().decode(), newline="")))
    assert [row["prompt"] for row in rows] == ["```\nfences```` <b>", "'=1+1", "a brown fox"]
    assert rows[2]["text"].lstrip("'") == texts[1].lstrip("'")
    markdown = (home / "all.markdown").read_text("utf-8")
    assert f"`````text\n```\nfences```` <b>{texts[3]}\n`````" in markdown
    assert "exists; choose another name" in complaint(capsys, "history", "export", "--to", str(home / "all.csv"))
    assert not list(home.glob(".*.partial"))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "9"], "there is no entry 9"),
        (["show", "x"], "invalid int value: 'x'"),
        (["mark", "1"], "needs --rating, --note or --tag"),
        (["mark", "1", "--tag", "two words"], "a tag is a word"),
        (["list", "--limit", "0"], "--limit: at least 1"),
        (["list", "--since", "yesterday"], "'yesterday' is no date"),
        (["delete", "1", "9"], "there is no entry 9"),
    ],
)
def test_mistakes_are_one_line(capsys: Capture, arguments: list[str], words: str) -> None:
    assert words in complaint(capsys, "history", *arguments)


@pytest.mark.usefixtures("home")
def test_the_switch_is_said(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTDESK_HISTORY", "false")
    assert "switched off" in complaint(capsys, "history", "list")
