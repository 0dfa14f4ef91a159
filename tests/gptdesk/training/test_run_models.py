"""What a run has saved so far is lent like any other model, while it trains and after: found, used, replaced, gone."""

import shutil
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest
import torch
from cli_checks import Capture, answer, complaint
from training_checks import begin, ended_run, resume

from gptdesk.comparison.texts import held_out_text
from gptdesk.desk import Desk
from gptdesk.generation import GenerationRequest, collect
from gptdesk.settings import Settings
from gptdesk.training import TrainingStep
from gptdesk.training.checkpoints import model_of
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.run_models import by_run, duplicates, grouped, run_models, title
from models import storage
from models.checkpoint import Checkpoint
from models.manager import ModelKey
from models.precision import missing_here


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """One that has been left after step 9 of 20, as if its process had died."""
    run = begin(tmp_path, "book", evaluate_every=100)
    for _ in takewhile(lambda event: not isinstance(event, TrainingStep) or event.step < 9, resume(run)):
        pass
    return run


@pytest.fixture
def desk(run: RunDirectory) -> Desk:
    return Desk(Settings(home=run.path.parent.parent))


def test_the_saves_are_listed_after_the_models(desk: Desk, run: RunDirectory) -> None:
    assert [info.name for info in desk.library.available()] == ["starter", "book@latest", "book@8", "book@4"]
    assert [title(name) for name in ("book", "book@8", "book@latest")] == [
        "book",
        "run book, step 8",
        "run book, latest checkpoint",
    ]
    info = desk.model("book@4")
    assert (info.path, info.problem, info.tokenizer) == (model_of(run.path, 4), None, "characters")


def test_they_write_texts_each_its_own(desk: Desk, run: RunDirectory) -> None:
    request = GenerationRequest(prompt="One", seed=1, max_new_tokens=20)
    texts = {
        name: collect(desk.generate(ModelKey(name), request), n=1).texts[0]
        for name in ("book@4", "book@8", "book@latest")
    }
    assert texts["book@8"] == texts["book@latest"]
    ids = torch.tensor([desk.tokenizer("book@4").encode("One day")])
    for step in (4, 8):
        expected = Checkpoint.open(model_of(run.path, step)).load_model()(ids)
        with desk.manager.lend(ModelKey(f"book@{step}")) as loaded:
            torch.testing.assert_close(loaded.model(ids), expected, atol=1e-4, rtol=1e-4)


def test_a_newer_save_takes_over_and_the_old_one_serves_to_the_end(desk: Desk, run: RunDirectory) -> None:
    ids = torch.tensor([desk.tokenizer("book@4").encode("One day")])
    with desk.manager.lend(ModelKey("book@4")) as old, desk.manager.lend(ModelKey("book@latest")) as latest:
        before = old.model(ids), latest.model(ids)
        for _ in resume(run):
            pass
        assert not model_of(run.path, 4).exists()
        assert torch.equal(old.model(ids), before[0])
        assert torch.equal(latest.model(ids), before[1])
    with desk.manager.lend(ModelKey("book@latest")) as latest:
        assert not torch.equal(latest.model(ids), before[1])
    names = [info.name for info in desk.library.available()]
    assert names == ["book", "starter", "book@latest", "book@20", "book@16"]
    expected = r"^there is no 'book@4' now, it may have been replaced; there is: book@latest, book@20, book@16$"
    with pytest.raises(ValueError, match=expected), desk.manager.lend(ModelKey("book@4")):
        pass


