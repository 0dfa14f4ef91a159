"""`gptdesk models show, rename, remove, verify, disk` and `gptdesk uninstall`."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint
from training_checks import plan, text_of, write_text

from gptdesk import management
from gptdesk.__main__ import main
from gptdesk.desk import Desk
from gptdesk.disk_usage import OTHER, kind_of, size_of, usage
from gptdesk.settings import Settings
from gptdesk.training import control
from gptdesk.training.lock import training_lock
from models.manager import ModelKey


@pytest.fixture
def home(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with a model `tiny`."""
    home = tmp_path / "home"
    monkeypatch.setenv("GPTDESK_HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shutil.copytree(tiny_folder / "tiny", home / "models" / "tiny")
    return home


def test_a_model_is_shown_renamed_verified_and_removed(home: Path, capsys: Capture) -> None:
    shown = answer(capsys, "models", "show", "tiny")
    assert shown["about"]["source"] == shown["source"] == "tests/conftest.py"
    assert shown["files"]["model.safetensors"] > sum(shown["tensor_groups"].values()) > 100_000
    assert [one["precision"] for one in shown["memory"]] == shown["precisions"]
    assert shown["memory"][0]["verdict"] == "fits"
    assert main(["models", "show", "tiny"]) == 0
    words = capsys.readouterr().out
    assert all(part in words for part in ("tests/conftest.py", "Token table", "model.safetensors", "float32:"))

    assert answer(capsys, "models", "rename", "tiny", "small")["name"] == "small"
    assert "there is no model 'tiny'" in complaint(capsys, "models", "show", "tiny")
    assert "small comes with" not in complaint(capsys, "models", "rename", "small", "starter")
    assert "cannot be a model" in complaint(capsys, "models", "rename", "small", "x" * 300)

    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("small is whole: ")
    weights = home / "models" / "small" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    assert main(["models", "verify", "starter", "small", "--json"]) == 1
    starter, small = json.loads(capsys.readouterr().out)
    assert (starter["problem"], "not finite numbers" in small["problem"]) == (None, True)
    (home / "models" / "small" / "config.json").write_text("{")
    assert main(["models", "show", "small"]) == 1
    assert "cannot be used" in capsys.readouterr().out

    assert answer(capsys, "models", "remove", "small")["size_bytes"] > 100_000
    assert list((home / "models").iterdir()) == []
    for name in ("starter", "../models"):
        complaint(capsys, "models", "remove", name)


def test_a_model_that_a_run_trains_from_stays_until_that_ends(home: Path, tmp_path: Path, capsys: Capture) -> None:
    context = Desk(Settings(home=home)).run_context
    write_text(tmp_path / "text.txt")
    chosen = plan("book")
    chosen = chosen.model_copy(update={"model": chosen.model.model_copy(update={"start": "tiny"})})
    control.create(context, chosen, text=text_of(tmp_path))
    with training_lock(home, "book"):
        for change in (("rename", "tiny", "small"), ("remove", "tiny")):
            line = complaint(capsys, "models", *change)
            assert "the run book trains from tiny, which cannot be" in line
        answer(capsys, "models", "quantize", "tiny", "--precision", "int8")
        answer(capsys, "models", "remove", "tiny-int8")
    answer(capsys, "models", "remove", "tiny")


def test_the_app_and_the_command_see_each_others_changes(home: Path, capsys: Capture) -> None:
    desk = Desk(Settings(home=home))
    with desk.manager.lend(ModelKey("tiny")):
        answer(capsys, "models", "rename", "tiny", "small")
        assert [info.name for info in desk.library.available()] == ["small", "starter"]
    management.rename(desk.run_context, desk.manager, "small", "tiny")
    with pytest.raises(ValueError, match="there is no model 'small'"):
        management.remove(desk.run_context, desk.manager, "small")
    assert {model["name"] for model in answer(capsys, "models", "list")} == {"starter", "tiny"}


def test_disk_counts_everything_once(home: Path, capsys: Capture) -> None:
    for name, size in {"env/lib.so": 30_000, "copies/a": 20_000, "cache/t": 10_000, "letter.txt": 5_000}.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_bytes(b"x" * size)
    os.link(home / "env" / "lib.so", home / "env" / "again.so")
    (home / "env" / "link").symlink_to("/usr")
    parts = {part["kind"]: part["size_bytes"] for part in answer(capsys, "models", "disk")["parts"]}
    assert 30_000 <= parts["environments"] < 50_000
    assert parts["quantized copies"] >= 20_000
    assert parts[OTHER] >= 5_000
    assert parts["models"] >= 100_000
    assert sum(part.size_bytes for part in usage(home)) == sum(parts.values())
    assert main(["models", "disk"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert size_of(home / "nowhere") == 0
    assert {kind_of(name) for name in ("env", "env-test", "env.tmp-12", "launch.lock")} == {"environments"}
    assert kind_of("page.json.damaged") == kind_of("training.lock") == "settings"
    assert kind_of("environment") == kind_of("models2") == OTHER


# Uninstall


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("answered", ["yes\n", "", "no\n", "--yes"])
def test_uninstall_asks_once_and_deletes_what_is_the_desks(
    home: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, answered: str
) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(home / "models" / "tiny", outside)
    (home / "models" / "linked").symlink_to(outside)
    (home / "settings.json").write_text("{}")
    (home / "my letter.txt").write_text("mine")
    monkeypatch.setattr(sys, "stdin", io.StringIO(answered))
    if sys.platform == "linux":
        assert main(["shortcut", "--home", str(home)]) == 0
    yes = answered in ("yes\n", "--yes")
    assert main(["uninstall", *(["--yes"] if answered == "--yes" else [])]) == (0 if yes else 1)
    out = capsys.readouterr().out
    assert ("Type yes" in out) == (answered != "--yes")
    assert (home / "models" / "tiny").exists() == (not yes)
    assert (outside / "model.safetensors").exists()
    assert (home / "my letter.txt").read_text() == "mine"
    if yes:
        assert [path.name for path in home.iterdir()] == ["my letter.txt"]
        assert "Kept in" in out
        assert not (tmp_path / "data" / "applications" / "gptdesk.desktop").exists()
    else:
        assert "Nothing was deleted." in out


def test_uninstall_can_keep_models_and_waits_for_runs(home: Path, capsys: Capture) -> None:
    (home / "env").mkdir()
    (home / "copies").mkdir()
    with training_lock(home, "book"):
        assert "the run book is training; stop it first" in complaint(capsys, "uninstall", "--yes")
    done = answer(capsys, "uninstall", "--yes", "--keep-models")
    assert done["not_deleted"] == []
    assert not (home / "env").exists()
    assert not (home / "copies").exists()
    assert (home / "models" / "tiny" / "model.safetensors").exists()
    done = answer(capsys, "uninstall", "--yes")
    assert (done["kept"], home.exists()) == ([], False)
