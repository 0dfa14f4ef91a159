"""`--format pt`: files for the code of tutorials, and for torch's own quantized layers."""

import json
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from network_checks import ALPHABET, VARIANTS, network, tokens
from torch import Tensor, nn
from torch.nn import functional as F

from gptdesk.export import export
from models.checkpoint import About, Checkpoint, save_checkpoint, save_quantized
from models.gpt import GPTConfig
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer, character_tokenizer

CHARACTERS = character_tokenizer(ALPHABET)


class Block(nn.Module):
    def __init__(self, config: dict, approximate: str) -> None:
        super().__init__()
        C, bias, self.n_head = config["n_embd"], config["bias"], config["n_head"]
        self.ln_1, self.ln_2 = nn.LayerNorm(C, bias=bias), nn.LayerNorm(C, bias=bias)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(C, 3 * C, bias=bias), "c_proj": nn.Linear(C, C, bias=bias)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(C, 4 * C, bias=bias), "c_proj": nn.Linear(4 * C, C, bias=bias)})
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        parts = self.attn["c_attn"](self.ln_1(x)).split(C, dim=2)
        q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in parts)
        scores = (q @ k.transpose(-2, -1)) / (C // self.n_head) ** 0.5
        scores = scores.masked_fill(~torch.tril(torch.ones(T, T, dtype=torch.bool)), float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
        x = x + self.attn["c_proj"](y)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate=self.approximate))


class TutorialGPT(nn.Module):
    """A GPT as tutorials build it: everything but the head in one ModuleDict, the head tied to the tokens."""

    def __init__(self, config: dict, *, tied: bool, approximate: str) -> None:
        super().__init__()
        V, C = config["vocab_size"], config["n_embd"]
        parts = {"wte": nn.Embedding(V, C), "wpe": nn.Embedding(config["block_size"], C)}
        blocks = nn.ModuleList(Block(config, approximate) for _ in range(config["n_layer"]))
        self.transformer = nn.ModuleDict(parts | {"h": blocks, "ln_f": nn.LayerNorm(C, bias=config["bias"])})
        self.lm_head = nn.Linear(C, V, bias=False)
        if tied:
            self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer["wte"](ids) + self.transformer["wpe"](torch.arange(ids.shape[1]))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


def tutorial_model(folder: Path) -> TutorialGPT:
    """The network that the files beside model.pt describe, with random weights."""
    config, meta = (json.loads((folder / name).read_text()) for name in ("config.json", "meta.json"))
    approximate = "tanh" if meta["activation"] == "gelu_tanh" else "none"
    return TutorialGPT(config, tied=meta["tied"], approximate=approximate).eval()


def quantize(model: nn.Module) -> nn.Module:
    """Torch's own quantization, without its warnings that it is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def load(model: nn.Module, file: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.load_state_dict(torch.load(file, weights_only=True))  # strict: neither more nor less
    return model


def saved(path: Path, config: GPTConfig) -> Checkpoint:
    return save_checkpoint(path, network(config), tokenizer=CHARACTERS, about=About())


@pytest.mark.parametrize("config", VARIANTS)
def test_the_code_of_a_tutorial_loads_it(tmp_path: Path, config: GPTConfig) -> None:
    checkpoint = saved(tmp_path / "m", config)
    folder = export(checkpoint, CHARACTERS, name="m", to=tmp_path / "pt", format="pt")
    model, ids = load(tutorial_model(folder), folder / "model.pt"), tokens(2, 24)
    with torch.inference_mode():
        torch.testing.assert_close(model(ids), checkpoint.load_model()(ids), rtol=1e-4, atol=1e-4)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    assert [meta["stoi"][character] for character in "abc"] == CHARACTERS.encode("abc")
    assert "".join(meta["itos"]) == CHARACTERS.decode(range(len(ALPHABET)))


@pytest.mark.parametrize("config", VARIANTS)
def test_the_quantized_layers_of_torch_load_it(tmp_path: Path, config: GPTConfig) -> None:
    if reason := PRECISIONS["int8-dynamic"].missing():
        pytest.skip(reason)
    checkpoint = saved(tmp_path / "m", config)
    plain = export(checkpoint, CHARACTERS, name="m", to=tmp_path / "plain", format="pt")
    theirs = quantize(load(tutorial_model(plain), plain / "model.pt"))
    stored = save_quantized(tmp_path / "q", checkpoint, PRECISIONS["int8-dynamic"], tokenizer=CHARACTERS)
    ids = tokens(2, 24)
    for source, options in ((checkpoint, {"precision": "int8-dynamic"}), (stored, {})):
        to = tmp_path / f"of-{source.path.name}"
        folder = export(source, CHARACTERS, name="m", to=to, format="pt", **options)
        ours = load(quantize(tutorial_model(folder)), folder / "model.pt")
        with torch.inference_mode():
            assert torch.equal(ours(ids), theirs(ids))
        assert [*ours.state_dict()] == [*theirs.state_dict()]


def test_an_archive_holds_the_same_files(tiny_folder: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_folder / "tiny")
    tokenizer = checkpoint.load_tokenizer()
    folder = export(checkpoint, tokenizer, name="tiny", to=tmp_path / "tiny", format="pt")
    assert Tokenizer.load(folder).encode("Once upon a time") == tokenizer.encode("Once upon a time")
    archive = export(checkpoint, tokenizer, name="tiny", to=tmp_path / "tiny.zip", format="pt", zip=True)
    with zipfile.ZipFile(archive) as packed:
        assert {f"tiny/{file.name}" for file in folder.iterdir()} == {*packed.namelist()}
        assert packed.read("tiny/tokenizer.json") == (folder / "tokenizer.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny", "tiny.zip"]


def test_what_a_state_dict_cannot_hold_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    original = Checkpoint.open(tiny_folder / "tiny")
    tokenizer = original.load_tokenizer()
    copy = save_quantized(tmp_path / "int8", original, PRECISIONS["int8"], tokenizer=tokenizer)
    for source, options, words in (
        (copy, {}, "cannot be written at int8: .*export the original"),
        (copy, {"precision": "float32"}, "is quantized to int8 already"),
        (original, {"precision": "int4"}, "a state dict has float32 or int8-dynamic"),
        (original, {"zip": True}, "needs a name that ends in .zip"),
    ):
        with pytest.raises(ValueError, match=words):
            export(source, tokenizer, name="tiny", to=tmp_path / "pt", format="pt", **options)
    assert not (tmp_path / "pt").exists()