def test_a_save_that_goes_while_it_is_read_is_one_sentence(
    desk: Desk, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Checkpoint.load_engine

    def too_late(checkpoint: Checkpoint, *arguments: object, **options: object) -> object:
        storage.remove_folder(checkpoint.path.parent)
        return opened(checkpoint, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Checkpoint, "load_engine", too_late)
    expected = r"^there is no 'book@4' now, it may have been replaced; there is: book@latest, book@8$"
    with pytest.raises(ValueError, match=expected), desk.manager.lend(ModelKey("book@4")):
        pass


@pytest.mark.skipif("int8" in missing_here(), reason="this computer has no int8")
def test_at_another_precision_on_the_fly_as_a_copy_and_as_a_model(desk: Desk, run: RunDirectory) -> None:
    key = ModelKey("book@8", "int8")
    with desk.manager.lend(key) as loaded:
        assert loaded.memory_bytes < desk.model("book@8").parameters * 4
    assert Checkpoint.open(desk.library.copy(key)).is_copy_at("int8")
    assert desk.library.has_copy(key)
    assert desk.library.quantize("book@8", "int8").name == "book-8-int8"
    with pytest.raises(ValueError, match=r"^'book@9' cannot be a model: a model's name has up to 80 letters"):
        desk.library.quantize("book@8", "int8", to="book@9")


def test_they_are_judged_by_what_the_run_holds_out(desk: Desk, run: RunDirectory) -> None:
    text = held_out_text(desk.model("book@4"))
    assert text == (run.path / "held_out.txt").read_text("utf-8")
    assert text


def test_in_a_terminal(run: RunDirectory, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(run.path.parent.parent)
    monkeypatch.setenv("GPTDESK_HOME", home)
    told = answer(capsys, "generate", "--model", "book@latest", "--prompt", "One", "--max-new-tokens", "5")
    assert (told["model"], len(told["texts"][0])) == ("book@latest", 5)
    assert complaint(capsys, "generate", "--model", "book@5").startswith("gptdesk: there is no 'book@5' now")
    assert answer(capsys, "compare", "book@4", "book@8", "--prompt", "One", "--max-new-tokens", "5")


def test_a_model_of_that_very_name_hides_it_and_odd_folders_are_no_saves(desk: Desk, run: RunDirectory) -> None:
    home = run.path.parent.parent
    (run.path / "step-x").mkdir()
    (run.path / "step-00000012.old").mkdir()
    (home / "runs" / "stray.txt").write_text("no run")
    assert list(run_models(home / "runs")) == ["book@latest", "book@8", "book@4"]
    assert run_models(home / "nowhere") == {}
    (home / "models" / "book@4").mkdir()
    assert desk.model("book@4").path == home / "models" / "book@4"
    runs_left = RunDirectory(home / "runs" / "book")
    storage.remove_folder(runs_left.path)
    assert "book@8" not in [info.name for info in desk.library.available()]


def test_an_ended_run_is_offered_once_for_each_of_its_models(tmp_path: Path) -> None:
    run = begin(tmp_path, "book", evaluate_every=1, patience=0, steps=30, save_every=10, learning_rate=0.1)
    list(resume(run))
    desk = Desk(Settings(home=tmp_path))
    names = [info.name for info in desk.library.available()]
    best, last = run.status().best_step, run.status().saved_step
    same = duplicates(tmp_path / "runs", names)
    if best == last:
        assert same == {"book@latest": "book", f"book@{last}": "book"}
    else:
        assert same == {f"book@{best}": "book", "book@latest": "book-last", f"book@{last}": "book-last"}
    for one, other in same.items():
        states = [Checkpoint.open(desk.library.find(name)).load_model().state_dict() for name in (one, other)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert set(names) > set(same)  # they can still be named
    run.write_status(replace(run.status(), state="training"))
    assert duplicates(tmp_path / "runs", names) == {}


def test_a_list_groups_the_models_of_a_run_and_shows_one_or_two_names_first(tiny_folder: Path, tmp_path: Path) -> None:
    run = ended_run(tmp_path, tiny_folder / "tiny")
    shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "book-laa")
    shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "odd@4")
    names = [info.name for info in Desk(Settings(home=tmp_path)).library.available()]
    assert {"starter", "odd@4", "book@latest", "book@34", "book@140", "book@142"} < set(names)
    of_runs = by_run(tmp_path / "runs", names)
    assert [(one.title, one.run) for one in of_runs.values() if one.is_main] == [
        ("book (best on unseen text, step 34)", "book"),
        ("book-last (closest to its text, step 142)", "book"),
    ]
    assert of_runs["book@142"].title == "run book, step 142 (as book-last)"
    further = ["book@latest", "book@142", "book@140", "book@34"]
    assert grouped(names, of_runs) == ["book", "book-last", *further, "book-laa", "odd@4", "starter"]

    for state, best, main in [
        ("training", 34, ["book@latest", "book@34"]),
        ("stopped", 142, ["book"]),
        ("paused", 0, ["book@latest"]),
    ]:
        run.write_status(replace(run.status(), state=state, best_step=best))
        without_last = [name for name in names if name != "book-last"]
        of_runs = by_run(tmp_path / "runs", without_last)
        assert [name for name, one in of_runs.items() if one.is_main] == main
    run.write_status(replace(run.status(), state="training", best_step=34))
    assert by_run(tmp_path / "runs", names)["book@34"].title == "run book, step 34, the best so far"
