"""Prompts and presets of one's own: order, folders, and files that bring them to another desk."""

import json
from pathlib import Path

import pytest
from cli_checks import Capture

from gptdesk.__main__ import main
from gptdesk.desk import Desk
from gptdesk.errors import NotFound
from gptdesk.saved_items import MOST
from gptdesk.settings import Settings
from samplers import Chain, build


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(Settings(home=tmp_path / "home"))
    for name in ("first", "poems/sea", "last"):
        desk.prompts.save(name, f"text of {name}")
    return desk


def test_order_and_folders_are_kept(desk: Desk) -> None:
    desk.prompts.move("last", -2)
    desk.prompts.move("first", 99)
    assert desk.prompts.rename("poems/sea", " poems / lake ") == "poems/lake"
    desk.prompts.save("last", "another text")
    again = Desk(desk.settings).prompts.read()
    assert list(again.items()) == [
        ("last", "another text"),
        ("poems/lake", "text of poems/sea"),
        ("first", "text of first"),
    ]


def test_a_file_brings_them_to_another_desk_and_replaces_nothing(desk: Desk, tmp_path: Path) -> None:
    other = Desk(Settings(home=tmp_path / "other"))
    other.prompts.save("first", "mine")
    other.prompts.save("last", "text of last")
    imported = other.prompts.import_file(desk.prompts.export())
    assert (imported.added, imported.known) == (("first (2)", "poems/sea"), 1)
    assert other.prompts.read()["first"] == "mine"
    assert other.prompts.read()["first (2)"] == "text of first"

    chain = Chain(samplers=(build("top_k", top_k=7), build("temperature", temperature=1.5)))
    desk.save_preset("seven", chain)
    other.presets.import_file(desk.presets.export())
    assert other.preset("seven") == chain


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("{", "is not a file of presets"),
        ('{"items": {}}', "is not a file of presets"),
        ('{"gptdesk": "prompts", "version": 1, "items": {}}', "is not a file of presets"),
        ('{"gptdesk": "presets", "version": 2, "items": {}}', "a newer version"),
        ('{"gptdesk": "presets", "version": 1, "items": [1]}', "has no items"),
        ('{"gptdesk": "presets", "version": 1, "items": {"a": 1}}', "'a' cannot be used: a preset is a list"),
        ('{"gptdesk": "presets", "version": 1, "items": {"a": [{"name": "gone"}]}}', "'a' cannot be used: .*gone"),
        ('{"gptdesk": "presets", "version": 1, "items": {"a\\nb": []}}', "a name of one line"),
        ('{"gptdesk": "presets", "version": 1, "items": {"Balanced": []}}', "built-in"),
    ],
)
def test_files_that_are_refused_add_nothing(desk: Desk, file: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        desk.presets.import_file(file.encode())
    assert desk.presets.read() == {}


def test_what_is_refused_changes_nothing(desk: Desk) -> None:
    before = desk.prompts.read()
    for name in ("", "  ", "a//b", "a\nb", "x" * 61):
        with pytest.raises(ValueError, match="name"):
            desk.prompts.save(name, "text")
    with pytest.raises(ValueError, match="has words"):
        desk.prompts.save("empty", " \n")
    with pytest.raises(ValueError, match="already"):
        desk.prompts.rename("first", "last")
    for use in (desk.prompts.get, desk.prompts.delete, lambda name: desk.prompts.move(name, 1)):
        with pytest.raises(NotFound, match="nosuch"):
            use("nosuch")
    many = {"gptdesk": "prompts", "version": 1, "items": {f"p{i}": "text" for i in range(MOST)}}
    with pytest.raises(ValueError, match=f"{MOST} are as many as can be kept"):
        desk.prompts.import_file(json.dumps(many).encode())
    assert desk.prompts.read() == before


def test_the_commands_do_the_same(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "home"))
    Desk(Settings(home=tmp_path / "home")).prompts.save("poems/sea", "The sea\nis wide")
    assert main(["prompts", "list"]) == 0
    assert main(["prompts", "show", "poems/sea"]) == 0
    assert capsys.readouterr().out == "poems/sea\nThe sea\nis wide\n"
    file = tmp_path / "prompts.json"
    assert main(["prompts", "export", str(file)]) == 0
    assert main(["prompts", "export", str(file)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["prompts", "delete", "poems/sea"]) == 0
    assert main(["prompts", "import", str(file)]) == 0
    assert "added 1 prompt" in capsys.readouterr().err
    assert main(["prompts", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["poems/sea"]
