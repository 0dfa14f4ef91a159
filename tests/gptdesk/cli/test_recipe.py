"""`gptdesk history recipe` and `gptdesk recipe`: a text repeated elsewhere, or what is not as it was."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_checks import Capture, answer, complaint

from gptdesk.__main__ import main
from gptdesk.export import export
from gptdesk.recipe import LONGEST_LINK, Recipe
from models.checkpoint import About, Checkpoint, save_checkpoint
from models.gpt import GPT, GPTConfig
from models.tokenizer import Tokenizer
from models.weights_hash import weights_hash

Change = Callable[[dict], object]


@pytest.fixture
def recipe(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    """Return the recipe of two texts of the model `tiny`, in a home that has the model and no history."""
    for home in ("first", "second"):
        shutil.copytree(tiny_folder / "tiny", tmp_path / home / "models" / "tiny")
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "first"))
    arguments = ("--model", "tiny", "--prompt", "ünï", "--n", "2", "--top-k", "30", "--max-new-tokens", "9")
    constraints = ("--ban-phrase", "e", "--ban-phrase", r"\n\n", "--word-bias", "fox:4")
    assert main(["generate", *arguments, *constraints]) == 0
    capsys.readouterr()
    assert main(["history", "recipe", "1"]) == 0
    file = tmp_path / "recipe.json"
    file.write_text(capsys.readouterr().out, "utf-8")
    monkeypatch.setenv("GPTDESK_HOME", str(tmp_path / "second"))
    return file


def import_gguf(file: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Import a GGUF file as the model `llama` of a home, in which the next commands run."""
    monkeypatch.setenv("GPTDESK_HOME", str(home))
    answer(capsys, "models", "import", str(file), "--name", "llama")


def change(recipe: Path, how: Change) -> str:
    """Change a recipe by hand and return its path."""
    values = json.loads(recipe.read_text("utf-8"))
    how(values)
    recipe.write_text(json.dumps(values))
    return str(recipe)


def test_the_same_text_comes_out_in_another_home(recipe: Path, capsys: Capture) -> None:
    result = answer(capsys, "recipe", str(recipe))
    assert result["same"]
    assert len(result["texts"]) == 2
    assert not any("e" in text for text in result["texts"])
    request = json.loads(recipe.read_text("utf-8"))["request"]
    assert (request["banned_phrases"], request["word_bias"]) == (["e", "\n\n"], {"fox": 4.0})
    assert "choices" not in request, "what is not asked for is not in a recipe, so that earlier versions read it"
    [entry] = answer(capsys, "history", "list")
    assert (entry["prompt"], entry["text"]) == ("ünï", result["texts"][0])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_gguf_model_repeats_its_text_where_the_file_is_imported_again(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, precision: str
) -> None:
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    original = Checkpoint.open(tiny_folder / "tiny")
    tokenizer = original.load_tokenizer()
    q8_0, q4_0 = (
        export(original, tokenizer, name="llama", to=tmp_path / kind, format="gguf", precision=kind)
        for kind in ("q8_0", "q4_0")
    )
    import_gguf(q8_0, tmp_path / "first", monkeypatch, capsys)
    arguments = ("--model", f"llama:{precision}", "--prompt", "ünï", "--n", "2", "--max-new-tokens", "9", "--seed", "3")
    assert main(["generate", *arguments]) == 0
    capsys.readouterr()
    assert main(["history", "recipe", "1"]) == 0
    file = tmp_path / "recipe.json"
    file.write_text(capsys.readouterr().out, "utf-8")
    saved = Recipe.read(file.read_bytes(), name="it")
    assert (saved.model, saved.precision) == ("llama", precision)
    assert saved.weights == weights_hash(tmp_path / "first" / "models" / "llama"), "of the weights, as imported"

    import_gguf(q8_0, tmp_path / "second", monkeypatch, capsys)
    repeated = answer(capsys, "recipe", str(file))
    assert repeated["same"]
    assert [hashlib.sha256(text.encode()).hexdigest() for text in repeated["texts"]] == [
        text.sha256 for text in saved.texts
    ]

    import_gguf(q4_0, tmp_path / "third", monkeypatch, capsys)
    assert main(["recipe", str(file)]) == 1
    assert "the model of this name has other weights" in capsys.readouterr().err


