"""`gptdesk compare` and `gptdesk evaluate`: the numbers of the library, one line for whatever the user got wrong."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint
from comparison_checks import only, save_damaged, save_letters

from gptdesk.__main__ import main
from gptdesk.comparison.quality import Quality, judge
from gptdesk.desk import Desk
from gptdesk.page.tabs.compare.given import GivenText
from gptdesk.settings import load_settings
from gptdesk.starter.stories import story
from models.checkpoint import HELD_OUT
from models.manager import ModelKey
from models.tokenizer import Tokenizer

ALONE = ["tokens", "perplexity", "bits_per_character"]
BESIDE = [
    *("perplexity_ratio", "perplexity_ratio_se", "kl_mean", "kl_median", "kl_p99"),
    *("same_top1", "top5_overlap", "first_divergence"),
]
TEXT = story(9, 0) + "\n\n" + story(9, 1)


@pytest.fixture(scope="module")
def shared(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A home with `tiny`, a damaged one, one that writes letters, and texts."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_folder / "tiny", home / "models" / "tiny")
    save_damaged(tiny_folder / "tiny", home / "models" / "damaged", noise=0.5, tokenizer=tokenizer)
    save_letters(home / "models" / "letters")
    (home / "text.txt").write_text(TEXT, encoding="utf-8")
    return home


@pytest.fixture
def home(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTDESK_HOME", str(shared))
    monkeypatch.chdir(shared)
    return shared


def judged(home: Path, *models: str, text: str = TEXT) -> Quality:
    keys = [ModelKey.parse(model) for model in models]
    return only(judge(Desk(load_settings({"home": str(home)})).manager, keys, text), Quality)


# evaluate


def test_evaluate_gives_the_figures_of_judge(home: Path, capsys: Capture) -> None:
    found = answer(capsys, "evaluate", "tiny", "--text", "text.txt")
    expected = judged(home, "tiny").evaluations[0]
    assert set(ALONE) <= set(found)
    assert not set(BESIDE) & set(found)
    assert {name: found[name] for name in ALONE} == {name: getattr(expected, name) for name in ALONE}
    assert (found["model"], found["against"], found["judged_by"]) == ("tiny:float32", None, "text.txt")


@pytest.mark.parametrize(("model", "against"), [("tiny:int8", "tiny"), ("damaged", "tiny:float32")])
def test_evaluate_against_another_gives_the_issue_s_keys(home: Path, capsys: Capture, model: str, against: str) -> None:
    found = answer(capsys, "evaluate", model, "--text", "text.txt", "--against", against)
    quality = judged(home, against, model)
    (pair,), close = quality.pairs, quality.pairs[0].closeness
    assert close is not None
    expected = {name: getattr(quality.evaluations[1], name) for name in ALONE}
    expected |= {name: getattr(close, name) for name in BESIDE if name != "first_divergence"}
    assert {name: found[name] for name in [*ALONE, *BESIDE]} == expected | {"first_divergence": pair.first_divergence}
    assert found["kl_mean"] > 0
    assert found["perplexity_ratio"] == pytest.approx(found["perplexity"] / quality.evaluations[0].perplexity)


def test_evaluate_names_the_reference_as_it_names_the_model(home: Path, capsys: Capture) -> None:
    found = answer(capsys, "evaluate", "tiny", "--text", "text.txt", "--against", "tiny")
    assert (found["model"], found["against"]) == ("tiny:float32", "tiny:float32")


def test_evaluate_tells_people_the_same(home: Path, capsys: Capture) -> None:
    found = answer(capsys, "evaluate", "tiny:int8", "--text", "text.txt", "--against", "tiny")
    assert main(["evaluate", "tiny:int8", "--text", "text.txt", "--against", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    shown = dict(line.split() for line in out.splitlines() if len(line.split()) == 2)
    for name in [*ALONE, *BESIDE]:
        if found[name] is not None:
            assert float(shown[name].replace(",", "")) == pytest.approx(found[name], rel=1e-5)
    assert out.splitlines()[-1].startswith(f"tiny · int8: perplexity x {found['perplexity_ratio']:.4f}, same next word")


def test_evaluate_of_different_tokenizers_says_why_there_is_less(home: Path, capsys: Capture) -> None:
    (home / "letters.txt").write_text("once there was a fox who met a bear", encoding="utf-8")
    found = answer(capsys, "evaluate", "letters", "--text", "letters.txt", "--against", "tiny")
    assert [found[name] for name in BESIDE] == [None] * len(BESIDE)
    assert "different tokenizers" in found["absent"]
    assert found["bits_per_character"] == pytest.approx(math.log2(found["perplexity"]))


def test_held_out_text_is_the_default(home: Path, capsys: Capture) -> None:
    shutil.copytree(home / "models" / "tiny", home / "models" / "held")
    (home / "models" / "held" / HELD_OUT).write_text(TEXT, encoding="utf-8")
    found = answer(capsys, "evaluate", "held")
    given = answer(capsys, "evaluate", "tiny", "--text", "text.txt")
    assert found["judged_by"] == "held-out text of held"
    assert {name: found[name] for name in ALONE} == {name: given[name] for name in ALONE}
    of_reference = answer(capsys, "evaluate", "tiny", "--against", "held")
    assert (of_reference["kl_mean"], of_reference["judged_by"]) == (0, "held-out text of held")


# compare


def test_compare_and_evaluate_tell_the_same(home: Path, capsys: Capture) -> None:
    command = ("--text", "text.txt", "--repeats", "1", "--max-new-tokens", "12", "--prompt", "Once", "--seed", "3")
    found = answer(capsys, "compare", "tiny", "tiny:int8", "damaged", *command)
    assert (found["repeats"], found["judged_by"], found["prompt"]) == (1, "text.txt", "Once")
    assert [side["model"] for side in found["sides"]] == ["tiny:float32", "tiny:int8", "damaged:float32"]
    evaluated = answer(capsys, "evaluate", "tiny", "--text", "text.txt")
    assert {name: found["sides"][0][name] for name in ALONE} == {name: evaluated[name] for name in ALONE}
    for side in found["sides"][1:]:
        evaluated = answer(capsys, "evaluate", side["model"], "--text", "text.txt", "--against", "tiny")
        names = [*ALONE, *BESIDE, "kl_mean_se", "kl_max", "same_top1_se", "probability_change_rms", "absent"]
        assert {name: side[name] for name in names} == {name: evaluated[name] for name in names}
    for side in found["sides"]:
        alone = answer(
            capsys, "generate", "--model", side["model"], "--prompt", "Once", "--seed", "3", "--max-new-tokens", "12"
        )
        assert (side["text"], side["seed"]) == (alone["texts"][0], 3)
        assert side["tokens_generated"] == alone["tokens"][0] == len(side["latencies_seconds"]) + 1
        assert side["finish_reason"] == alone["finish_reasons"][0]


def test_compare_tells_people_what_it_comes_to(home: Path, capsys: Capture) -> None:
    command = ["compare", "tiny", "tiny:int8", "--text", "text.txt", "--repeats", "2", "--max-new-tokens", "5"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("int8: ")
    for label in ("Weights file", "Tokens per second", "Perplexity ratio", "KL divergence, mean", "Top 5 shared"):
        assert f"\n{label} " in out
    assert "Each side was timed 2 times" in out
    assert "Quality is that on text.txt, read in windows of 64 tokens." in out


def test_compare_without_any_text_leaves_quality_out(home: Path, capsys: Capture) -> None:
    found = answer(capsys, "compare", "tiny", "damaged", "--repeats", "1", "--max-new-tokens", "3")
    assert found["judged_by"] is None
    assert "perplexity" not in found["sides"][0]
    seeds = {side["seed"] for side in found["sides"]}
    assert len(seeds) == 1
    assert None not in seeds


# What the user got wrong


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare"], "NAME[:PRECISION]"),
        (["compare", "tiny"], "compare takes 2 or 3 models, not 1"),
        (["compare", "tiny", "tiny", "tiny", "tiny"], "compare takes 2 or 3 models, not 4"),
        (["compare", "tiny", "nosuch"], "there is no model 'nosuch'"),
        (["compare", "tiny", "tiny:int3"], "there is no precision 'int3'"),
        (["compare", "tiny", "tiny:int8", "--repeats", "0"], "repeats must be between 1 and 50, not 0"),
        (["compare", "tiny", "tiny:int8", "--repeats", "2.5"], "repeats must be a whole number, not '2.5'"),
        (["compare", "tiny", "tiny:int8", "--repeats", "x"], "repeats must be a whole number, not 'x'"),
        (
            ["compare", "tiny", "tiny:int8", "--max-new-tokens", "0"],
            "max_new_tokens must be greater than or equal to 1",
        ),
        (["compare", "tiny", "tiny:int8", "--text", "gone.txt"], "gone.txt cannot be read"),
        (["compare", "tiny", "tiny:int8", "--text", "empty.txt"], "the evaluation text is empty"),
        (["compare", "tiny", "letters", "--text", "euro.txt"], "these are not among them: '€'"),
        (["compare", "tiny", "letters", "--prompt", "€", "--text", "plain.txt"], "'€'"),
        (["evaluate"], "NAME[:PRECISION]"),
        (["evaluate", "tiny"], "there is no held-out text of tiny; give a text with --text"),
        (["evaluate", "nosuch", "--text", "text.txt"], "there is no model 'nosuch'"),
        (["evaluate", "tiny", "--text", "text.txt", "--against", "x y"], "'x y' cannot be a model"),
        (["evaluate", "tiny", "--text", "models"], "models is a folder; give a text file"),
        (["evaluate", "tiny", "--text", "empty.txt"], "the evaluation text is empty"),
        (["evaluate", "tiny", "--text", "picture.png"], "picture.png is not a text file"),
        (["evaluate", "tiny", "--text", "one.txt"], "the text is too short"),
        (["evaluate", "tiny", "--repeats", "3"], "--repeats"),
    ],
)
def test_mistakes_are_one_line(home: Path, capsys: Capture, arguments: list[str], words: str) -> None:
    (home / "empty.txt").write_bytes(b"")
    (home / "one.txt").write_bytes(b"e")
    (home / "picture.png").write_bytes(b"\x89PNG\0\0")
    (home / "euro.txt").write_text("so much for €", encoding="utf-8")
    (home / "plain.txt").write_text("once there was a fox who met a bear", encoding="utf-8")
    assert words in complaint(capsys, *arguments)


def test_what_is_wrong_with_a_text_is_said_before_anything_is_measured(home: Path, capsys: Capture) -> None:
    """Two models that have no copies yet, so that it would show."""
    copies = Desk(load_settings({"home": str(home)})).settings.copies
    before = sorted(copies.iterdir()) if copies.exists() else []
    (home / "blank.txt").write_text(" \n")
    complaint(capsys, "compare", "damaged", "damaged:int4", "--text", "blank.txt")
    assert (sorted(copies.iterdir()) if copies.exists() else []) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals of this kind")
def test_an_interrupt_ends_a_comparison(shared: Path) -> None:
    command = [sys.executable, "-m", "gptdesk", "compare", "starter", "starter:int8", "--repeats", "50", "--json"]
    with subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"GPTDESK_HOME": str(shared)},
        cwd=Path(__file__).parents[3],
    ) as process:
        copies = Desk(load_settings({"home": str(shared)})).settings.copies
        while process.poll() is None and not list(copies.glob("starter-int8-*")):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err == ""


@pytest.mark.usefixtures("home")
def test_how_the_text_was_read_is_told(tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes("Grüße aus Köln, schöne Größe, über Nürnberg. ".encode("cp1252") * 9)
    found = answer(capsys, "evaluate", "tiny", "--text", str(file))
    assert 'notes.txt is not UTF-8; it was read as cp1252: "Grüße aus Köln' in caplog.text
    caplog.clear()
    assert answer(capsys, "evaluate", "tiny", "--text", str(file), "--encoding", "cp1252") == found
    assert answer(capsys, "evaluate", "tiny", "--text", str(file), "--encoding", "cp1251") != found
    assert caplog.text == ""
    told = complaint(capsys, "evaluate", "tiny", "--text", str(file), "--encoding", "nosuch")
    assert told.startswith("gptdesk: encoding must be auto or an encoding of text such as utf-8, ")
    assert "--encoding applies to the file of --text" in complaint(capsys, "evaluate", "tiny", "--encoding", "cp1252")


def test_the_page_shows_how_a_file_was_read() -> None:
    given = GivenText("text", "a.txt", ("a.txt is *odd*",))
    assert given.after("Measured.") == "Measured. ⚠ a.txt is \\*odd\\*."
    assert GivenText("text", "a.txt").after("Measured.") == "Measured."
