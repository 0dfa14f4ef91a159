"""Weight sources: a network and an engine of one compute what those of a checkpoint do, and faults are named."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from network_checks import shaken
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from models import layout
from models.checkpoint import About, Checkpoint, save_checkpoint, save_quantized
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.precision import PRECISIONS
from models.precision.tuner import KernelTuner
from models.tensors_to_save import float_tensors
from models.tokenizer import character_tokenizer
from models.weights import WEIGHTS, StoredTensors, TensorSource, WeightSource, build_network

CONFIG = GPTConfig(vocab_size=67, block_size=24, n_layer=2, n_head=2, n_embd=64)
CONFIGS = [CONFIG, replace(CONFIG, tied=False), replace(CONFIG, bias=False)]
IDS = torch.arange(24)[None]
HERE = [name for name, precision in PRECISIONS.items() if precision.missing() is None]


def network(config: GPTConfig) -> GPT:
    torch.manual_seed(3)
    return shaken(GPT(config))


@dataclass(frozen=True)
class Foreign:
    """A draft of a foreign format: tensors of float16 by other names, with queries, keys and values apart."""

    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, model: GPT) -> "Foreign":
        tensors: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            value = parameter.detach().half()
            if ".c_attn." in name:
                parts = zip("qkv", value.chunk(3), strict=True)
                tensors |= {f"model.{name.replace('c_attn', letter)}": part for letter, part in parts}
            else:
                tensors[f"model.{name}"] = value
        return cls(tensors)

    def names(self) -> Iterator[str]:
        for name in self.tensors:
            if ".attn.k." not in name and ".attn.v." not in name:
                yield name.removeprefix("model.").replace(".attn.q.", ".attn.c_attn.")

    def read(self, name: str) -> Tensor | None:
        if ".c_attn." not in name:
            return self.tensors.get(f"model.{name}")
        parts = [self.tensors.get(f"model.{name.replace('c_attn', letter)}") for letter in "qkv"]
        return None if any(part is None for part in parts) else torch.cat([part for part in parts if part is not None])


def half(model: GPT) -> GPT:
    """The network with its weights rounded as the foreign format stores them."""
    return model.half().float()


@pytest.mark.parametrize("config", CONFIGS)
def test_a_network_of_a_foreign_format_computes_the_same(config: GPTConfig) -> None:
    source: WeightSource = Foreign.of(network(config))
    assert set(source.names()) == layout.parameter_shapes(config).keys()
    built = build_network(config, source)
    assert not built.training
    assert torch.equal(built(IDS), half(network(config))(IDS))


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("config", CONFIGS)
def test_an_engine_of_a_foreign_format_computes_the_same_bits(config: GPTConfig, name: str) -> None:
    tuner = KernelTuner()
    foreign = Engine(config, PRECISIONS[name], Foreign.of(network(config)), tuner=tuner)
    ours = Engine(config, PRECISIONS[name], TensorSource.of(half(network(config))), tuner=tuner)
    assert torch.equal(foreign(IDS), ours(IDS))


@pytest.mark.parametrize("config", CONFIGS)
def test_the_tensors_of_a_foreign_format_are_those_that_a_checkpoint_stores(config: GPTConfig, tmp_path: Path) -> None:
    tokenizer = character_tokenizer("abc")
    saved = save_checkpoint(tmp_path / "story", half(network(config)), tokenizer=tokenizer, about=About())
    stored = load_file(saved.path / "model.safetensors")
    tensors = float_tensors(config, Foreign.of(network(config)), torch.float32)
    assert tensors.keys() == stored.keys()
    assert all(torch.equal(tensors[name], stored[name]) for name in stored)


def test_an_engine_of_encoded_parts_in_memory_computes_the_bits_of_the_checkpoint(tmp_path: Path) -> None:
    tokenizer, precision, tuner = character_tokenizer("abc"), PRECISIONS["int8"], KernelTuner()
    original = save_checkpoint(tmp_path / "story", network(CONFIG), tokenizer=tokenizer, about=About())
    saved = save_quantized(tmp_path / "small", original, precision, tokenizer=tokenizer)
    weights = saved.open_weights()
    parts = {name: value for name in weights.names() if (value := weights.read(name)) is not None}
    engine = Engine(CONFIG, precision, TensorSource(parts), encoded=True, tuner=tuner)
    assert torch.equal(engine(IDS), saved.load_engine(precision, tuner=tuner)(IDS))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"h.1.mlp.c_fc.weight": None}, r"^the weights lack h\.1\.mlp\.c_fc\.weight$"),
        ({"h.0.ln_2.bias": None}, r"^the weights lack h\.0\.ln_2\.bias$"),
        ({"wte.weight": torch.ones(66, 64)}, r"^wte\.weight has the shape \(66, 64\), the network needs \(67, 64\)$"),
        ({"ln_f.weight": torch.ones(1)}, r"^ln_f\.weight has the shape \(1,\), the network needs \(64,\)$"),
    ],
)
def test_what_a_source_lacks_is_named(change: dict[str, Tensor | None], sentence: str) -> None:
    tensors = {name: value for name, value in (TensorSource.of(network(CONFIG)).tensors | change).items()}
    source = TensorSource({name: value for name, value in tensors.items() if value is not None})
    with pytest.raises(ValueError, match=sentence):
        build_network(CONFIG, source)
    with pytest.raises(ValueError, match=sentence):
        Engine(CONFIG, PRECISIONS["float32"], source)
    with pytest.raises(ValueError, match=sentence):
        float_tensors(CONFIG, source, torch.float32)


def test_a_weight_too_large_for_its_type_is_not_stored() -> None:
    tensors = {name: value.double() for name, value in TensorSource.of(network(CONFIG)).tensors.items()}
    tensors["h.1.mlp.c_fc.weight"][0, 0] = 1e39
    with pytest.raises(ValueError, match=r"^the weights h\.1\.mlp\.c_fc\.weight are too large for this precision$"):
        float_tensors(CONFIG, TensorSource(tensors), torch.float32)


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_is_cut_while_it_is_read_gives_a_sentence(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped one would end the process. What was read before is in memory of its own."""
    tokenizer = character_tokenizer("".join(map(chr, range(64, 128))))
    path = save_checkpoint(tmp_path / "cut", network(CONFIG), tokenizer=tokenizer, about=About(source="test")).path
    weights = Checkpoint.open(path).open_weights()
    with safe_open(path / WEIGHTS, framework="pt") as file:
        (last,) = [name for name in weights.names() if weights._keys[name][0] == file.offset_keys()[-1]]
    before = weights.read(last)
    assert before is not None
    expected = before.clone()

    def cut() -> None:
        with open(path / WEIGHTS, "rb+") as file:
            file.truncate((path / WEIGHTS).stat().st_size - 8)

    found = StoredTensors._find

    def find(stored: StoredTensors, file: BinaryIO, name: str) -> dict[str, tuple[int, int]]:
        places = found(stored, file, name)
        cut()
        return places

    if when == "before":
        cut()
    else:
        monkeypatch.setattr(StoredTensors, "_find", find)
    with pytest.raises(ValueError, match=r"^model.safetensors is damaged or incomplete \(.*; copy it again$"):
        weights.read(last)
    assert torch.equal(before, expected)
