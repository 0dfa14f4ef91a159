"""Import of every layout, written by its own implementation: the logits are those of the source."""

import argparse
import json
import pickle
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from format_checks import (
    CHARACTERS,
    C,
    FusedGPT,
    GPTModel,
    H,
    L,
    T,
    V,
    converted,
    difference,
    engine_logits,
    ids,
    write_characters,
)
from safetensors.torch import save_file
from torch import nn

from gptdesk.export.pt import write_pt
from models.formats.converting import find_file
from models.precision import PRECISIONS

TOLERANCE = 1e-4
NUMBERS = {"n_layer": L, "n_head": H, "n_embd": C, "block_size": T, "vocab_size": V}


@dataclass
class GPTConfig:
    """Configuration that build-nanogpt pickles beside its weights."""

    block_size: int = T
    vocab_size: int = V
    n_layer: int = L
    n_head: int = H
    n_embd: int = C


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return an empty folder of a foreign program."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_nanogpt(source: Path, tmp_path: Path, bias: bool, compiled: bool) -> None:
    model = FusedGPT(bias=bias)
    optimizer = torch.optim.AdamW(model.parameters())
    model(ids()).sum().backward()
    optimizer.step()
    prefix = "_orig_mod." if compiled else ""
    checkpoint = {
        "model": {prefix + name: value for name, value in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "model_args": NUMBERS | {"bias": bias, "dropout": 0.1},
        "iter_num": 250,
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": "letters", "learning_rate": 1e-3, "compile": compiled},
    }
    torch.save(checkpoint, source / "ckpt.pt")
    data = tmp_path / "data" / "letters"
    data.mkdir(parents=True)
    itos = dict(enumerate(CHARACTERS))
    meta = {"vocab_size": V, "itos": itos, "stoi": {c: i for i, c in itos.items()}}
    (data / "meta.pkl").write_bytes(pickle.dumps(meta))
    made, answer = converted(source, tmp_path / "ours")
    assert difference(model, made) < TOLERANCE
    assert (made.config.bias, made.config.activation, made.config.dropout) == (bias, "gelu_erf", 0.1)
    assert made.config.tied
    assert (answer["kind"], answer["missing"]) == ("nanoGPT checkpoint", ())
    tokenizer = made.load_tokenizer()
    assert tokenizer.decode(tokenizer.encode(CHARACTERS[5:9])) == CHARACTERS[5:9]


def test_build_nanogpt_with_a_pickled_configuration(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FusedGPT(gelu="tanh", mask=True)
    with monkeypatch.context() as patch:
        patch.setattr(GPTConfig, "__module__", "__main__")
        patch.setattr(sys.modules["__main__"], "GPTConfig", GPTConfig, raising=False)
        checkpoint = {"model": model.state_dict(), "config": GPTConfig(), "step": 100, "val_loss": 3.1}
        torch.save(checkpoint, source / "model_00100.pt")
    write_characters(source)
    made, answer = converted(source, tmp_path / "ours")
    assert difference(model, made) < TOLERANCE
    assert (answer["kind"], answer["missing"]) == ("build-nanogpt checkpoint", ())


def test_mingpt(source: Path, tmp_path: Path) -> None:
    model = FusedGPT(tied=False, gelu="tanh", mask=True)
    torch.save(model.state_dict(), source / "model.pt")
    sections = {"system": {"seed": 1}, "data": {}, "trainer": {"batch_size": 2}}
    settings = {"model": {"model_type": None, "n_head": H, "n_embd": C, "block_size": T}} | sections
    (source / "config.json").write_text(json.dumps(settings))
    write_characters(source)
    made, answer = converted(source, tmp_path / "ours")
    assert difference(model, made) < TOLERANCE
    assert (answer["kind"], answer["missing"], made.config.tied) == ("minGPT checkpoint", (), False)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["model.pt", "model_checkpoint.pt", "model.safetensors"])
def test_tutorial_state_dict(source: Path, tmp_path: Path, tied: bool, name: str) -> None:
    model = FusedGPT(tied=tied, mask=True, gelu="tanh")
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    if name.endswith(".pt"):
        torch.save(state if name == "model.pt" else {"model_state_dict": state, "epoch": 3}, source / name)
    else:
        save_file({key: value.clone() for key, value in state.items()}, source / name)
    (source / "config.json").write_text(json.dumps({"n_heads": H, "activation": "gelu_new"}))
    write_characters(source)
    made, answer = converted(source, tmp_path / "ours")
    assert difference(model, made) < TOLERANCE
    assert (answer["kind"], answer["missing"], made.config.tied) == ("state dict", (), tied)


@pytest.mark.parametrize(("gelu", "activation"), [("tanh", "gelu_tanh"), ("none", "gelu_erf")])
def test_activation_in_meta_json_and_any_width_inside(source: Path, tmp_path: Path, gelu: str, activation: str) -> None:
    model = FusedGPT(gelu=gelu, inner=3 * C)
    torch.save(model.state_dict(), source / "model.pt")
    (source / "config.json").write_text(json.dumps(NUMBERS))
    (source / "meta.json").write_text(json.dumps({"activation": activation, "chars": CHARACTERS}))
    made, answer = converted(source, tmp_path / "ours")
    assert difference(model, made) < TOLERANCE
    assert (answer["missing"], made.config.n_inner, made.config.activation) == ((), 3 * C, activation)


def test_padded_vocabulary_is_gpt2s(source: Path, tmp_path: Path) -> None:
    model = FusedGPT(gelu="tanh")
    wide = nn.Linear(C, 50304, bias=False)
    model.lm_head = wide
    model.transformer["wte"] = nn.Embedding(50304, C)
    model.transformer["wte"].weight = wide.weight
    torch.save(model.state_dict(), source / "model.pt")
    made, answer = converted(source, tmp_path / "ours", n_head=H, activation="gelu_tanh")
    assert difference(model, made) < TOLERANCE
    assert (made.config.vocab_size, made.tokenizer_kind, answer["missing"]) == (50304, "gpt2", ())


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_gptmodel(source: Path, tmp_path: Path, qkv_bias: bool) -> None:
    model = GPTModel(qkv_bias=qkv_bias)
    torch.save(model.state_dict(), source / "model.pth")
    settings = {"emb_dim": C, "n_heads": H, "n_layers": L, "context_length": T, "drop_rate": 0.1, "qkv_bias": qkv_bias}
    (source / "config.json").write_text(json.dumps(settings))
    write_characters(source)
    made, answer = converted(source, tmp_path / "ours")
    assert difference(model, made) < TOLERANCE
    assert (answer["kind"], made.config.dropout, made.config.tied) == ("GPTModel state dict", 0.1, False)


@pytest.mark.parametrize("stored", [True, False])
def test_sinusoidal_positions_become_a_table(source: Path, tmp_path: Path, stored: bool) -> None:
    model = FusedGPT(sines=True)
    state = model.state_dict()
    if not stored:
        del state["transformer.pos.pe"]
    settings = argparse.Namespace(n_head=H, activation="gelu", block_size=T, pos_encoding="sinusoidal")
    torch.save({"model": state, "args": settings}, source / "model.pt")
    write_characters(source)
    made, answer = converted(source, tmp_path / "ours")
    assert difference(model, made) < TOLERANCE
    assert answer["missing"] == ()


def quantized(model: nn.Module, **options: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        return torch.ao.quantization.quantize_dynamic(model.eval(), **({"qconfig_spec": {nn.Linear}} | options))


def quantized_state(source: Path, model: nn.Module, *, activation: str = "gelu") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(model.state_dict(), source / "model.pt")
    (source / "config.json").write_text(json.dumps({"n_head": H, "activation": activation}))
    write_characters(source)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_quantize_dynamic_keeps_its_weights(source: Path, tmp_path: Path, tied: bool, bias: bool) -> None:
    precision = PRECISIONS["int8-dynamic"]
    if precision.missing():
        pytest.skip(str(precision.missing()))
    model = quantized(FusedGPT(tied=tied, bias=bias, mask=True))
    quantized_state(source, model)
    made, answer = converted(source, tmp_path / "ours")
    assert made.quantized is precision
    assert (made.config.tied, made.config.bias, answer["remarks"]) == (tied, bias, ())
    with torch.inference_mode():
        theirs, ours = model(ids()), engine_logits(made, "int8-dynamic", ids())
    assert (theirs - ours).abs().max() < 1e-3
    theirs = model.transformer["h"][1].attn.c_attn.weight()
    weights = made.open_weights()
    assert torch.equal(weights.read("h.1.attn.c_attn.weight"), theirs.int_repr())
    assert weights.read("h.1.attn.c_attn.scale").item() == pytest.approx(theirs.q_scale(), rel=1e-7)


PER_CHANNEL = {"qconfig_spec": {nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}}
EMBEDDINGS = {nn.Embedding: torch.ao.quantization.float_qparams_weight_only_qconfig}


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (FusedGPT, PER_CHANNEL),
        (lambda: FusedGPT(tied=False, bias=False), PER_CHANNEL),
        (GPTModel, {}),
        (lambda: GPTModel(qkv_bias=True), {}),
        (GPTModel, PER_CHANNEL),
        (lambda: FusedGPT(tied=False), {"qconfig_spec": EMBEDDINGS | {nn.Linear: "dynamic"}}),
    ],
    ids=["per-channel", "untied per-channel", "GPTModel", "GPTModel biases", "GPTModel per-channel", "embeddings too"],
)
def test_scales_of_rows_and_parts_are_kept(
    source: Path, tmp_path: Path, make: Callable[[], nn.Module], options: dict[str, object]
) -> None:
    """Files with more than one scale for a matrix of ours run by the same whole numbers, with a scale for each row."""
    if reason := PRECISIONS["int8-dynamic"].missing():
        pytest.skip(reason)
    model = quantized(make(), **_with_default(options))
    quantized_state(source, model, activation="gelu_tanh" if isinstance(model, GPTModel) else "gelu")
    made, answer = converted(source, tmp_path / "ours")
    assert made.quantized is not None
    assert (made.quantized.name, answer["remarks"]) == ("int8-dynamic", ())
    with torch.inference_mode():
        theirs, ours = model(ids()), engine_logits(made, "int8-dynamic", ids())
    assert (theirs - ours).abs().max() < 1e-3
    weights = made.open_weights()
    if isinstance(model, GPTModel):
        theirs = model.trf_blocks[1].att.W_key.weight()
        whole, scale = (weights.read(f"h.1.attn.c_attn.{part}")[C : 2 * C] for part in ("weight", "scale"))
    else:
        theirs = model.transformer["h"][1].mlp["c_fc"].weight()
        whole, scale = (weights.read(f"h.1.mlp.c_fc.{part}") for part in ("weight", "scale"))
    assert torch.equal(whole, theirs.int_repr())
    per_row = theirs.qscheme() == torch.per_channel_affine
    expected = theirs.q_per_channel_scales().float() if per_row else torch.full_like(scale, theirs.q_scale())
    torch.testing.assert_close(scale, expected)
    # and out again, as torch's own code loads it
    write_pt(made, made.load_tokenizer(), "it", tmp_path / "out")
    again, answer = converted(tmp_path / "out", tmp_path / "again")
    assert answer["missing"] == ()
    torch.testing.assert_close(engine_logits(again, "int8-dynamic", ids()), ours, atol=0, rtol=0)


