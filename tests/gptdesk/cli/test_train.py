"""`gptdesk train` and `gptdesk runs`: from a file to a model that generates, told in lines or in JSON."""

import json
import re
from pathlib import Path

import pytest
from cli_checks import QUICK, SHAPE, Capture, answer, complaint, pipe
from training_checks import ROOT, begin, context_in, plan, text_of, write_text

from gptdesk.__main__ import main
from gptdesk.cli import main_parser
from gptdesk.cli.train import GROUPS, _given, _parser
from gptdesk.training import control
from gptdesk.training.context import RunContext
from gptdesk.training.lock import holding_process
from gptdesk.training.plan import RunPlan
from gptdesk.training.run_directory import RunDirectory
from gptdesk.training.text_input import TextInput


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    write_text(tmp_path / "text.txt")
    return tmp_path


def test_from_a_file_to_a_model_that_generates(home: Path, capsys: Capture) -> None:
    assert main(["train", "--data", str(home / "text.txt"), "--name", "mine", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert any(
        re.match(r"text\.txt, utf-8: [\d,]+ tokens of \d+ kinds, [\d,]+ held out by position$", line) for line in lines
    )
    assert any(line.startswith("6 steps of 64 tokens: 384 tokens, ") for line in lines)
    assert any(line.startswith("step 3/6  loss ") and "val " in line and "tok/s" in line for line in lines)
    assert lines[-1].startswith("all steps are done, after step 6; saved as mine")
    training = RunDirectory(home / "runs" / "mine").plan().training
    assert (training.steps, training.batch_size, training.learning_rate, training.warmup_steps) == (6, 4, 0.01, 1)
    assert (training.evaluate_every, training.seed) == (3, 7)
    told = answer(capsys, "generate", "--model", "mine", "--prompt", "One", "--max-new-tokens", "5")
    assert len(told["texts"][0]) == 5
    listed = answer(capsys, "models", "list")
    assert "mine" in [model["name"] for model in listed]
    judged = answer(capsys, "evaluate", "mine")  # by what it was not trained on
    assert (judged["judged_by"], judged["tokens"] > 10) == ("held-out text of mine", True)


def test_runs_are_listed(home: Path, capsys: Capture) -> None:
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.split() == ["NAME", "STATE", "STEP", "LOSS", "BEST"]
    begin(home, "waiting")
    done = answer(capsys, "train", "--data", str(home / "text.txt"), "--name", "done", *QUICK)
    assert (done["state"], done["step"], done["steps"], done["last"]["step"]) == ("finished", 6, 6, 6)
    listed = answer(capsys, "runs")
    assert [(run["name"], run["state"]) for run in listed] == [("done", "finished"), ("waiting", "new")]
    assert listed[0] == done
    assert main(["runs"]) == 0
    assert "all steps are done, after step 6; saved as done" in capsys.readouterr().out


def test_a_text_from_the_standard_input(home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ("train", "--data", "-", "--name", "piped")

    pipe(monkeypatch, b"\0" * 1000)
    assert complaint(capsys, *data).startswith("gptdesk: the standard input is not a text file")
    pipe(monkeypatch, "café au lait through a pipe, ".encode("cp1252") * 20)
    assert answer(capsys, *data, *QUICK)["state"] == "finished"
    assert "café au lait" in (home / "runs" / "piped" / "held_out.txt").read_text("utf-8")
    pipe(monkeypatch, "Grüße durch ein Rohr, ".encode("cp850") * 20)
    data = ("train", "--data", "-", "--encoding", "cp850", "--name", "old")
    assert answer(capsys, *data, *QUICK)["state"] == "finished"
    assert "Grüße durch" in (home / "runs" / "old" / "held_out.txt").read_text("utf-8")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_how_a_text_was_read_is_told(
    home: Path, capsys: Capture, caplog: pytest.LogCaptureFixture, form: tuple[str, ...]
) -> None:
    (home / "notes.txt").write_bytes("Привет, мир! Это заметки. ".encode("cp1251") * 40)
    (home / "cut.txt").write_bytes("Grüße aus Köln. Schöne Größe. ".encode() * 40 + b"<|endoftext|> caf\xe9")
    files = ("--data", str(home / "notes.txt"), str(home / "cut.txt"))
    assert main(["train", *files, "--name", "mine", *QUICK, *form]) == 0
    err = caplog.text if form else capsys.readouterr().err
    capsys.readouterr()
    assert 'notes.txt is not UTF-8; it was read as cp1251: "Привет, мир! Это' in err
    assert "1 byte of cut.txt is not valid UTF-8 (in line 1) and was read as �\n" in err
    assert "1 <|endoftext|> in cut.txt stands in the middle of a line and separates no documents" in err
    told = complaint(capsys, "train", *files, "--name", "other", "--encoding", "base64")
    assert told.startswith("gptdesk: encoding must be auto or an encoding of text such as utf-8, utf-16, cp1252, ")
    assert told.endswith("not 'base64'\n")


def test_a_run_goes_on_by_name(home: Path, capsys: Capture) -> None:
    begin(home, "later", steps=3)
    assert answer(capsys, "train", "--resume", "later")["step"] == 3
    told = complaint(capsys, "train", "--resume", "later", "--tokenizer", "chars")
    assert told.startswith("gptdesk: --resume keeps the text and the model of the run")
    told = complaint(capsys, "train", "--resume", "later", "--seed", "9")
    assert told.startswith("gptdesk: seed cannot be changed once a run has begun; begin a new one")
    assert complaint(capsys, "train", "--resume", "nobody") == "gptdesk: there is no run 'nobody'; there is: later\n"


def test_a_run_goes_on_otherwise_than_it_began(home: Path, capsys: Capture) -> None:
    run = begin(home, "longer", steps=4)
    assert answer(capsys, "train", "--resume", "longer")["step"] == 4
    before = run.metrics()
    assert answer(capsys, "train", "--resume", "longer", "--steps", "8", "--lr", "1e-3")["step"] == 8
    assert run.metrics()[: len(before)] == before
    assert run.metrics()[-1]["step"] == 8
    assert run.plan().training.learning_rate == 1e-3


def test_a_run_that_could_not_begin_is_mended_by_its_name(home: Path, capsys: Capture) -> None:
    data = ("train", "--data", str(home / "text.txt"), "--name", "mine", *SHAPE, "--n-embd", "256", "--steps", "2")
    assert main([*data, "--batch-size", "9999999"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"; batch_size \d+ fits, or accumulation \d+ computes it in parts$", told)
    done = answer(capsys, "train", "--resume", "mine", "--batch-size", "4")
    assert (done["state"], done["last"]["tokens"]) == ("finished", 2 * 4 * 16)
    assert "batch_size cannot be changed" in complaint(capsys, "train", "--resume", "mine", "--batch-size", "8")


def test_a_wrong_file_leaves_the_name_free(home: Path, capsys: Capture) -> None:
    (home / "picture.png").write_bytes(b"\0" * 1000)
    assert "is not a text file" in complaint(capsys, "train", "--data", str(home / "picture.png"), "--name", "mine")
    done = answer(capsys, "train", "--data", str(home / "text.txt"), "--name", "mine", *QUICK)
    assert done["state"] == "finished"
    again = complaint(capsys, "train", "--data", str(home / "text.txt"), "--name", "mine", *QUICK)
    assert again.startswith("gptdesk: there is a model mine already")


def test_a_text_that_is_too_short_makes_no_run(home: Path, capsys: Capture) -> None:
    (home / "text.txt").write_text("Hello.", encoding="utf-8")
    told = complaint(capsys, "train", "--data", str(home / "text.txt"), "--name", "mine")
    assert "give more text" in told
    assert not (home / "runs" / "mine").exists()


def test_what_was_typed_wrong_is_one_line(home: Path, capsys: Capture) -> None:
    data = ("train", "--data", str(home / "text.txt"), "--name", "mine")
    assert complaint(capsys, "train") == "gptdesk: a new run needs --data and --name; --resume RUN resumes one\n"
    assert complaint(capsys, *data, "--lr", "0") == "gptdesk: learning_rate must be greater than 0, not 0\n"
    assert complaint(capsys, *data, "--steps", "many").startswith("gptdesk: steps must be a valid integer, not 'many'")
    assert complaint(capsys, "train", "--data", "gone.txt", "--name", "mine") == "gptdesk: there is no file gone.txt\n"
    assert complaint(capsys, "runs", "stop", "mine").startswith("gptdesk: there is no run 'mine'")
    assert "needs the name of a run" in complaint(capsys, "runs", "stop")
    assert not (home / "runs").exists()


def begin_and_wait(context: RunContext, chosen: RunPlan, text: TextInput) -> RunDirectory:
    """A run in a process of its own that has ended; one that failed later than `begin` noticed raises the same."""
    run = control.begin(context, chosen, text=text)
    *_, info = control.watch(context, run.name, every=0.05)
    if info.state == "failed":
        raise ValueError(f"the run {run.name} could not be started: {info.status.message}")
    return run


def test_the_commands_in_the_documentation_are_commands() -> None:
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    found = [
        line.split("gptdesk", 1)[1].split() for line in text.splitlines() if re.match(r"(gptdesk|torchrun) ", line)
    ]
    assert len(found) == 13
    for words in found:
        options = main_parser().parse_args(words)
        assert options.verb in ("train", "runs")
        if options.verb == "train":
            chosen = _parser().parse_args(options.rest)
            for group, kind in GROUPS.items():
                assert kind(**_given(chosen, kind)), group


def test_every_option_is_explained(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for options in GROUPS.values():
        for name, field in options.model_fields.items():
            assert f"--{name.replace('_', '-')}" in shown
            assert field.description
            assert field.description in shown


def test_a_run_that_cannot_begin_says_why_and_leaves_its_name_free(home: Path) -> None:
    context = context_in(home)
    chosen = plan("mine", model={"start": "nobody"})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^there is no model 'nobody'; "):
            begin_and_wait(context, chosen, text_of(home))
    (home / "settings.json").write_text("{")  # so that its process does not even come to training
    with pytest.raises(
        ValueError, match=r"^the run mine could not be started: settings\.json is not valid JSON: correct"
    ):
        control.begin(context, plan("mine"), text=text_of(home))
    (home / "settings.json").unlink()
    assert control.listing(context) == []
    run = begin_and_wait(
        context,
        plan("mine", steps=3),
        TextInput(paths=(home / "text.txt",), pasted="and a little more, pasted. " * 20),
    )
    assert control.info(context, "mine").state == "finished"
    assert run.plan().text_names() == ("text.txt", "pasted text")
    with pytest.raises(ValueError, match=r"^there is a model mine already; choose another name$"):
        control.begin(context, plan("mine"), text=text_of(home))


def test_a_run_is_a_process_that_can_be_watched_and_stopped(home: Path, capsys: Capture) -> None:
    context = context_in(home)
    control.create(context, plan("long", steps=1_000_000, patience=0), text=text_of(home))
    process = control.start(context, "long")
    states = []
    try:
        waiting = ("--data", str(home / "text.txt"), "--name", "later", *SHAPE, *QUICK)
        assert answer(capsys, "train", "--queue", *waiting)["state"] == "queued"
        control.order(context, "later", "stop")
        assert control.info(context, "later").state == "new"
        control.remove(context, "later")
        for info in control.watch(context, "long", every=0.05):
            if not states or states[-1] != info.state:
                states.append(info.state)
            if info.state == "training" and info.last.get("step", 0) > 3:  # type: ignore[operator]
                control.order(context, "long", "stop")
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
    assert states[-1] == "stopped"
    assert control.info(context, "long").status.message.startswith("stopped as asked, after step ")
    with pytest.raises(ValueError, match=r"^the run long is not training now; resume it first$"):
        control.order(context, "long", "pause")
    assert json.loads((home / "models" / "long" / "about.json").read_text("utf-8"))["steps"] > 3
    control.remove(context, "long")
    assert control.listing(context) == []
    assert not list((home / "runs").iterdir())


def test_resume_is_one_command_for_a_new_a_paused_and_an_ended_run(home: Path, capsys: Capture) -> None:
    context, run = context_in(home), begin(home, "long", steps=1_000_000, patience=0)

    def wait_for(state: str) -> None:
        assert any(info.state == state for info in control.watch(context, "long", every=0.05)), run.status()

    try:
        for is_new in (True, False):  # then it is one that was stopped
            assert main(["runs", "resume", "long"]) == 0
            wait_for("training")
            if is_new:
                assert main(["runs", "pause", "long"]) == 0
                wait_for("paused")
                assert main(["runs", "resume", "long"]) == 0
                wait_for("training")
            assert main(["runs", "stop", "long"]) == 0
            wait_for("stopped")
    finally:
        if process := holding_process(home):
            process.kill()
    assert "needs the name of a run" in complaint(capsys, "runs", "resume")
