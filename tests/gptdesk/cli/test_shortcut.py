"""`gptdesk shortcut`: the file in the menu, which opens this home with the given options."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from cli_checks import Capture

from gptdesk.__main__ import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the .desktop file is for Linux")


def command(path: Path) -> list[str]:
    line = next(line for line in path.read_text().splitlines() if line.startswith("Exec="))
    return shlex.split(line.removeprefix("Exec="))


@pytest.fixture(autouse=True)
def _menu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("GPTDESK_HOME", raising=False)


def test_a_shortcut_keeps_the_home_and_the_options(tmp_path: Path, capsys: Capture) -> None:
    home = tmp_path / "my home"
    assert main(["shortcut", "--home", str(home), "--port", "8000", "--app-window"]) == 0
    path = tmp_path / "applications" / "gptdesk.desktop"
    assert capsys.readouterr().out == f"Made {path}\n"
    assert command(path)[-5:] == ["--home", str(home), "--port", "8000", "--app-window"]
    assert path.stat().st_mode & 0o111


def test_a_shortcut_to_the_usual_home_does_not_name_it(tmp_path: Path, capsys: Capture) -> None:
    assert main(["shortcut", "--json"]) == 0
    assert command(Path(json.loads(capsys.readouterr().out)["path"]))[-1].endswith("GPT Desk.command")