def _with_default(options: dict[str, object]) -> dict[str, object]:
    """Return options with torch's default in place of the word "dynamic"."""
    default = torch.ao.quantization.default_dynamic_qconfig
    spec = options.get("qconfig_spec", {})
    named = {key: default if value == "dynamic" else value for key, value in spec.items()}
    return {"qconfig_spec": named} if named else {}


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ({"dtype": torch.float16}, FusedGPT),
        ({"qconfig_spec": {"lm_head"}}, FusedGPT),
        ({"qconfig_spec": EMBEDDINGS, "dtype": torch.quint8}, FusedGPT),
    ],
    ids=["float16", "head-only", "embeddings"],
)
def test_other_quantized_weights_become_the_floats_they_stand_for(
    source: Path, tmp_path: Path, options: dict[str, object], make: Callable[[], nn.Module]
) -> None:
    model = quantized(make(), **options)
    quantized_state(source, model)
    made, _ = converted(source, tmp_path / "ours")
    assert made.quantized is None
    weights = made.open_weights()
    for name, module in model.named_modules():
        if callable(getattr(module, "weight", None)):
            layer = name.removeprefix("transformer.")
            value = module.weight()
            expected = value.dequantize() if value.is_quantized else value
            if layer.startswith(("h.", "lm_head", "wte", "wpe")):
                actual = weights.read("wte.weight" if layer == "lm_head" and made.config.tied else f"{layer}.weight")
            else:
                continue
            torch.testing.assert_close(actual, expected, atol=1e-6 if layer != "lm_head" else 0.01, rtol=0)


def test_older_quantized_layers_have_weight_and_bias_apart(source: Path, tmp_path: Path) -> None:
    state = quantized(FusedGPT(tied=False)).state_dict()
    older = {}
    for name, value in state.items():
        if name.endswith("._packed_params._packed_params"):
            weight, bias = value
            layer = name.removesuffix("._packed_params")
            older[f"{layer}.weight"] = weight
            if bias is not None:
                older[f"{layer}.bias"] = bias
        else:
            older[name] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(older, source / "model.pt")
    made, _ = converted(source, tmp_path / "ours", n_head=H, activation="gelu_erf")
    assert made.quantized is PRECISIONS["int8-dynamic"]


def test_a_folder_with_several_files_asks_for_one(source: Path) -> None:
    for name in ("a.pt", "b.pt"):
        torch.save({}, source / name)
    with pytest.raises(ValueError, match=r"several files of weights \(a.pt, b.pt\); name one of them"):
        find_file(source)
    with pytest.raises(ValueError, match="no file of weights"):
        find_file(source.parent)
