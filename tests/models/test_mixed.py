"""Mixed precisions: matrices raised one by one, saved and read again with the same bits; damage is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from network_checks import ALPHABET, shaken
from safetensors.torch import load_file

from models.cache import KVCache
from models.checkpoint import About, Checkpoint, save_checkpoint, save_quantized
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.library import ModelKey, ModelLibrary
from models.manager import ModelManager
from models.precision import PRECISIONS
from models.precision.mixed import levels, mixed
from models.precision.tuner import KernelTuner
from models.tokenizer import character_tokenizer
from models.weights import WEIGHTS, TensorSource

TOKENIZER = character_tokenizer(ALPHABET)
CONFIG = GPTConfig(vocab_size=TOKENIZER.vocab_size, block_size=24, n_layer=2, n_head=2, n_embd=64)
RAISED = {"h.0.mlp.c_fc": "int8", "h.1.attn.c_proj": "float32", "wpe": "float32"}
IDS = torch.randint(TOKENIZER.vocab_size, (2, 24), generator=torch.Generator().manual_seed(0))


def network(config: GPTConfig = CONFIG) -> GPT:
    torch.manual_seed(1)
    return shaken(GPT(config))


@pytest.fixture
def library(tmp_path: Path) -> ModelLibrary:
    save_checkpoint(tmp_path / "models" / "a", network(), tokenizer=TOKENIZER, about=About("a test"))
    return ModelLibrary(tmp_path / "models", cache_folder=tmp_path)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, tied=False, bias=False)], ids=["tied", "untied"])
@pytest.mark.parametrize(
    ("base", "raised"), [("int4", RAISED), ("int4", {"wte": "float32"}), ("int8", {"wte": "float32"})]
)
def test_a_mixed_checkpoint_computes_the_bits_of_one_made_on_the_fly(
    base: str, raised: dict[str, str], config: GPTConfig, tmp_path: Path
) -> None:
    model, tuner = network(config), KernelTuner()
    original = save_checkpoint(tmp_path / "a", model, tokenizer=TOKENIZER, about=About())
    precision = mixed(base, raised, config)
    saved = save_quantized(tmp_path / "b", original, precision, tokenizer=TOKENIZER)
    assert saved.quantized is not None
    assert saved.quantized.raised == tuple(sorted(raised.items()))
    stored = load_file(saved.path / WEIGHTS)
    for matrix, encoding in raised.items():
        kind = torch.int8 if encoding == "int8" else torch.float32
        assert stored[f"transformer.{matrix}.weight"].dtype == kind
    fly = Engine(config, precision, TensorSource.of(model), tuner=tuner)
    engine = saved.load_engine(PRECISIONS[base], tuner=tuner)
    assert torch.equal(engine(IDS), fly(IDS))
    assert not torch.equal(engine(IDS), original.load_engine(PRECISIONS[base], tuner=tuner)(IDS))
    assert engine.memory_bytes <= precision.memory_bytes(config)


def test_a_row_has_its_bits_whatever_stands_beside_it() -> None:
    # the kernel of one matrix multiplies two rows at a time, those of the others take any number
    engine = Engine(CONFIG, mixed("int8", {"h.0.attn.c_proj": "float32"}, CONFIG), TensorSource.of(network()))

    def written(ids: torch.Tensor) -> torch.Tensor:
        cache = KVCache(CONFIG, rows=len(ids))
        return torch.cat([engine(ids[:, t : t + 1], cache) for t in range(6)], dim=1)

    rows = torch.cat([IDS, IDS.flip(1)[:1]])
    assert all(torch.equal(written(rows)[i], written(rows[i : i + 1])[0]) for i in range(3))


def test_levels_begin_with_what_the_precision_gives() -> None:
    assert levels("int4", "h.1.mlp.c_fc", CONFIG) == ("int4", "int8", "float32")
    assert levels("int4", "h.0.attn.c_attn", CONFIG) == ("int8", "float32")
    assert levels("int8", "wpe", CONFIG) == ("bfloat16", "float32")
    assert mixed("int8", {}, CONFIG) is PRECISIONS["int8"]


def test_the_library_names_lists_and_replaces_mixed_models(library: ModelLibrary) -> None:
    info = library.quantize("a", "int4", raised=RAISED)
    assert (info.name, info.precisions, info.own_precision) == ("a-int4-mixed", ("int4",), "int4")
    assert info.source == "a test, as int4 with 3 matrices raised"
    assert info.remarks == ("matrices raised above int4: h.0.mlp.c_fc at int8; h.1.attn.c_proj, wpe at float32",)
    assert library.quantize("a", "int4").size_bytes < info.size_bytes < library.info("a").size_bytes
    assert library.quantize("a", "int4", raised=RAISED).problem is None  # the same once more
    for raised, name in (({"wte": "float32"}, "a-int4-mixed"), ({}, "a-int4-mixed"), (RAISED, "a-int4")):
        with pytest.raises(ValueError, match=f"{name}"):
            library.quantize("a", "int4", raised=raised, to=name)
    library.verify("a-int4-mixed")


def test_a_mixed_model_is_lent_as_saved_and_needs_its_own_memory(library: ModelLibrary) -> None:
    manager, key = ModelManager(library), ModelKey("a-int4-mixed", "int4")
    library.quantize("a", "int4", raised=RAISED)
    with manager.lend(key) as loaded, manager.lend(ModelKey("a", "int4")) as plain:
        assert loaded.model.precision.raised == tuple(sorted(RAISED.items()))
        assert loaded.memory_bytes > plain.memory_bytes
        needed = library.checkpoint(key.name).runs_at(PRECISIONS["int4"]).memory_bytes(CONFIG)
        assert needed >= loaded.memory_bytes
    assert library.copy(key) == library.find(key.name)
    small = ModelManager(library, memory_budget=plain.memory_bytes)
    with pytest.raises(ValueError, match="does not fit the budget"), small.lend_mixed(ModelKey("a", "int4"), RAISED):
        pass


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (["wte"], "names the matrices raised above int4 as .*, not by name"),
        ({"wte": 8}, "names the matrices raised above int4 as .*, not by name"),
        ({"h.2.mlp.c_fc": "int8"}, "there is no matrix 'h.2.mlp.c_fc'"),
        ({"wte": "int8"}, "wte can be raised to float32 from int4, not to 'int8'"),
        ({"h.1.mlp.c_fc": "float32"}, "of the type|has the shape|lacks|does not know"),
    ],
)
def test_damage_is_one_sentence(raised: object, sentence: str, library: ModelLibrary) -> None:
    path = library.quantize("a", "int4", raised=RAISED).path
    data = json.loads((path / "config.json").read_text())
    data["quantization_config"]["raised"] = raised
    (path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=sentence) as error:
        Checkpoint.open(path)
    assert "\n" not in str(error.value)
