"""`--format pt`: the files loaded into a network written as tutorials write it."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from network_checks import CONFIG, VARIANTS, network, tokens
from torch import Tensor, nn
from torch.nn import functional as F

from gptdesk.export import export
from models.checkpoint import About, Checkpoint, save_checkpoint, save_quantized
from models.gpt import GPTConfig
from models.precision import PRECISIONS
from models.tokenizer import Tokenizer, character_tokenizer


class Block(nn.Module):
    """A block with nanoGPT's names."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        C, bias = config["n_embd"], config["bias"]
        self.heads = config["n_head"]
        self.gelu = nn.GELU(approximate="tanh" if config["activation"] == "gelu_tanh" else "none")
        self.ln_1, self.ln_2 = nn.LayerNorm(C, bias=bias), nn.LayerNorm(C, bias=bias)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(C, 3 * C, bias=bias), "c_proj": nn.Linear(C, C, bias=bias)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(C, 4 * C, bias=bias), "c_proj": nn.Linear(4 * C, C, bias=bias)})

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        qkv = self.attn["c_attn"](self.ln_1(x)).split(C, dim=2)
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in qkv)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, C)
        x = x + self.attn["c_proj"](y)
        return x + self.mlp["c_proj"](self.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Tutorial(nn.Module):
    """GPT with nanoGPT's names."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        C, V = config["n_embd"], config["vocab_size"]
        parts = {"wte": nn.Embedding(V, C), "wpe": nn.Embedding(config["block_size"], C)}
        parts["h"] = nn.ModuleList(Block(config) for _ in range(config["n_layer"]))
        self.transformer = nn.ModuleDict(parts | {"ln_f": nn.LayerNorm(C, bias=config["bias"])})
        self.lm_head = nn.Linear(C, V, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer["wte"](ids) + self.transformer["wpe"](torch.arange(ids.shape[1]))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


@pytest.mark.parametrize("config", VARIANTS)
@torch.no_grad()
def test_a_tutorials_network_computes_the_same(config: GPTConfig, tmp_path: Path) -> None:
    model = network(config)
    alphabet = [chr(0x3B1 + i) for i in range(24)] + ["\n", "ß"]
    tokenizer = character_tokenizer("".join(alphabet))
    checkpoint = save_checkpoint(tmp_path / "m", model, tokenizer=tokenizer, about=About())
    folder = export(checkpoint, tokenizer, name="m", to=tmp_path / "pt", format="pt")
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    theirs = Tutorial(settings).eval()
    theirs.load_state_dict(torch.load(folder / "model.pt", weights_only=True))  # strict: no tensor too few or too many
    ids = tokens(2, 20)
    torch.testing.assert_close(theirs(ids), model(ids), rtol=1e-4, atol=1e-4)
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    text = "βγα\nß"
    assert [meta["stoi"][c] for c in text] == tokenizer.encode(text)
    assert "".join(meta["itos"][str(i)] for i in tokenizer.encode(text)) == text


def test_a_tokenizer_of_pieces_comes_along(tiny_folder: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_folder / "tiny")
    tokenizer = checkpoint.load_tokenizer()
    folder = export(checkpoint, tokenizer, name="tiny", to=tmp_path / "pt", format="pt")
    assert Tokenizer.load(folder).encode("Once upon a time") == tokenizer.encode("Once upon a time")
    assert json.loads((folder / "meta.json").read_text())["end_of_text"] == tokenizer.end_of_text


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    tokenizer = character_tokenizer("ab")
    config = dataclasses.replace(CONFIG, vocab_size=2)
    original = save_checkpoint(tmp_path / "m", network(config), tokenizer=tokenizer, about=About())
    copy = save_quantized(tmp_path / "int8", original, PRECISIONS["int8"], tokenizer=tokenizer)
    with pytest.raises(ValueError, match="export the original"):
        export(copy, tokenizer, name="m", to=tmp_path / "pt", format="pt")
