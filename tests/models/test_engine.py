"""The network as it runs, against the one that trains: full and cached passes, every precision and kernel, devices."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from conftest import kernels_here, with_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from network_checks import CONFIG, VARIANTS, check_causality, decoded, network, tokens
from torch import Tensor

import models.engine
from models.cache import KVCache
from models.engine import Engine, get_device
from models.gpt import GPT, PRESETS, GPTConfig
from models.precision import PRECISIONS

SHAPES = {  # and the length of what is read before the rows part
    "tiny": (PRESETS["tiny"], 200),
    "small": (PRESETS["small"], 5),
    "wide": (GPTConfig(vocab_size=300, block_size=320, n_layer=1, n_head=12, n_embd=768), 40),
    "odd": (GPTConfig(vocab_size=97, block_size=320, n_layer=2, n_head=3, n_embd=99, bias=False), 300),
    "narrow": (GPTConfig(vocab_size=97, block_size=32, n_layer=2, n_head=2, n_embd=14, tied=False), 1),
}
FLOAT32 = PRECISIONS["float32"]


# The same function as GPT


@pytest.mark.parametrize("config", VARIANTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_cached_logits_equal_the_full_pass_for_any_chunks(config: GPTConfig, data: st.DataObject) -> None:
    model = network(config)
    engine = Engine.of(model, FLOAT32)
    ids = tokens(2, config.block_size)
    full = model(ids)
    torch.testing.assert_close(engine(ids), full)
    cache = KVCache(config, rows=2)
    done = 0
    while done < config.block_size:
        step = data.draw(st.integers(1, config.block_size - done))
        torch.testing.assert_close(engine(ids[:, done : done + step], cache), full[:, done : done + step])
        done += step
        assert cache.length == done


@pytest.fixture(params=["auto", "torch"])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled step where this computer has it, then torch's."""
    monkeypatch.setenv("GPTDESK_KERNELS", request.param)


@pytest.mark.usefixtures("step")
def test_one_token_at_a_time_equals_the_full_pass_at_every_position() -> None:
    model = network()
    engine = Engine.of(model, FLOAT32)
    ids = tokens(3, 24)
    cache = KVCache(CONFIG, rows=3)
    steps = [engine(column, cache, last_only=True) for column in ids.split(1, dim=1)]
    assert (torch.cat(steps, dim=1) - model(ids)).abs().max() < 1e-4


@pytest.mark.usefixtures("step")
def test_later_tokens_do_not_change_a_single_bit_of_earlier_logits() -> None:
    check_causality(Engine.of(network(), FLOAT32))


@pytest.mark.usefixtures("step")
def test_last_only_is_the_last_position_of_all() -> None:
    """With the same bits by the compiled step."""
    engine = Engine.of(network(), FLOAT32)
    limit = {"rtol": 0.0, "atol": 0.0} if engine.rows_are_independent else {}
    for shape in ((1, 1), (1, 9), (2, 9), (3, 1)):
        ids = tokens(*shape)
        torch.testing.assert_close(engine(ids, last_only=True), engine(ids)[:, -1:], **limit)
        cache = KVCache(CONFIG, rows=shape[0])
        engine(ids, cache)
        after = engine(ids.repeat(1, 2))[:, -1]
        torch.testing.assert_close(engine(ids, cache, last_only=True)[:, 0], after, **limit)


@pytest.mark.usefixtures("torch_kernels")
@pytest.mark.parametrize(("name", "kernel"), kernels_here())
@pytest.mark.parametrize("config", VARIANTS)
def test_every_kernel_computes_the_network_of_the_decoded_weights(name: str, kernel: str, config: GPTConfig) -> None:
    precision = with_kernel(PRECISIONS[name], kernel)
    model = network(config)
    engine = Engine.of(model, precision)
    assert any(kernel.startswith(part) for part in engine.kernels.split(", "))
    ids = tokens(3, 24)
    expected = decoded(model, precision)(ids)
    limit = {"float32": 1e-5, "bfloat16": 0.02, "int8": 0.03, "int8-dynamic": 0.15, "int4": 0.03}[name]
    assert (engine(ids) - expected).norm() < limit * expected.norm()
    cache = KVCache(config, rows=3)
    parts = [engine(part, cache) for part in ids.split([7, 1, 1, 15], dim=1)]
    assert (torch.cat(parts, dim=1) - expected).norm() < limit * expected.norm()


# Rows that do not depend on each other


