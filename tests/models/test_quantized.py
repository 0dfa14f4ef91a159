"""Checkpoints at every precision: what is saved computes the same bits, and damage is one sentence."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import encodings
from network_checks import shaken
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from models import layout
from models.cache import KVCache
from models.checkpoint import About, Checkpoint, save_checkpoint, save_quantized
from models.engine import Engine
from models.gpt import GPT, PRESETS, GPTConfig
from models.precision import HEAD, PRECISIONS
from models.precision.tuner import KernelTuner
from models.tokenizer import Tokenizer, character_tokenizer
from models.weights import TensorSource

CONFIG = GPTConfig(vocab_size=70, block_size=24, n_layer=2, n_head=2, n_embd=64)
CONFIGS = [
    CONFIG,
    replace(CONFIG, tied=False, activation="gelu_erf"),
    replace(CONFIG, bias=False, vocab_size=67),
    replace(CONFIG, n_embd=30),
]
QUANTIZED = [name for name, precision in PRECISIONS.items() if not precision.is_float]
IDS = torch.randint(67, (2, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return character_tokenizer("abcdefghij \n")


def network(config: GPTConfig = CONFIG) -> GPT:
    torch.manual_seed(1)
    return shaken(GPT(config))


def save(folder: Path, tokenizer: Tokenizer, config: GPTConfig = CONFIG) -> Checkpoint:
    return save_checkpoint(folder / "story", network(config), tokenizer=tokenizer, about=About("a test", steps=3))


@pytest.fixture
def original(tmp_path: Path, tokenizer: Tokenizer) -> Checkpoint:
    return save(tmp_path, tokenizer)


# What is saved comes back


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("config", CONFIGS)
def test_a_saved_precision_computes_the_bits_of_one_made_on_the_fly(
    name: str, config: GPTConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    precision, tuner = PRECISIONS[name], KernelTuner()
    original = save(tmp_path, tokenizer, config)
    saved = save_quantized(tmp_path / "small", original, precision, tokenizer=tokenizer)
    assert saved == Checkpoint.open(tmp_path / "small")
    assert (saved.config, saved.quantized) == (config, None if precision.is_float else precision)
    assert saved.parameters == original.parameters
    weights = {n: p.detach() for n, p in network(config).named_parameters()}
    engines = [
        Engine(config, precision, TensorSource(weights), tuner=tuner),
        original.load_engine(precision, tuner=tuner),
        saved.load_engine(precision, tuner=tuner),
    ]
    assert len({engine.memory_bytes for engine in engines}) == 1
    caches = [KVCache(config, rows=2) for _ in engines]
    for part in IDS.split([7, 1, 16], dim=1):
        first, *others = (engine(part, cache) for engine, cache in zip(engines, caches, strict=True))
        assert first.isfinite().all()
        assert all(torch.equal(first, other) for other in others)
    assert saved.load_tokenizer().encode("face") == tokenizer.encode("face")


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("config", CONFIGS)
def test_the_file_holds_plain_tensors_and_one_table(
    name: str, config: GPTConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    precision = PRECISIONS[name]
    original = save(tmp_path, tokenizer, config)
    saved = save_quantized(tmp_path / "small", original, precision, tokenizer=tokenizer)
    data = json.loads((saved.path / "config.json").read_text())
    float_data = json.loads((original.path / "config.json").read_text())
    assert data == float_data | {"quantization_config": {"quant_method": "gptdesk", "scheme": name}}
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    for parameter, value in network(config).named_parameters():
        if value.ndim == 1:
            expected[f"transformer.{parameter}"] = tuple(value.shape), torch.float32
    for matrix, shape in precision.matrices(config).items():
        prefix = "" if matrix == HEAD else "transformer."
        for part, kind in precision.encoding(matrix, config).stored(*shape).items():
            expected[f"{prefix}{matrix}.{part}"] = kind
    tensors = load_file(saved.path / "model.safetensors")
    assert {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} == expected
    assert ("lm_head.weight" in tensors) == (not config.tied or precision.own_head)
    matrices = sum(precision.encoding(m, config).nbytes(*s) for m, s in precision.matrices(config).items())
    vectors = sum(4 * p.numel() for p in network(config).parameters() if p.ndim == 1)
    assert sum(t.nbytes for t in tensors.values()) == matrices + vectors
    size = (saved.path / "model.safetensors").stat().st_size
    assert 0 < size - matrices - vectors < 200 * len(tensors)  # the names


@pytest.mark.parametrize(
    ("name", "limit"), [("bfloat16", 250e6), ("int8", 128e6), ("int8-dynamic", 282e6), ("int4", 91e6)]
)
def test_gpt2_is_as_small_as_we_say(name: str, limit: float) -> None:
    config, precision = PRESETS["gpt2"], PRECISIONS[name]
    matrices = precision.matrices(config)
    weights = sum(precision.encoding(matrix, config).nbytes(*shape) for matrix, shape in matrices.items())
    rest = config.parameters() - sum(N * K for matrix, (N, K) in matrices.items() if matrix != HEAD)
    assert weights + 4 * rest < limit


def test_about_says_what_was_quantized(original: Checkpoint, tokenizer: Tokenizer) -> None:
    about = save_quantized(original.path.parent / "x", original, PRECISIONS["int8"], tokenizer=tokenizer).about
    assert about == replace(original.about, source="a test, as int8")


def test_the_original_is_left_alone(original: Checkpoint, tokenizer: Tokenizer) -> None:
    before = {file.name: file.read_bytes() for file in original.path.iterdir()}
    for name, precision in PRECISIONS.items():
        save_quantized(original.path.parent / name, original, precision, tokenizer=tokenizer)
    assert {file.name: file.read_bytes() for file in original.path.iterdir()} == before


# Other programs


@pytest.mark.parametrize("config", CONFIGS[:3])
def test_transformers_opens_a_bfloat16_folder(config: GPTConfig, tokenizer: Tokenizer, tmp_path: Path) -> None:
    original = save(tmp_path, tokenizer, config)
    saved = save_quantized(tmp_path / "half", original, PRECISIONS["bfloat16"], tokenizer=tokenizer)
    expected = saved.load_model()(IDS).detach()
    theirs, info = AutoModelForCausalLM.from_pretrained(saved.path, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        assert (theirs(IDS).logits - expected).abs().max() < 1e-4
        theirs = AutoModelForCausalLM.from_pretrained(saved.path)
        assert theirs.dtype == torch.bfloat16
        assert (theirs(IDS).logits.float() - expected).norm() < 0.03 * expected.norm()
        assert (original.load_model()(IDS) - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("name", QUANTIZED)
def test_transformers_refuses_a_quantized_folder_and_names_the_method(
    name: str, original: Checkpoint, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    saved = save_quantized(original.path.parent / "x", original, PRECISIONS[name], tokenizer=tokenizer)
    with pytest.raises((ValueError, RuntimeError)) as caught:
        AutoModelForCausalLM.from_pretrained(saved.path)
    assert "gptdesk" in f"{caught.value} {caplog.text}"  # some versions say it in a warning before they fail


# What is refused


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_quantized_checkpoint_only_runs_and_only_at_its_precision(
    name: str, original: Checkpoint, tokenizer: Tokenizer
) -> None:
    saved = save_quantized(original.path.parent / "x", original, PRECISIONS[name], tokenizer=tokenizer)
    with pytest.raises(ValueError, match=f"^x is quantized to {name} and only runs; take the original$"):
        saved.load_model()
    for other, precision in PRECISIONS.items():
        if other != name:
            with pytest.raises(ValueError, match=f"^x is quantized to {name} and can only run so$"):
                saved.load_engine(precision)
        with pytest.raises(ValueError, match=f"^x is quantized already, to {name}; take the original$"):
            save_quantized(original.path.parent / "y", saved, precision, tokenizer=tokenizer)
    assert not (original.path.parent / "y").exists()


def test_a_weight_that_is_no_number_is_not_quantized(original: Checkpoint, tokenizer: Tokenizer) -> None:
    file = original.path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    for name, precision in PRECISIONS.items():
        with pytest.raises(ValueError, match=r"^the checkpoint story in .* not finite numbers, in "):
            save_quantized(original.path.parent / name, original, precision, tokenizer=tokenizer)
        with pytest.raises(ValueError, match=r"^the checkpoint story in .* not finite numbers, in "):
            original.load_engine(precision)
    assert [path.name for path in original.path.parent.iterdir()] == ["story"]


@pytest.fixture
def quantized(original: Checkpoint, tokenizer: Tokenizer) -> Checkpoint:
    return save_quantized(original.path.parent / "small", original, PRECISIONS["int8"], tokenizer=tokenizer)


def refused(checkpoint: Checkpoint) -> str:
    """The one sentence with which it is refused, when it is opened or at the latest when it is loaded."""
    with pytest.raises(ValueError, match=r"^the checkpoint small in .* cannot be used: ") as caught:
        Checkpoint.open(checkpoint.path).load_engine(PRECISIONS["int8"])
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


C_FC = "transformer.h.1.mlp.c_fc"


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda t: t.update({f"{C_FC}.weight": t[f"{C_FC}.weight"].float()}), "is of the type F32, not one of ('I8',)"),
        (lambda t: t.update({f"{C_FC}.weight": t[f"{C_FC}.weight"].byte()}), "is of the type U8"),
        (lambda t: t.update({f"{C_FC}.scale": t[f"{C_FC}.scale"].half()}), "is of the type F16"),
        (lambda t: t.update({f"{C_FC}.scale": t[f"{C_FC}.scale"][:-1].clone()}), "c_fc.scale in model.safetensors has"),
        (lambda t: t.update({f"{C_FC}.weight": t[f"{C_FC}.weight"].t().contiguous()}), "has the shape (64, 256)"),
        (lambda t: t.update({"transformer.ln_f.bias": t["transformer.ln_f.bias"].half()}), "is of the type F16"),
        (lambda t: t.pop(f"{C_FC}.scale"), f"lacks 1 tensors that config.json asks for, {C_FC}.scale first"),
        (lambda t: t.update({"lm_head.scale": torch.ones(70)}), "holds 1 tensors config.json does not know"),
        (lambda t: t[f"{C_FC}.scale"][3:4].fill_(torch.nan), "not finite numbers, in h.1.mlp.c_fc.scale"),
        (lambda t: t["transformer.wte.scale"][3:4].fill_(torch.inf), "not finite numbers, in wte.scale"),
        (lambda t: t[f"{C_FC}.bias"][3:4].fill_(torch.nan), "not finite numbers, in h.1.mlp.c_fc.bias"),
        (lambda t: t.clear(), "lacks "),
    ],
)
def test_damaged_weights_are_refused(
    quantized: Checkpoint, edit: Callable[[dict[str, Tensor]], object], sentence: str
) -> None:
    tensors = load_file(quantized.path / "model.safetensors")
    edit(tensors)
    save_file(tensors, quantized.path / "model.safetensors")
    assert sentence in refused(quantized)


def test_weights_cut_off_anywhere_are_refused(quantized: Checkpoint) -> None:
    path = quantized.path / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "model.safetensors is damaged or incomplete" in refused(quantized)


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [
        ({"quant_method": "gptdesk", "scheme": "int3"}, "quantized by 'gptdesk' to 'int3', which is unknown"),
        ({"quant_method": "gptdesk", "scheme": "bfloat16"}, "to 'bfloat16', which is unknown"),
        ({"quant_method": "gptdesk", "scheme": ["int8"]}, "which is unknown"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "by 'bitsandbytes' to None, which is unknown"),
        ({}, "by None to None, which is unknown"),
        ("int8", "by 'int8' to None, which is unknown"),
        ({"quant_method": "gptdesk", "scheme": "int4"}, "model.safetensors"),
        (None, "model.safetensors"),
    ],
)
def test_a_config_that_names_another_scheme_is_refused(quantized: Checkpoint, scheme: object, sentence: str) -> None:
    data = json.loads((quantized.path / "config.json").read_text())
    (quantized.path / "config.json").write_text(json.dumps(data | {"quantization_config": scheme}))
    assert sentence in refused(quantized)


def test_every_type_that_is_stored_has_a_name_in_the_file() -> None:
    for precision in PRECISIONS.values():
        for encoding in encodings(precision).values():
            assert {dtype for _, dtype in encoding.stored(64, 64).values()} <= layout.KINDS.keys()
