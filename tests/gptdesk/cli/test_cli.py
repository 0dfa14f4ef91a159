"""`gptdesk ...`: what it prints, its exit codes, and one line for whatever the user got wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_checks import Capture, answer, complaint, pipe
from safetensors.torch import load_file, save_file

from gptdesk.__main__ import main
from gptdesk.cli.parsing import verb_parser
from gptdesk.cli.requests import add_request_options, read_request
from gptdesk.starter import CHECKPOINT
from models.checkpoint import About, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import character_tokenizer
from samplers import names, registry

KEYS = [
    *("model", "precision", "seed", "prompt_tokens", "texts", "tokens", "finish_reasons"),
    *("seconds_to_first_token", "tokens_per_second"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("home")
def test_generate_json_twice_is_the_same(capsys: Capture) -> None:
    command = ("generate", "--model", "starter", "--prompt", "Once", "--seed", "1", "--max-new-tokens", "40")
    first, second = answer(capsys, *command), answer(capsys, *command)
    assert list(first) == KEYS
    assert (first["texts"], first["tokens"]) == (second["texts"], second["tokens"])
    assert (first["model"], first["precision"], first["seed"]) == ("starter", "float32", 1)
    assert len(first["texts"][0]) > 40
    assert first["seconds_to_first_token"] > 0
    assert first["tokens_per_second"] > 0


@pytest.mark.usefixtures("home")
def test_generate_several(capsys: Capture) -> None:
    alone = answer(capsys, "generate", "--prompt", "Once", "--seed", "4", "--max-new-tokens", "30")
    many = answer(capsys, "generate", "--prompt", "Once", "--seed", "4", "--max-new-tokens", "30", "--n", "3")
    assert many["texts"][0] == alone["texts"][0]
    assert len(set(many["texts"])) == len(many["tokens"]) == len(many["finish_reasons"]) == 3


@pytest.mark.usefixtures("home")
def test_temperature_zero_equals_greedy_in_transformers(capsys: Capture) -> None:
    transformers = pytest.importorskip("transformers")
    oracle = transformers.AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    for prompt in ("Once", "The fox", "One rainy morning"):
        mine = answer(capsys, "generate", "--prompt", prompt, "--temperature", "0", "--max-new-tokens", "60")
        ids = torch.tensor([tokenizer.encode(prompt)])
        theirs = oracle.generate(ids, do_sample=False, max_new_tokens=60)[0, ids.shape[1] :]
        assert mine["texts"][0] == tokenizer.decode(theirs, skip_special_tokens=True)
        assert mine["prompt_tokens"] == ids.shape[1]


@pytest.mark.usefixtures("home")
def test_generate_streams_the_prompt_and_its_continuation(capsys: Capture) -> None:
    command = ["generate", "--prompt", "Once", "--seed", "1", "--max-new-tokens", "20"]
    text = answer(capsys, *command)["texts"][0]
    assert main(command) == 0
    assert capsys.readouterr().out == f"Once{text}\n"
    assert main([*command, "--n", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"[1] Once{text}\n")


@pytest.mark.usefixtures("home")
def test_the_chain_follows_the_options(capsys: Capture) -> None:
    base = ("generate", "--prompt", "Once", "--seed", "9", "--max-new-tokens", "30")
    greedy = answer(capsys, *base, "--samplers", "greedy")["texts"]
    for narrow in (("--top-k", "1"), ("--top-p", "1e-9"), ("--min-p", "1"), ("--temperature", "0")):
        assert answer(capsys, *base, *narrow)["texts"] == greedy
    added = answer(capsys, *base, "--samplers", "temperature", "--typical-p", "0.2")["texts"]
    assert added == answer(capsys, *base, "--samplers", "temperature,typical", "--typical-p", "0.2")["texts"]
    assert added != answer(capsys, *base, "--samplers", "temperature")["texts"]


@pytest.mark.usefixtures("home")
def test_special_tokens_of_a_prompt_are_parsed_on_request(capsys: Capture) -> None:
    base = ("generate", "--prompt", "Once<|endoftext|>", "--seed", "9", "--max-new-tokens", "2")
    plain, parsed = answer(capsys, *base), answer(capsys, *base, "--parse-special")
    once = answer(capsys, "generate", "--prompt", "Once", "--max-new-tokens", "1")["prompt_tokens"]
    assert parsed["prompt_tokens"] == once + 1 < plain["prompt_tokens"]


@pytest.mark.usefixtures("home")
def test_stop_strings_and_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    base = ("generate", "--seed", "1", "--max-new-tokens", "60")
    whole = answer(capsys, *base, "--prompt", "Once")["texts"][0]
    word = whole.split()[3]
    stopped = answer(capsys, *base, "--prompt", "Once", "--stop", "never there", "--stop", word)
    assert stopped["texts"][0] == whole[: whole.index(word)]
    assert stopped["finish_reasons"] == ["stop"]
    pipe(monkeypatch, b"Once")
    assert answer(capsys, *base, "--prompt", "-")["texts"][0] == whole


@pytest.mark.usefixtures("home")
def test_a_piped_prompt_is_read_as_every_text_is(
    capsys: Capture, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prompt(piped: bytes, *arguments: str) -> tuple[str, str]:
        caplog.clear()
        pipe(monkeypatch, piped)
        assert main(["generate", "--seed", "1", "--max-new-tokens", "1", "--prompt", "-", *arguments]) == 0
        return capsys.readouterr().out, caplog.text

    whole = "Once upon a time"
    for piped in (whole.encode(), f"{whole}\n".encode(), f"{whole}\r\n".encode(), whole.encode("utf-16")):
        assert re.match(rf"{whole}[^\n]*\n", prompt(piped)[0]), piped
    assert prompt(f"{whole}\n\n".encode())[0].startswith(f"{whole}\n")  # only one line end is echo's
    assert prompt(b"\xef\xbb\xbfOnce")[0].startswith("Once")
    out, err = prompt("Ein schöner Tag für Grüße ".encode() + b"\xff")
    assert out.startswith("Ein schöner Tag für Grüße �")
    assert "1 byte of the standard input is not valid UTF-8 (in line 1) and was read as �\n" in err
    out, err = prompt("Привет, мир! Это заметки.".encode("cp1251"))
    assert out.startswith("Привет, мир")
    assert (
        'the standard input is not UTF-8; it was read as cp1251: "Привет, мир! Это заметки."; if that looks wrong, name'
        in err
    )
    assert prompt("Grüße".encode("cp850"), "--encoding", "cp850")[0].startswith("Grüße")
    pipe(monkeypatch, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert "the standard input is not a text file" in complaint(capsys, "generate", "--prompt", "-")
    assert "--encoding applies to the standard input" in complaint(capsys, "generate", "--encoding", "cp1251")
    pipe(monkeypatch, b"Once")
    assert complaint(capsys, "generate", "--prompt", "-", "--encoding", "zip").startswith(
        "gptdesk: encoding must be auto or an encoding of text such as utf-8, "
    )


@pytest.mark.usefixtures("home")
def test_a_standard_input_that_is_closed_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after <&-
    closed = "gptdesk: the standard input is closed, so {} cannot be read from it; pipe it in, or leave out the -\n"
    assert complaint(capsys, "generate", "--prompt", "-") == closed.format("the prompt")
    assert complaint(capsys, "train", "--data", "-", "--name", "x") == closed.format("the text")
    assert "the standard input is closed" in complaint(capsys, "generate", "--interactive")


def test_values_may_begin_with_a_dash(capsys: Capture) -> None:
    base = ("generate", "--temperature", "0", "--max-new-tokens", "8")
    for prompt in ("-hello", "--x", "--", "---"):
        attached = answer(capsys, *base, f"--prompt={prompt}")
        assert answer(capsys, *base, "--prompt", prompt, "--stop", "---", "--stop", "--")["texts"] == attached["texts"]
    assert "argument --prompt: expected one argument" in complaint(capsys, *base, "--prompt", "--n", "2")
    assert "argument --home: expected one argument" in complaint(capsys, "generate", "--home", "--json")
    assert complaint(capsys, "models", "quantize", "starter", "--precision", "-q").startswith("gptdesk: there is no")
    assert complaint(capsys, "train", "--data", "text.txt", "--name", "-x").startswith("gptdesk: there is no file")


def test_a_stop_string_is_typed_as_on_the_page() -> None:
    parser = verb_parser("generate", "")
    add_request_options(parser)
    typed = [r"\n", r"\\n", r"a\nb\n", r"C:\temp", "\n"]
    options = parser.parse_args([f"--stop={text}" for text in typed])
    assert read_request(options, "").stop == ("\n", r"\n", "a\nb\n", r"C:\temp", "\n")
    assert r"\n stands for a new line" in " ".join(parser.format_help().split())


@pytest.mark.usefixtures("home")
def test_about_tells_what_computes_here(home: Path, capsys: Capture) -> None:
    assert main(["generate", "--max-new-tokens", "1", "--model", "starter:int8"]) == 0
    capsys.readouterr()
    assert main(["about", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["home"] == str(home)
    assert set(told["precisions"]) == {"float32", "bfloat16", "int8", "int8-dynamic", "int4"}
    assert all(place.startswith("int8, 192 wide") for place in told["kernels"])
    assert main(["about"]) == 0
    assert f"threads      {told['threads']}\n" in capsys.readouterr().out


def test_samplers_lists_every_option(capsys: Capture) -> None:
    assert main(["samplers", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [sampler["name"] for sampler in listed] == names()
    assert {"temperature", "top_k"} <= {option for sampler in listed for option in sampler["options"]}
    assert all(sampler["description"] for sampler in listed)
    assert main(["samplers"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names())
    assert "--top-k" in text


# What the user got wrong


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nosuch"], "nosuch"),
        (["--model", "starter:int3"], "int3"),
        (["--model", "../../etc"], "../../etc"),
        (["--model", ""], "name"),
        (["--samplers", "nosuch"], "there is no sampler 'nosuch'"),
        (["--samplers", ""], "chain is empty"),
        (["--top-p", "2"], "top_p must be less than or equal to 1, not 2"),
        (["--top-p", "0"], "top_p must be greater than 0, not 0"),
        (["--temperature", "-1"], "temperature must be greater than or equal to 0, not -1"),
        (["--temperature", "nan"], "temperature must be a finite number, not nan"),
        (["--temperature", "hot"], "temperature must be a valid number, not 'hot'"),
        (["--n", "0"], "n must be greater than or equal to 1, not 0"),
        (["--max-new-tokens", "0"], "max_new_tokens must be greater than or equal to 1, not 0"),
        (["--seed", "-3"], "seed must be greater than or equal to 0, not -3"),
        (["--stop", ""], "stop"),
        (["--interactive", "--json"], "leave out --prompt and --json"),
        (["--no-such-option"], "--no-such-option"),
        (["--prompt"], "--prompt"),
    ],
)
def test_bad_generate_arguments_are_one_line(capsys: Capture, arguments: list[str], words: str) -> None:
    assert words in complaint(capsys, "generate", *arguments).replace('"', "'")


@pytest.mark.usefixtures("home")
def test_a_prompt_of_ten_megabytes_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"word " * 2_000_000)
    assert "prompt" in complaint(capsys, "generate", "--prompt", "-")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("arguments", [["nosuch"], ["models"], ["models", "fly"], ["--port", "x"], ["--port", "99999"]])
def test_bad_commands_are_one_line(capsys: Capture, arguments: list[str]) -> None:
    assert arguments[-1] in complaint(capsys, *arguments) or "action" in complaint(capsys, *arguments)


def test_corrupt_checkpoints_are_one_line_and_change_nothing(home: Path, capsys: Capture) -> None:
    weights = "model.safetensors"
    for name in ("truncated", "shape", "nan", "missing", "json"):
        shutil.copytree(CHECKPOINT, home / "models" / name)
    folder = home / "models"
    data = (folder / "truncated" / weights).read_bytes()
    (folder / "truncated" / weights).write_bytes(data[: len(data) // 2])
    tensors = load_file(folder / "shape" / weights)
    save_file(tensors | {"transformer.ln_f.weight": torch.ones(7)}, folder / "shape" / weights, {"format": "pt"})
    tensors["transformer.ln_f.weight"][0] = float("nan")
    save_file(tensors, folder / "nan" / weights, {"format": "pt"})
    (folder / "missing" / weights).unlink()
    (folder / "json" / "config.json").write_text('{"n_layer": -4}')
    for name in ("truncated", "shape", "nan", "missing", "json"):
        before = {file: file.read_bytes() for file in (folder / name).iterdir()}
        line = complaint(capsys, "generate", "--model", name, "--prompt", "Once")
        assert name in line
        assert {file: file.read_bytes() for file in (folder / name).iterdir()} == before


def test_a_home_that_is_a_file_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (["generate"], [], ["models", "list"]):
        home = ["--home", str(tmp_path / "file")]
        line = complaint(capsys, *home, *arguments)
        assert "choose another with --home" in line


def test_home_may_stand_before_or_after_the_verb(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "samplers").mkdir()
    (tmp_path / "samplers" / "double.py").write_text(
        "from typing import ClassVar\nfrom pydantic import Field\nfrom samplers import Sampler\n"
        'class Double(Sampler):\n    """Doubles."""\n    name: ClassVar[str] = "double"\n'
        '    factor: float = Field(2.0, ge=1, le=9, description="100% (all) of it")\n'
        '    style: str = Field("5", description="words")\n'
        "    def __call__(self, logits, tokens):\n        return logits * self.factor\n"
    )
    for arguments in (["--home", str(tmp_path), "samplers", "--json"], ["samplers", "--json", "--home", str(tmp_path)]):
        with registry.isolated():
            assert main(arguments) == 0
        assert "double" in {sampler["name"] for sampler in json.loads(capsys.readouterr().out)}
    with registry.isolated():
        assert (
            main(["generate", "--home", str(tmp_path), "--factor", "9", "--style", "7", "--max-new-tokens", "5"]) == 0
        )
        with pytest.raises(SystemExit):
            main(["generate", "--home", str(tmp_path), "--help"])
        assert "100% (all) of it (default 2.0)" in " ".join(capsys.readouterr().out.split())


# Real processes


def _start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {"GPTDESK_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-m", "gptdesk", *arguments], text=True, env=environment, **pipes)


def test_an_interrupt_ends_the_text_and_keeps_it(tmp_path: Path) -> None:
    torch.manual_seed(1)
    endless = GPT(GPTConfig(vocab_size=26, block_size=4096, n_layer=4, n_head=4, n_embd=128))
    letters = character_tokenizer("abcdefghijklmnopqrstuvwxyz")
    save_checkpoint(tmp_path / "models" / "endless", endless, tokenizer=letters, about=About())
    command = ("generate", "--model", "endless", "--prompt", "a", "--max-new-tokens", "100000")
    with _start(tmp_path, *command) as process:
        assert process.stdout is not None
        begun = process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert begun.startswith("a")
    assert (process.returncode, out[-1:]) == (130, "\n")
    assert len(begun + out) < 4000  # it had not come to the end of the context
    assert "seed" in err
    assert "Traceback" not in err


def test_the_prompt_loop_answers_until_the_end_of_input(tmp_path: Path) -> None:
    with _start(tmp_path, "generate", "--interactive", "--seed", "1", "--max-new-tokens", "8") as process:
        out, err = process.communicate("Once\nThe fox\n", timeout=120)
    assert process.returncode == 0, err
    assert out.count("> ") == 3
    assert "> Once" in out
    assert "> The fox" in out


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    with _start(tmp_path, "generate", "--prompt", "Once", "--max-new-tokens", "200") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "Broken" not in err


def test_variables_of_gradio_that_replace_settings_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    removed = ("GRADIO_VIBE_MODE", "GRADIO_ALLOWED_PATHS", "GRADIO_LOCAL_DEV_MODE", "GRADIO_NEXT_YEARS_DANGER")
    for name in (*removed, "GRADIO_SHARE_SERVER_ADDRESS", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "true")
    with pytest.raises(SystemExit):
        main(["--version"])
    assert not [name for name in removed if name in os.environ]
    assert os.environ["GRADIO_SHARE_SERVER_ADDRESS"] == "true"
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