@pytest.mark.usefixtures("torch_kernels")
@pytest.mark.parametrize(("name", "kernel"), [pair for pair in kernels_here() if pair[0] != "int8-dynamic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_has_the_same_bits_in_every_batch(name: str, kernel: str, shape: str) -> None:
    config, length = SHAPES[shape]
    check_rows(Engine.of(network(config), with_kernel(PRECISIONS[name], kernel)), length)


@pytest.mark.usefixtures("torch_kernels")
@pytest.mark.parametrize(("name", "kernel"), [pair for pair in kernels_here() if pair[0] in ("float32", "int8")])
@pytest.mark.parametrize("count", [3, 5])
def test_nor_do_they_with_several_threads(name: str, kernel: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than rows can be shared out evenly among."""
    monkeypatch.setattr(models.engine, "THREADS", count)
    monkeypatch.setattr(models.engine, "ONE_THREAD", 0)
    config, length = SHAPES["wide"]
    torch.manual_seed(0)
    check_rows(Engine.of(GPT(config), with_kernel(PRECISIONS[name], kernel)), length, steps=8, batches=(1, 3, 5, 8, 9))


def check_rows(engine: Engine, length: int, *, steps: int = 3, batches: Sequence[int] = range(1, 12)) -> None:
    """Some steps after a prompt of some length, in batches of some sizes, each against one of 12 rows."""
    config = engine.config
    shared = KVCache(config, capacity=length + steps, device=engine.device)
    engine(tokens(1, length, vocab_size=config.vocab_size), shared, last_only=True)
    ends = tokens(12, steps, seed=2, vocab_size=config.vocab_size)

    def logits(n: int) -> Tensor:
        cache = shared.copy(rows=n)
        return torch.cat([engine(ends[:n, i : i + 1], cache, last_only=True) for i in range(steps)], dim=1)

    together = logits(12)  # (12, steps, V)
    wrong = [n for n in batches if not torch.equal(logits(n), together[:n])]
    assert not wrong, f"with {engine.kernels}, batches of {wrong} differ from the first rows of 12"


# What it takes, and where it runs


def test_making_an_engine_leaves_the_model_as_it_was() -> None:
    model = GPT(PRESETS["tiny"]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for precision in PRECISIONS.values():
        Engine.of(model, precision)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.loss(tokens(1, 9), tokens(1, 9)).backward()


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_memory_told_before_loading_is_about_what_is_taken(
    name: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(PRESETS["gpt2"], n_layer=1, vocab_size=1000, block_size=64, tied=tied)
    for kernels in ("torch", "auto"):
        # the compiled step has one token table and widens nothing, nor does one of torch's kernels for int4
        least = 0.6 if kernels == "auto" or name == "int4" else 0.9
        monkeypatch.setenv("GPTDESK_KERNELS", kernels)
        engine = Engine.of(GPT(config), PRECISIONS[name])
        assert least <= engine.memory_bytes / PRECISIONS[name].memory_bytes(config) <= 1.1


@pytest.mark.parametrize("name", ["gpt2", "tiny"])
def test_a_chunk_is_smaller_for_a_slower_model(name: str) -> None:
    with torch.device("meta"):
        model = GPT(PRESETS[name])
    sizes = [Engine.of(model, PRECISIONS[p], device=torch.device("meta")).chunk for p in ("float32", "bfloat16")]
    assert sizes == sorted(sizes)
    assert sizes[0] == {"gpt2": 64, "tiny": 256}[name]


META = torch.device("meta")


@pytest.mark.parametrize("name", PRECISIONS)
def test_another_device_runs_the_precisions_that_have_a_kernel_there(name: str) -> None:
    """The path of CUDA and MPS, on a device that only knows shapes."""
    precision = PRECISIONS[name]
    device = precision.device(META)
    assert device == (META if name in ("float32", "bfloat16") else torch.device("cpu"))
    for config in VARIANTS:
        engine = Engine.of(network(config), precision, device=device)
        cache = KVCache(config, rows=2, device=device)
        for step in (tokens(2, 7), tokens(2, 1), tokens(2, 4)):
            logits = engine(step, cache)
            assert (logits.shape, logits.device) == ((2, step.shape[1], config.vocab_size), device)
        assert engine(tokens(2, 3), cache, last_only=True).shape == (2, 1, config.vocab_size)
        assert engine(tokens(5, 3)).shape == (5, 3, config.vocab_size)


def test_the_device_is_the_fastest_there_or_the_one_asked_for() -> None:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    assert get_device().type == get_device("auto").type == next(name for name, is_there in there.items() if is_there)
    for name, is_there in (there | {"tpu": False}).items():
        if is_there:
            assert get_device(name).type == name
        else:
            with pytest.raises(ValueError, match=f"device '{name}' is not available here; there is: auto, .*cpu$"):
                get_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
@pytest.mark.parametrize("name", PRECISIONS)
def test_a_gpu_gives_the_logits_of_the_cpu(name: str) -> None:
    precision = PRECISIONS[name]
    device = precision.device(get_device("cuda"))
    for config in VARIANTS:
        model = network(config)
        engine = Engine.of(model, precision, device=device)
        expected = decoded(model, precision)(tokens(3, 24))
        cache = KVCache(config, rows=3, device=device)
        parts = [engine(part, cache) for part in tokens(3, 24).split([7, 1, 1, 15], dim=1)]
        assert {part.device.type for part in parts} == {device.type}
        assert (torch.cat(parts, dim=1).cpu() - expected).norm() < (
            1e-3 if name == "float32" else 0.15
        ) * expected.norm()
