"""One rule for every name that makes a run or a model: what may be one, and what is taken, whatever its capitals."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint
from training_checks import command, plan, resume, text_of, write_text

from gptdesk.desk import Desk
from gptdesk.settings import Settings
from gptdesk.training import control
from gptdesk.training.context import RunContext
from gptdesk.training.lock import starting_lock
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.text_input import TextInput
from models.checkpoint import Checkpoint
from models.names import check_new_name, folded, free_name

ONE_FOLDER = ", and on some systems both would be one folder; choose another name"
REFUSED = {
    "starter": "there is a bundled model starter already; choose another name",
    "Starter": f"Starter differs from the bundled model starter only in capitals{ONE_FOLDER}",
    "tiny": "there is a model tiny already; choose another name",
    "TINY": f"TINY differs from the model tiny only in capitals{ONE_FOLDER}",
    "Book": f"Book differs from the run book only in capitals{ONE_FOLDER}",
    "con": "'con' cannot be a name, for Windows keeps it for a device; choose another name",
    "NUL.txt": "'NUL.txt' cannot be a name, for Windows keeps it for a device; choose another name",
    "Lpt1": "'Lpt1' cannot be a name, for Windows keeps it for a device; choose another name",
    "mine.": "'mine.' cannot be a name, for Windows drops a dot at the end; leave the dot out",
}
SHAPE = ("--tokenizer", "chars", "--n-layer", "1", "--n-head", "1", "--n-embd", "8", "--block-size", "8")
QUICK = (*SHAPE, "--steps", "3", "--batch-size", "2", "--precision", "float32")


@pytest.fixture
def home(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a model `tiny` and a run `book`."""
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "tiny")
    write_text(tmp_path / "text.txt")
    control.create(context_of(tmp_path), plan("book"), text=text_of(tmp_path))
    return tmp_path


def context_of(home: Path) -> RunContext:
    return Desk(Settings(home=home)).run_context


@pytest.mark.parametrize("name", REFUSED)
def test_no_entry_makes_a_run_or_a_model_of_a_name_that_is_taken(home: Path, capsys: Capture, name: str) -> None:
    context, sentence = context_of(home), REFUSED[name]
    before = sorted(home.rglob("*"))
    for make in (control.create, control.begin):
        with pytest.raises(ValueError, match=r"^.") as told:
            make(context, plan(name), text=TextInput(pasted="a text that was pasted"))
        assert str(told.value) == sentence
    train = ("train", "--data", str(home / "text.txt"), "--name", name)
    assert complaint(capsys, *train) == f"gptdesk: {sentence}\n"
    quantize = ("models", "quantize", "tiny", "--precision", "int8", "--to", name)
    assert complaint(capsys, *quantize) == f"gptdesk: {sentence}\n"
    assert [path for path in sorted(home.rglob("*")) if path.name != "starting.lock"] == before


def test_the_name_of_a_run_is_no_name_for_a_copy(home: Path, capsys: Capture) -> None:
    quantize = ("models", "quantize", "tiny", "--precision", "int8", "--to", "book")
    assert complaint(capsys, *quantize) == "gptdesk: there is a run book already; choose another name\n"
    with pytest.raises(ValueError, match=r"^there is a run book already; resume it, or choose another name$"):
        control.create(context_of(home), plan("book"), text=text_of(home))


def test_names_that_are_proposed_are_free_on_every_system(home: Path) -> None:
    context = context_of(home)
    proposed = {
        "starter": "starter-1",
        "STARTER": "STARTER-1",
        "Tiny": "Tiny-1",
        "BOOK": "BOOK-1",
        "con": "run-con",
        "Aux.en.txt": "run-Aux.en.txt",
        "novel.": "novel",
        "x" * 59 + "..y": "x" * 59,
        "…": "run",
        "new": "new",
    }
    assert {wished: free_name(wished, context.names()) for wished in proposed} == proposed
    for name in proposed.values():
        check_new_name(name, context.names())


