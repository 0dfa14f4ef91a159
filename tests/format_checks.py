"""Networks in the layouts of other programs, each the implementation that writes its own files, tiny and seeded."""

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.checkpoint import Checkpoint
from models.formats.converting import convert, find_file
from models.formats.options import ImportOptions
from models.precision import PRECISIONS

V, T, L, H, C = 65, 24, 2, 4, 32
CHARACTERS = "".join(map(chr, range(48, 48 + V)))


class FusedAttention(nn.Module):
    """Attention with one matrix for queries, keys and values, and a mask buffer if asked for."""

    def __init__(self, bias: bool, mask: bool) -> None:
        super().__init__()
        self.c_attn = nn.Linear(C, 3 * C, bias=bias)
        self.c_proj = nn.Linear(C, C, bias=bias)
        if mask:
            self.register_buffer("bias", torch.tril(torch.ones(T, T)).view(1, 1, T, T))

    def forward(self, x: Tensor) -> Tensor:
        B, length, _ = x.shape
        q, k, v = (part.view(B, length, H, C // H).transpose(1, 2) for part in self.c_attn(x).split(C, dim=2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(C // H)
        scores = scores.masked_fill(torch.ones(length, length).tril() == 0, -torch.inf)
        return self.c_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, length, C))


class FusedBlock(nn.Module):
    """Block of nanoGPT, minGPT and build-nanogpt."""

    def __init__(self, bias: bool, mask: bool, approximate: str, inner: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(C, bias=bias), nn.LayerNorm(C, bias=bias)
        self.attn = FusedAttention(bias, mask)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(C, inner, bias=bias), "c_proj": nn.Linear(inner, C, bias=bias)})
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        inside = F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate=self.approximate)
        return x + self.mlp["c_proj"](inside)


class Sinusoids(nn.Module):
    """Positions as sines and cosines, in a buffer (1, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        angle = torch.arange(T)[:, None] * 10_000.0 ** (-torch.arange(0, C, 2) / C)
        table = torch.stack([angle.sin(), angle.cos()], dim=2).reshape(T, C)
        self.register_buffer("pe", table[None])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pe[:, : x.shape[1]]


class FusedGPT(nn.Module):
    """Network with the names of nanoGPT and its relatives."""

    def __init__(
        self,
        *,
        bias: bool = True,
        tied: bool = True,
        mask: bool = False,
        gelu: str = "none",
        sines: bool = False,
        inner: int = 4 * C,
    ) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(V, C)})
        self.transformer["pos"] = Sinusoids() if sines else nn.Identity()
        if not sines:
            self.transformer["wpe"] = nn.Embedding(T, C)
        self.transformer["h"] = nn.ModuleList(FusedBlock(bias, mask, gelu, inner) for _ in range(L))
        self.transformer["ln_f"] = nn.LayerNorm(C, bias=bias)
        self.lm_head = nn.Linear(C, V, bias=False)
        scattered(self)
        if tied:
            self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.transformer["pos"](self.transformer["wte"](ids))
        if "wpe" in self.transformer:
            x = x + self.transformer["wpe"](torch.arange(ids.shape[1]))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


class ScaledNorm(nn.Module):
    """Layer norm with `scale` and `shift`."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (C,), self.scale, self.shift)


class SeparateAttention(nn.Module):
    """Attention with a matrix each for queries, keys and values."""

    def __init__(self, qkv_bias: bool) -> None:
        super().__init__()
        self.W_query, self.W_key, self.W_value = (nn.Linear(C, C, bias=qkv_bias) for _ in range(3))
        self.out_proj = nn.Linear(C, C)
        self.register_buffer("mask", torch.triu(torch.ones(T, T), diagonal=1))

    def forward(self, x: Tensor) -> Tensor:
        B, length, _ = x.shape
        parts = (
            layer(x).view(B, length, H, C // H).transpose(1, 2) for layer in (self.W_query, self.W_key, self.W_value)
        )
        q, k, v = parts
        scores = (q @ k.transpose(2, 3)).masked_fill(self.mask[:length, :length].bool(), -torch.inf)
        mixed = (scores / (C // H) ** 0.5).softmax(-1) @ v
        return self.out_proj(mixed.transpose(1, 2).reshape(B, length, C))


class SeparateBlock(nn.Module):
    """Block of a GPTModel."""

    def __init__(self, qkv_bias: bool) -> None:
        super().__init__()
        self.att = SeparateAttention(qkv_bias)
        self.ff = nn.ModuleDict()
        self.ff["layers"] = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(approximate="tanh"), nn.Linear(4 * C, C))
        self.norm1, self.norm2 = ScaledNorm(), ScaledNorm()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.att(self.norm1(x))
        return x + self.ff["layers"](self.norm2(x))


class GPTModel(nn.Module):
    """Network with `tok_emb`, `trf_blocks` and an untied head."""

    def __init__(self, *, qkv_bias: bool = False) -> None:
        super().__init__()
        self.tok_emb, self.pos_emb = nn.Embedding(V, C), nn.Embedding(T, C)
        self.trf_blocks = nn.Sequential(*(SeparateBlock(qkv_bias) for _ in range(L)))
        self.final_norm = ScaledNorm()
        self.out_head = nn.Linear(C, V, bias=False)
        scattered(self)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tok_emb(ids) + self.pos_emb.weight[: ids.shape[1]]
        return self.out_head(self.final_norm(self.trf_blocks(x)))


def scattered(model: nn.Module) -> None:
    """Give every parameter values that matter, the same every time."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (0.5 if parameter.ndim == 1 else 0.0))


def ids() -> Tensor:
    """Return tokens (2, T) to compare logits on."""
    return torch.randint(0, V, (2, T), generator=torch.Generator().manual_seed(1))


def write_characters(folder: Path) -> None:
    """Write the meta.json of a tokenizer of characters."""
    stoi = {character: i for i, character in enumerate(CHARACTERS)}
    (folder / "meta.json").write_text(json.dumps({"vocab_size": V, "stoi": stoi}))


def converted(path: Path, folder: Path, **options: object) -> tuple[Checkpoint, dict[str, object]]:
    """Return the checkpoint that a file becomes, converted in this process, and the answer of the conversion."""
    folder.mkdir()
    answer = convert(find_file(path), folder, ImportOptions(**options))  # type: ignore[arg-type]
    return Checkpoint.open(folder), answer


@torch.inference_mode()
def difference(model: nn.Module, checkpoint: Checkpoint, tokens: Tensor | None = None) -> float:
    """Return the largest difference of logits of the source and of the checkpoint, in float32."""
    tokens = ids() if tokens is None else tokens
    return float((model.eval()(tokens) - checkpoint.load_model()(tokens)).abs().max())


@torch.inference_mode()
def engine_logits(checkpoint: Checkpoint, precision: str, tokens: Tensor) -> Tensor:
    """Return the logits (T, V) of one row as the app computes them."""
    engine = checkpoint.load_engine(PRECISIONS[precision])
    return engine(tokens)
