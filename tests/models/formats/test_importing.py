"""Import into a library: what a file does not say is asked for with the best guess, and nothing half done is left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from format_checks import C, FusedGPT, GPTModel, H, V, converted, difference, write_characters

from models import own_models
from models.formats import child_process
from models.formats.guesses import SENTENCE
from models.formats.importing import wished_name
from models.formats.options import ImportOptions
from models.gpt import GPT, GPTConfig
from models.library import ModelLibrary
from models.tokenizer import character_tokenizer


@pytest.fixture
def library(tmp_path: Path) -> ModelLibrary:
    return ModelLibrary(tmp_path / "models", cache_folder=tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return the folder of a tutorial's model, which says nothing but its weights."""
    folder = tmp_path / "Their model"
    folder.mkdir()
    torch.save(FusedGPT(gelu="tanh", mask=True).state_dict(), folder / "model.pt")
    return folder


def models_in(library: ModelLibrary) -> list[str]:
    return sorted(path.name for path in library.folder.iterdir()) if library.folder.exists() else []


def test_a_file_that_says_nothing_is_asked_for_everything(library: ModelLibrary, source: Path) -> None:
    with pytest.raises(ValueError, match="cannot be imported") as caught:
        library.import_model(source)
    sentence = str(caught.value)
    asked = "it does not say how many heads it has, which activation and which tokenizer; import it again with"
    assert asked in sentence
    assert "--n-head 4 --activation gelu_tanh (the usual for its width)" in sentence
    assert "--tokenizer FILE" in sentence
    assert models_in(library) == []
    write_characters(source)
    options = ImportOptions(n_head=H, activation="gelu_tanh")
    info, imported = library.import_model(source, options=options)
    assert (info.name, info.problem, info.tokenizer) == ("Their-model", None, "characters")
    assert imported.kind == "state dict"
    checkpoint = library.checkpoint(info.name)
    assert difference(FusedGPT(gelu="tanh"), checkpoint) < 1e-4
    assert checkpoint.about.source == "imported from model.pt (state dict)"
    assert models_in(library) == ["Their-model"]
    assert [wished_name(path) for path in (source, source / "model.pt", source / "it.v2.pt")] == [
        "Their model",
        "Their model",
        "it.v2",
    ]


def test_the_guess_is_that_of_the_lowest_loss(library: ModelLibrary, source: Path) -> None:
    """A model that was trained with two heads, and has a width for which four are usual."""
    alphabet = "".join(sorted(set(SENTENCE)))
    tokenizer = character_tokenizer(SENTENCE)
    (source / "meta.json").write_text(json.dumps({"chars": alphabet}))
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=len(alphabet), block_size=24, n_layer=2, n_head=2, n_embd=C))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    windows = torch.tensor(tokenizer.encode(SENTENCE)).unfold(0, 25, 1)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(windows[:, :-1], windows[:, 1:]).backward()
        optimizer.step()
    state = {f"transformer.{name}": value for name, value in model.state_dict().items()}
    torch.save(state, source / "model.pt")
    with pytest.raises(ValueError, match=r"with --n-head 2 \(the likeliest by its loss on a sentence, \d\.\d\d nats"):
        library.import_model(source, options=ImportOptions(activation="gelu_tanh"))
    _, imported = library.import_model(source, options=ImportOptions(n_head=4, activation="gelu_tanh"))
    assert "nats per token with --n-head 2 --activation gelu_tanh, and" in imported.remarks[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_head": 5}, "n_embd must be a multiple of n_head"),
        ({"tokenizer": "nowhere.json"}, "there is no"),
        ({"tokenizer": "gpt2"}, "has 50,257 tokens and does not fit, for the model has 65"),
    ],
)
def test_options_that_do_not_fit(source: Path, options: dict[str, object], words: str) -> None:
    write_characters(source)
    with pytest.raises(ValueError, match=words):
        converted(source, source / "made", **({"n_head": H, "activation": "gelu_tanh"} | options))


@pytest.mark.parametrize(
    ("name", "words"), [("../x", "cannot be a model"), ("con", "Windows"), ("x" * 300, "cannot be a model")]
)
def test_names_follow_the_one_grammar(library: ModelLibrary, source: Path, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        library.import_model(source, name=name)
    assert models_in(library) == []


def test_options_are_checked() -> None:
    for wrong in ({"n_head": -1}, {"n_head": 1025}, {"n_head": "two"}, {"activation": "relu"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ImportOptions(**wrong)  # type: ignore[arg-type]


def test_other_architectures_are_named(tmp_path: Path) -> None:
    for name, words in (
        ("model.layers.0.self_attn.q_proj.weight", "LLaMA"),
        ("transformer.h.0.attn.c_q.weight", "nanochat"),
        ("transformer.h.0.norm_1.weight", "litgpt"),
        ("gpt_neox.layers.0.x", "GPT-NeoX"),
        ("fc.weight", "no known GPT-2 layout"),
    ):
        torch.save({name: torch.zeros(2, 2)}, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=words):
            converted(tmp_path / "other.pt", tmp_path / f"made {words}")


def test_a_tokenizer_larger_than_the_model_is_refused(library: ModelLibrary, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    torch.save(GPTModel().state_dict(), folder / "model.pt")
    (folder / "meta.json").write_text(json.dumps({"chars": "".join(map(chr, range(100, 100 + V + 1)))}))
    with pytest.raises(ValueError, match="has 66 tokens and does not fit, for the model has 65"):
        library.import_model(folder, options=ImportOptions(n_head=H))


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the process that converts one that never ends."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    program.chmod(0o755)
    monkeypatch.setattr(child_process.sys, "executable", str(program))


@pytest.mark.skipif(os.name == "nt", reason="the program is a script with a first line for POSIX")
def test_a_conversion_that_never_ends_is_ended(library: ModelLibrary, source: Path, slow: None) -> None:
    folder = source / "made"
    folder.mkdir()
    with pytest.raises(ValueError, match="not read within 1 seconds"):
        child_process.convert_apart(source / "model.pt", folder, ImportOptions(), seconds=1)


def test_a_conversion_that_dies_is_one_sentence(
    library: ModelLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process.sys, "executable", "/bin/false" if os.path.exists("/bin/false") else "false")
    with pytest.raises(ValueError, match=r"damaged: reading it failed \(exit code 1\)"):
        library.import_model(source)
    assert models_in(library) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no signals to end a process by")
def test_an_import_that_is_killed_leaves_no_model(source: Path, tmp_path: Path) -> None:
    write_characters(source)
    library = ModelLibrary(tmp_path / "models", cache_folder=tmp_path / "cache")
    program = (
        "from pathlib import Path; from models.library import ModelLibrary; "
        "from models.formats.options import ImportOptions; "
        f"library = ModelLibrary(Path({str(tmp_path / 'models')!r}), cache_folder=Path({str(tmp_path)!r})); "
        "print(1, flush=True); "
        f"library.import_model(Path({str(source)!r}), options=ImportOptions({H}, 'gelu_tanh'), name='new')"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [info.name for info in library.available()] == []


def test_an_import_waits_for_a_run_that_saves_its_model(
    library: ModelLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_characters(source)
    options = ImportOptions(H, "gelu_tanh")
    busy = "another window or program"
    monkeypatch.setattr(own_models, "LONG_PATIENCE", 0.1)
    with library.own.locked(), pytest.raises(ValueError, match=busy):
        library.import_model(source, name="new", options=options)
    assert models_in(library) == []