def test_names_are_compared_as_the_most_careless_file_system_does() -> None:
    assert folded("Stra\u00dfe") == folded("STRASSE")
    assert folded("Cafe\u0301") == folded("CAF\u00c9")
    assert folded("tiny1") != folded("tiny-1")


# Races


def test_of_many_that_make_a_run_at_once_one_gets_it_with_its_own_text(home: Path) -> None:
    context, barrier = context_of(home), threading.Barrier(6)

    def make(i: int) -> str:
        barrier.wait()
        try:
            run = control.create(context, plan("raced", steps=i + 1), text=TextInput(pasted=f"the text of maker {i}"))
        except ValueError as error:
            return str(error)
        return run.name

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(make, range(6)))
    assert sorted(set(told)) == ["raced", "there is a run raced already; resume it, or choose another name"]
    (winner,) = [i for i, said in enumerate(told) if said == "raced"]
    assert RunDirectory(home / "runs" / "raced").plan().training.steps == winner + 1
    assert (home / "pasted" / "raced" / "text.txt").read_text("utf-8") == f"the text of maker {winner}"


def test_two_commands_that_make_one_run_at_once(home: Path) -> None:
    """The one that comes second is told so, and neither takes the folder of the other."""
    arguments = ("train", "--data", str(home / "text.txt"), "--name", "x", *QUICK, "--steps")
    processes = {steps: command(home, *arguments, steps) for steps in ("300", "301")}
    ended = {steps: process.communicate(timeout=120)[1].decode() for steps, process in processes.items()}
    codes = {steps: process.returncode for steps, process in processes.items()}
    assert sorted(codes.values()) == [0, 2], ended
    won = next(steps for steps, code in codes.items() if code == 0)
    lost = next(steps for steps in codes if steps != won)
    assert "Traceback" not in ended[lost]
    assert any(f"x {said}" in ended[lost] for said in ("is training already; stop it first", "already; choose another"))
    assert RunDirectory(home / "runs" / "x").plan().training.steps == int(won)


def test_who_starts_a_run_waits_for_another_one_that_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptdesk.training.lock.PATIENCE", 0.05)
    with (
        starting_lock(home),
        pytest.raises(ValueError, match=r"^another run is being started just now; wait until it trains, or stop it"),
    ):
        control.begin(context_of(home), plan("late"), text=text_of(home))
    assert not (home / "runs" / "late").exists()


# What is there already


def test_a_run_of_an_older_version_with_the_name_of_the_starter_ends_well(home: Path, capsys: Capture) -> None:
    context = context_of(home)
    chosen = plan("starter", steps=3).model_copy(update={"data": (str(home / "text.txt"),)})
    run = RunDirectory.create(home / "runs" / "starter", chosen)
    done = answer(capsys, "train", "--resume", "starter")
    assert done["message"].endswith("saved as starter-2 (step 3, the best; starter is not of this run)") or done[
        "message"
    ].endswith("saved as starter-2 (starter is not of this run)")
    assert done["model"] == "starter-2"
    assert control.model_of(context, control.info(context, "starter")) == "starter-2"
    assert not (home / "models" / "starter").exists()
    assert run.status().model == "starter-2"


def test_a_run_never_takes_the_place_of_a_model_that_came_meanwhile(home: Path, tiny_folder: Path) -> None:
    context = context_of(home)
    control.create(context, plan("late", steps=3), text=text_of(home))
    shutil.copytree(tiny_folder / "tiny", home / "models" / "LATE")
    before = (home / "models" / "LATE" / "model.safetensors").read_bytes()
    list(resume(RunDirectory(home / "runs" / "late")))
    assert (home / "models" / "LATE" / "model.safetensors").read_bytes() == before
    assert control.model_of(context, control.info(context, "late")) == "late-2"
    assert Checkpoint.open(home / "models" / "late-2").about.source == "gptdesk train, run late"
    list(resume(RunDirectory(home / "runs" / "late")))  # once more: its own model is replaced
    assert sorted(path.name for path in (home / "models").iterdir()) == ["LATE", "late-2", "tiny"]
