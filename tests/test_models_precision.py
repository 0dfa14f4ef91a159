"""The precisions: float32 gives a sequence the same bits whatever runs beside it."""

import pytest
import torch

from models.gpt import GPT, PRESETS, GPTConfig, KVCache
from models.precision import PRECISIONS
from models.precision.float32 import prepare

SHAPES = {
    "tiny": PRESETS["tiny"],
    "small": PRESETS["small"],
    "wide": GPTConfig(vocab_size=1000, block_size=320, n_layer=1, n_head=12, n_embd=768),
    "odd": GPTConfig(vocab_size=97, block_size=320, n_layer=2, n_head=3, n_embd=99, bias=False),
    "untied": GPTConfig(
        vocab_size=97, block_size=320, n_layer=2, n_head=2, n_embd=14, activation="gelu_erf", tied=False
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", [1, 5, 300])
@torch.inference_mode()
def test_a_row_has_the_same_bits_in_every_batch(shape: str, length: int) -> None:
    config = SHAPES[shape]
    length = min(length, config.block_size - 10)
    torch.manual_seed(0)
    model = prepare(GPT(config))
    shared = KVCache(config, capacity=length + 10)
    model(torch.randint(config.vocab_size, (1, length)), shared, last_only=True)
    ends = torch.randint(config.vocab_size, (12, 10))
    logits = {}
    for n in range(1, 13):
        cache = shared.repeat(n)
        steps = [model(ends[:n, i : i + 1], cache, last_only=True) for i in range(10)]
        logits[n] = torch.cat(steps, dim=1)  # (n, 10, V)
    for n in range(1, 12):
        assert torch.equal(logits[n], logits[12][:n])


@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_the_prepared_model_is_the_same_function(shape: str) -> None:
    config = SHAPES[shape]
    torch.manual_seed(0)
    model = GPT(config).eval()
    ids = torch.randint(config.vocab_size, (3, 20))
    expected = model(ids)
    view = prepare(model)
    torch.testing.assert_close(view(ids), expected)
    cache = KVCache(config, rows=3)
    steps = [view(column, cache) for column in ids.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected)


def test_the_prepared_model_shares_the_weights_and_leaves_the_original_as_it_was() -> None:
    model = GPT(PRESETS["tiny"]).train()
    names = [name for name, _ in model.named_parameters()]
    view = prepare(model)
    assert {p.data_ptr() for p in view.parameters()} == {p.data_ptr() for p in model.parameters()}
    assert len(list(view.parameters())) == len(names)
    assert model.training
    assert not view.training
    assert [name for name, _ in model.named_parameters()] == names
    assert model.lm_head is None
    ids = torch.arange(9)[None]
    before = view(ids)
    with torch.no_grad():
        model.wte.weight.mul_(2)
    assert not torch.equal(view(ids), before)


def test_every_precision_is_listed_under_its_name_and_runs_here_or_says_why() -> None:
    assert next(iter(PRECISIONS)) == "float32"
    for name, precision in PRECISIONS.items():
        assert precision.name == name
        assert precision.title
        reason = precision.available()
        assert reason is None or reason
