"""The KV cache: rewound, copied, interrupted or full, it is as if the tokens had been read afresh."""

import pytest
import torch
from network_checks import shaken
from torch import Tensor

from models.cache import KVCache
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.precision import PRECISIONS

CONFIG = GPTConfig(vocab_size=61, block_size=24, n_layer=3, n_head=4, n_embd=32)


@pytest.fixture(params=["native", "torch"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """One with weights so large that every part matters, biases and layer norms included; by each step."""
    if request.param == "native":
        pytest.importorskip("numba")
    monkeypatch.setenv("GPTDESK_KERNELS", request.param)
    torch.manual_seed(0)
    model = shaken(GPT(CONFIG))
    made = Engine.of(model, PRECISIONS["float32"])
    assert made.rows_are_independent == (request.param == "native")
    return made


def check_same(engine: Engine, actual: Tensor, expected: Tensor) -> None:
    """Check that logits have the same bits by the compiled step, and are close by torch's kernels."""
    if engine.rows_are_independent:
        assert torch.equal(actual, expected)
    else:
        torch.testing.assert_close(actual, expected)


def tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(CONFIG.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def test_a_rewound_cache_is_as_if_the_rest_had_never_been(engine: Engine) -> None:
    ids, other = tokens(1, 12), tokens(1, 12, seed=2)
    cache = KVCache(CONFIG)
    engine(ids, cache)
    cache.rewind(5)
    fresh = KVCache(CONFIG)
    engine(ids, fresh)
    fresh.length = 5
    assert torch.equal(engine(other, cache), engine(other, fresh))
    again = torch.cat([ids[:, :5], other, other[:, :1]], dim=1)
    check_same(engine, engine(other[:, :1], cache), engine(again)[:, -1:])
    cache.rewind(0)
    assert torch.equal(engine(other, cache), engine(other))
    for length in (-1, 13):
        with pytest.raises(ValueError, match="cannot rewind"):
            cache.rewind(length)


def test_a_copied_cache_lets_its_rows_go_their_own_ways(engine: Engine) -> None:
    prompt, ends = tokens(1, 7), tokens(3, 5)
    shared = KVCache(CONFIG, capacity=12)
    engine(prompt, shared)
    cache = shared.copy(rows=3)
    assert (cache.rows, cache.length, cache.capacity) == (3, 7, 12)
    full = engine(torch.cat([prompt.expand(3, -1), ends], dim=1))
    check_same(engine, engine(ends, cache), full[:, 7:])
    assert shared.length == 7
    check_same(engine, engine(ends[:1], shared), full[:1, 7:])  # the copies left the original alone
    with pytest.raises(ValueError, match="only a KV cache of one row can be copied, this one has 3"):
        cache.copy()


def test_the_start_of_a_cache_can_be_copied_to_a_larger_one(engine: Engine) -> None:
    ids = tokens(1, 10)
    cache = KVCache(CONFIG, capacity=10)
    engine(ids, cache)
    copy = cache.copy(capacity=20, length=4)
    assert (copy.length, copy.capacity, copy.nbytes) == (4, 20, 2 * cache.nbytes)
    check_same(engine, engine(ids[:, 4:], copy), engine(ids)[:, 4:])


def test_what_does_not_fit_is_refused_before_anything_is_written(engine: Engine) -> None:
    cache = KVCache(CONFIG, capacity=10)
    engine(tokens(1, 6), cache)
    held = cache.copy()
    with pytest.raises(ValueError, match="6 of at most 10 tokens: 5 do not fit"):
        engine(tokens(1, 5), cache)
    with pytest.raises(ValueError, match="1 rows, but the tokens have 2"):
        engine(tokens(2, 1), cache)
    assert cache.length == 6
    assert torch.equal(engine(tokens(1, 4), cache), engine(tokens(1, 4), held))
    with pytest.raises(ValueError, match="25 tokens do not fit the model's context of 24"):
        engine(tokens(1, 25))
    for shape in ((1, 0), (3,)):
        with pytest.raises(ValueError, match="at least one token"):
            engine(tokens(*shape))


def test_a_pass_that_is_interrupted_leaves_no_trace(engine: Engine) -> None:
    cache = KVCache(CONFIG)
    ids = tokens(1, 6)
    engine(ids, cache)
    with pytest.raises(IndexError):
        engine(torch.full((1, 3), CONFIG.vocab_size), cache)
    assert cache.length == 6
    check_same(engine, engine(ids, cache), engine(ids.repeat(1, 2))[:, 6:])


@pytest.mark.parametrize("capacity", [0, 25])
def test_a_cache_cannot_be_larger_than_the_context(capacity: int) -> None:
    with pytest.raises(ValueError, match="1 to 24 tokens"):
        KVCache(CONFIG, capacity=capacity)
    with pytest.raises(ValueError, match="at least one row, not 0"):
        KVCache(CONFIG, rows=0)
