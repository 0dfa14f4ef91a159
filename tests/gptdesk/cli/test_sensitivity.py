"""`gptdesk sensitivity` and `gptdesk models quantize --raise`: figures of the library, one line for a mistake."""

import shutil
from pathlib import Path

import pytest
from cli_checks import Capture, answer, complaint

from gptdesk.__main__ import main
from gptdesk.comparison.sensitivity import MatrixSensitivity, sensitivities
from gptdesk.starter.stories import story
from models.library import ModelLibrary
from models.manager import ModelKey, ModelManager

TEXT = story(9, 0) + "\n\n" + story(9, 1)


@pytest.fixture
def home(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(tiny_folder / "tiny", tmp_path / "models" / "tiny")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_map_has_the_figures_of_the_library(home: Path, capsys: Capture) -> None:
    manager = ModelManager(ModelLibrary(home / "models", cache_folder=home))
    events = list(sensitivities(manager, ModelKey("tiny", "int4"), TEXT))
    expected = [event for event in events if isinstance(event, MatrixSensitivity)]
    found = answer(capsys, "sensitivity", "tiny", "--text", "text.txt")
    assert (found["model"], found["judged_by"]) == ("tiny:int4", "text.txt")
    assert found["matrices"] == [vars(one) for one in expected]
    assert main(["sensitivity", "tiny", "--text", "text.txt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[one.matrix, one.encoding] for one in expected]


def test_raised_matrices_are_measured_and_saved(home: Path, capsys: Capture) -> None:
    raised = ("--raise", "h.1.mlp.c_fc=int8", "--raise", "wte=float32")
    found = answer(capsys, "sensitivity", "tiny:int4", "--text", "text.txt", *raised)
    assert found["raised"] == {"h.1.mlp.c_fc": "int8", "wte": "float32"}
    assert found["after"]["kl_mean"] < found["before"]["kl_mean"]
    assert main(["sensitivity", "tiny:int4", "--text", "text.txt", *raised]) == 0
    assert capsys.readouterr().out.startswith("2 matrices raised: perplexity x ")
    saved = answer(capsys, "models", "quantize", "tiny", "--precision", "int4", *raised)
    assert saved["name"] == "tiny-int4-mixed"
    assert main(["models", "list"]) == 0
    assert "matrices raised above int4: h.1.mlp.c_fc at int8; wte at float32" in capsys.readouterr().out
    judged = answer(capsys, "evaluate", "tiny-int4-mixed", "--against", "tiny", "--text", "text.txt")
    assert judged["kl_mean"] == pytest.approx(found["after"]["kl_mean"])
    for kind, sentence in {
        "html": "is quantized to int4 with 2 matrices raised, and a page holds int8",
        "gguf": "is quantized to int4 with 2 matrices raised, which GGUF lacks",
        "huggingface": "is quantized to int4 with 2 matrices raised, which transformers does not know",
        "pt": "cannot be written at int4: a state dict has float32 or int8-dynamic",
    }.items():
        said = complaint(capsys, "models", "export", "tiny-int4-mixed", "--format", kind, "--to", str(home / kind))
        assert sentence in said
        assert "export the original" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sensitivity", "tiny"], "there is no held-out text of tiny; give a text with --text"),
        (["sensitivity", "tiny:float32", "--text", "text.txt"], "to int4 or int8, not to 'float32'"),
        (["sensitivity", "tiny", "--text", "text.txt", "--raise", "wte"], "'wte' is not MATRIX=PRECISION"),
        (["sensitivity", "tiny", "--text", "text.txt", *["--raise", "wte=int8"] * 2], "wte is given twice"),
        (["sensitivity", "tiny:int8", "--text", "text.txt", "--raise", "x=int8"], "there is no matrix 'x'"),
        (["models", "quantize", "tiny", "--precision", "bfloat16", "--raise", "wte=float32"], "not to 'bfloat16'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, home: Path, capsys: Capture) -> None:
    assert said in complaint(capsys, *arguments)