def test_a_change_is_named_by_its_token_and_reason(
    recipe: Path, tmp_path: Path, tokenizer: Tokenizer, capsys: Capture
) -> None:
    def first_token(text: str) -> int:
        return tokenizer.encode(text)[0]

    def third_token(values: dict) -> None:
        tokens = values["texts"][1]["tokens"]
        tokens[2] = next(token for token in map(first_token, "qz") if token != tokens[2])  # no character is both

    assert main(["recipe", change(recipe, third_token)]) == 1
    assert "The recipe was edited: text 2 does not have the SHA-256" in capsys.readouterr().err
    tokens = json.loads(recipe.read_text("utf-8"))["texts"][1]["tokens"]
    text = hashlib.sha256(tokenizer.decode(tokens).encode()).hexdigest()
    assert main(["recipe", change(recipe, lambda values: values["texts"][1].update(sha256=text))]) == 1
    assert "differs from token 3 of text 2 on: no reason is known" in capsys.readouterr().err
    torch.manual_seed(12)
    folder = tmp_path / "second" / "models" / "tiny"
    other = GPT(GPTConfig(vocab_size=400, block_size=64, n_layer=2, n_head=2, n_embd=32))
    save_checkpoint(folder, other, tokenizer=tokenizer, about=About(source="another"))
    assert main(["recipe", str(recipe)]) == 1
    assert "the model of this name has other weights" in capsys.readouterr().err


def test_a_link_holds_the_whole_recipe(recipe: Path, tokenizer: Tokenizer) -> None:
    saved = Recipe.read(recipe.read_bytes(), name="it")
    link = f"http://127.0.0.1:7860/{saved.to_fragment()}"
    assert Recipe.from_text(f" {link}\n") == Recipe.from_text(recipe.read_text("utf-8")) == saved
    entry = saved.to_entry(tokenizer)
    assert Recipe.of(entry) == saved
    assert [sequence.text for sequence in entry.sequences] == [tokenizer.decode(text.tokens) for text in saved.texts]
    for broken in (
        link[:-9],
        "https://example.org",
        "",
        "x" * 5_000_000,
        "{" * 5_000_000,
        f'{{"a": "{"x" * 5_000_000}"}}',
    ):
        with pytest.raises(ValueError, match="no recipe") as caught:
            Recipe.from_text(broken)
        assert len(str(caught.value)) < 120
    long = saved.model_copy(update={"request": saved.request.model_copy(update={"prompt": "x" * LONGEST_LINK})})
    with pytest.raises(ValueError, match="too long for a link"):
        long.to_fragment()


def test_a_stopped_text_may_go_on(recipe: Path, tokenizer: Tokenizer, capsys: Capture) -> None:
    def stopped(values: dict) -> None:
        for text in values["texts"]:
            tokens = text["tokens"][:4]
            written = hashlib.sha256(tokenizer.decode(tokens).encode()).hexdigest()
            text.update(tokens=tokens, sha256=written, finish_reason="stopped")

    assert main(["recipe", change(recipe, stopped)]) == 0
    assert "The same text came out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda values: values.update(version=9, written_by="7.1"), "a newer version of GPT Desk ('7.1')"),
        (lambda values: values.update(format="other"), "is no recipe"),
        (lambda values: values.update(model="nosuch"), "the recipe needs the model 'nosuch', with weights"),
        (lambda values: values["request"].update(n=3), "as many texts as sequences"),
        (lambda values: values["request"].update(seed=None), "seed must be given"),
        (lambda values: values["request"].update(max_new_tokens=-1), "max_new_tokens must be greater"),
        (lambda values: values["request"]["chain"]["samplers"].append({"name": "nosuch"}), "nosuch"),
        (lambda values: values.update(code="import os"), "has no option 'code'"),
        (lambda values: values["texts"][0].update(sha256="abc"), "sha256"),
    ],
)
def test_bad_recipes_are_one_sentence(recipe: Path, capsys: Capture, how: Change, words: str) -> None:
    assert words in complaint(capsys, "recipe", change(recipe, how))


def test_files_that_are_no_recipe(recipe: Path, tmp_path: Path, capsys: Capture) -> None:
    recipe.write_bytes(b"\xff\x00 no json")
    assert "is no recipe" in complaint(capsys, "recipe", str(recipe))
    assert "no regular file" in complaint(capsys, "recipe", str(tmp_path))
    assert "cannot be read" in complaint(capsys, "recipe", str(tmp_path / "nosuch.json"))
