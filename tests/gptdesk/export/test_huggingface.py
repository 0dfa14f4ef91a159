"""`--format huggingface`: the folder beside the checkpoint, opened by transformers."""

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from network_checks import network
from transformers import AutoModelForCausalLM, AutoTokenizer

from gptdesk.export import export
from gptdesk.starter import CHECKPOINT as STARTER
from models.checkpoint import About, Checkpoint, save_checkpoint, save_quantized
from models.gpt import GPTConfig
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer
from models.weights import WEIGHTS


@pytest.mark.parametrize("name", ["tiny", "starter"])
def test_transformers_opens_the_folder(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    checkpoint = Checkpoint.open(STARTER if name == "starter" else tiny_folder / name)
    tokenizer = checkpoint.load_tokenizer()
    (tmp_path / "hf").mkdir()  # an empty folder may be there
    folder = export(checkpoint, tokenizer, name=name, to=tmp_path / "hf", format="huggingface")
    assert (folder / WEIGHTS).read_bytes() == (checkpoint.path / WEIGHTS).read_bytes()
    text = "Once upon a time"
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs(text).input_ids == tokenizer.encode(text)
    ids = torch.tensor([tokenizer.encode(text)])
    logits = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
    torch.testing.assert_close(logits, checkpoint.load_model()(ids), rtol=1e-4, atol=1e-4)


def test_the_card_says_what_is_known_and_holds_no_markup(tmp_path: Path, tokenizer: Tokenizer) -> None:
    evil = 'a\n---\nlicense: "x" | <img src=x> [link](http://example.org) `code`'
    config = GPTConfig(vocab_size=400, block_size=16, n_layer=1, n_head=1, n_embd=8)
    about = About(source=evil, licence='MIT"\n---\n', validation_loss=1.5)
    checkpoint = save_checkpoint(
        tmp_path / "m", network(config), tokenizer=tokenizer, about=about, held_out="what nobody else shall read"
    )
    folder = export(checkpoint, tokenizer, name="m", to=tmp_path / "hf", format="huggingface")
    assert not (folder / "held_out.txt").exists()
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "transformers"
    assert card.data.to_dict()["license"] == 'mit"\n---\n'
    assert "| Validation loss | 1.5000 nats per token |" in card.text
    (source,) = [line for line in card.text.splitlines() if line.startswith("| Source |")]
    assert r"\| \<img src=x\> \[link\](http://example.org) \`code\`" in source


def test_a_quantized_model_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    original = Checkpoint.open(tiny_folder / "tiny")
    tokenizer = original.load_tokenizer()
    copy = save_quantized(tmp_path / "int8", original, PRECISIONS["int8"], tokenizer=tokenizer)
    with pytest.raises(ValueError, match="which transformers does not know"):
        export(copy, tokenizer, name="tiny", to=tmp_path / "hf", format="huggingface")
    assert not (tmp_path / "hf").exists()


def test_a_folder_with_anything_in_it_stays_as_it_is(tiny_folder: Path, tmp_path: Path) -> None:
    original = Checkpoint.open(tiny_folder / "tiny")
    (tmp_path / "mine").write_text("text")
    (tmp_path / "empty").mkdir()
    for to, options, words in (
        (tmp_path, {}, "exists already"),
        (tmp_path / "new", {"zip": True}, "zip is no option of the format huggingface"),
        (tmp_path / "mine" / "new", {}, "cannot be written"),
    ):
        with pytest.raises(ValueError, match=words):
            export(original, original.load_tokenizer(), name="tiny", to=to, format="huggingface", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "mine"]


def test_weights_in_several_files_go_along(tiny_folder: Path, tmp_path: Path) -> None:
    whole = Checkpoint.open(tiny_folder / "tiny")
    tokenizer = whole.load_tokenizer()
    theirs = AutoModelForCausalLM.from_pretrained(whole.path)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    tokenizer.save(tmp_path / "shards", context=whole.config.block_size)
    checkpoint = Checkpoint.open(tmp_path / "shards")
    hub = export(checkpoint, tokenizer, name="tiny", to=tmp_path / "hf", format="huggingface")
    space = export(
        checkpoint, tokenizer, name="tiny", to=tmp_path / "space", format="space", sdk="cpu", precision="float32"
    )
    [deployed] = space.rglob("tiny/config.json")
    for folder in (hub, deployed.parent):
        assert len(list(folder.glob("*.safetensors"))) > 2
        ids = torch.tensor([[1, 2, 3]])
        torch.testing.assert_close(Checkpoint.open(folder).load_model()(ids), whole.load_model()(ids))
