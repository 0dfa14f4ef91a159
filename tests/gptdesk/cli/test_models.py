"""`gptdesk models`: the list, and models made smaller."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from cli_checks import Capture, answer, complaint
from format_checks import FusedGPT, write_characters

from gptdesk.__main__ import main
from gptdesk.starter import CHECKPOINT
from models.precision import PRECISIONS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    return tmp_path


def test_models_list(home: Path, capsys: Capture) -> None:
    shutil.copytree(CHECKPOINT, home / "models" / "mine")
    shutil.copytree(CHECKPOINT, home / "models" / "broken")
    (home / "models" / "broken" / "config.json").write_text("{")
    assert main(["models", "list", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert set(listed) == {"starter", "mine", "broken"}
    wanted = {"name", "path", "parameters", "context", "tokenizer", "precisions", "size_bytes"}
    assert all(wanted <= set(model) for model in listed.values())
    assert listed["mine"]["path"] == str(home / "models" / "mine")
    assert listed["mine"]["precisions"] == [name for name, p in PRECISIONS.items() if p.missing() is None]
    assert listed["mine"]["size_bytes"] == listed["starter"]["size_bytes"] > 1_000_000
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "starter" in out
    assert "cannot be used" in out


def test_a_quantized_model_is_smaller_and_runs_by_its_bare_name(home: Path, capsys: Capture) -> None:
    made = answer(capsys, "models", "quantize", "starter", "--precision", "int8")
    sizes = made["size_bytes"], made["original_size_bytes"]
    assert (made["name"], made["path"]) == ("starter-int8", str(home / "models" / "starter-int8"))
    assert made["precisions"] == ["int8"]
    assert sizes == tuple(sum(file.stat().st_size for file in Path(f).iterdir()) for f in (made["path"], CHECKPOINT))
    assert made["ratio"] == sizes[0] / sizes[1] < 0.4
    command = ("generate", "--prompt", "Once", "--seed", "1", "--max-new-tokens", "20")
    bare = answer(capsys, *command, "--model", "starter-int8")
    assert (bare["model"], bare["precision"]) == ("starter-int8", "int8")
    assert bare["texts"] == answer(capsys, *command, "--model", "starter:int8")["texts"]
    listed = {model["name"]: model for model in answer(capsys, "models", "list")}
    assert listed["starter-int8"].pop("last_used") is not None
    assert listed["starter-int8"] == {key: made[key] for key in listed["starter-int8"]}
    assert len(listed["starter"]["precisions"]) > 1


def test_quantize_says_what_it_wrote(home: Path, capsys: Capture) -> None:
    assert main(["models", "quantize", "starter", "--precision", "int4", "--to", "little"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    size = sum(file.stat().st_size for file in (home / "models" / "little").iterdir())
    original = sum(file.stat().st_size for file in CHECKPOINT.iterdir())
    assert line.startswith(f"little: {size / 1e6:.1f} MB, {size / original:.0%} of starter's {original / 1e6:.1f} MB")
    assert main(["models", "list"]) == 0
    assert "little" in capsys.readouterr().out


def test_quantize_again_takes_the_place_of_the_first_and_of_nothing_else(home: Path, capsys: Capture) -> None:
    shutil.copytree(CHECKPOINT, home / "models" / "mine")
    command = ("models", "quantize", "mine", "--precision", "int8")
    first = answer(capsys, *command)
    assert answer(capsys, *command) == first
    before = (home / "models" / "mine" / "model.safetensors").read_bytes()
    assert "there is a model mine already; choose another name" in complaint(capsys, *command, "--to", "mine")
    other = ("models", "quantize", "starter", "--precision", "int8", "--to", "mine")
    assert "there is a model mine already; choose another name" in complaint(capsys, *other)
    assert (home / "models" / "mine" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch", "--precision", "int8"], "there is no model 'nosuch'"),
        (["../starter", "--precision", "int8"], "../starter"),
        (["starter"], "--precision"),
        (["--precision", "int8"], "NAME"),
        (["starter", "--precision", "int3"], "there is no precision 'int3'"),
        (["starter", "--precision", "float32"], "int8"),
        (["starter", "--precision", "int8", "--to", "starter"], "there is a bundled model starter already"),
        (["starter", "--precision", "int8", "--to", "../mine"], "'../mine' cannot be a model"),
        (["eight", "--precision", "int4"], "quantized already, to int8"),
        (["broken", "--precision", "int8"], "broken"),
    ],
)
def test_bad_quantize_arguments_are_one_line(home: Path, capsys: Capture, arguments: list[str], words: str) -> None:
    answer(capsys, "models", "quantize", "starter", "--precision", "int8", "--to", "eight")
    (home / "models" / "broken").mkdir()
    before = sorted(path for path in home.rglob("*"))
    assert words in complaint(capsys, "models", "quantize", *arguments)
    assert sorted(path for path in home.rglob("*")) == before


def test_a_full_disk_is_one_line_and_leaves_nothing(home: Path, capsys: Capture) -> None:
    resource = pytest.importorskip("resource", reason="Windows cannot limit the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        line = complaint(capsys, "models", "quantize", "starter", "--precision", "int8")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "starter was not quantized and nothing was changed" in line
    assert list((home / "models").iterdir()) == []


def test_import_of_a_tutorials_file(home: Path, capsys: Capture, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("theirs")
    torch.save(FusedGPT(gelu="tanh").state_dict(), folder / "mine.pt")
    write_characters(folder)
    command = ("models", "import", str(folder / "mine.pt"), "--n-head", "4", "--activation", "gelu_tanh")
    made = answer(capsys, *command)
    assert (made["name"], made["format"], made["tokenizer"]) == ("mine", "state dict", "characters")
    texts = answer(capsys, "generate", "--model", "mine", "--prompt", "ABC", "--max-new-tokens", "5")["texts"]
    assert len(texts) == 1
    assert "there is a model mine already" in complaint(capsys, *command, "--name", "mine")
    assert "n_head must be a whole number" in complaint(capsys, *command[:4], "two")
    assert main([*command, "--name", "again"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("again: a state dict, ")
