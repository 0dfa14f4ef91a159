"""The compiled step beside torch: the same logits within rounding, bits that no batch or chunk changes."""

import dataclasses
import threading
from collections.abc import Callable

import pytest
import torch
from network_checks import decoded

from models.cache import KVCache
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.native import compiled
from models.native_step import NativeStep
from models.precision import PRECISIONS

pytest.importorskip("numba")
T = 45  # more rows than meet the weights as stored
# heads from 16 to 128 wide, K no multiple of 64, one head, odd vocabularies, no biases, a head of its own
ODD = GPTConfig(vocab_size=101, block_size=64, n_layer=2, n_head=3, n_embd=96, tied=False)
ONE_HEAD = GPTConfig(vocab_size=67, block_size=64, n_layer=1, n_head=1, n_embd=128, bias=False)
CONFIGS = [
    ODD,
    ONE_HEAD,
    dataclasses.replace(ODD, n_head=6, activation="gelu_erf"),
    dataclasses.replace(ODD, n_head=4, bias=False, tied=True),
    dataclasses.replace(ODD, n_head=2, vocab_size=259, n_layer=1),
    dataclasses.replace(ODD, n_head=1, n_layer=1),
    dataclasses.replace(ONE_HEAD, n_head=2),
]


@pytest.fixture(params=["float32", "bfloat16", "int8", "int4"])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GPTDESK_KERNELS", "native")
    return request.param


def set_threads(engine: Engine, threads: int) -> None:
    assert isinstance(engine._step, NativeStep)
    network = engine._step._network
    network._threads = threads
    network._counts.clear()
    network._free.clear()  # made for another number


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.n_head}x{config.n_embd // config.n_head}")
@torch.inference_mode()
def test_bits_and_parity(config: GPTConfig, precision: str) -> None:
    """A row has the same bits in a prompt, in chunks, alone, among strangers, after a rewind, on 1 to 3 threads."""
    torch.manual_seed(1)
    model = GPT(config).eval()
    engine = Engine.of(model, PRECISIONS[precision])
    assert engine.kernels.startswith("compiled")
    tokens = torch.randint(config.vocab_size, (1, T))
    set_threads(engine, 1)
    whole = engine(tokens, KVCache(config))[0]  # (T, V)
    expected = decoded(model, PRECISIONS[precision])(tokens)[0]
    assert (whole - expected).abs().max() < 1e-4

    for threads in (3, 2):
        set_threads(engine, threads)
        assert torch.equal(engine(tokens, KVCache(config))[0], whole)
        for size in (1, 7, 20):
            cache = KVCache(config)
            parts = torch.cat([engine(part, cache)[0] for part in tokens.split(size, dim=1)])
            assert torch.equal(parts, whole)

    cache = KVCache(config)
    engine(tokens[:, :-1], cache)
    for n in range(2, 17):
        strangers = []
        for i in range(1, n):
            strangers.append((torch.randint(config.vocab_size, (1, 1)), KVCache(config)))
            engine(torch.randint(config.vocab_size, (1, i)), strangers[-1][1])
        strangers.insert(n // 2, (tokens[:, -1:], cache))
        assert torch.equal(engine.step(strangers)[n // 2][0], whole[-1])
        cache.rewind(T - 1)

    cache.rewind(10)
    assert torch.equal(engine(tokens[:, 10:], cache)[0], whole[10:])


@pytest.mark.parametrize("precision", ["float32"], indirect=True)
def test_two_parts_do_not_share_a_cache(precision: str) -> None:
    config = ONE_HEAD
    engine, cache = Engine.of(GPT(config).eval(), PRECISIONS[precision]), KVCache(config)
    one = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="cache"):
        engine.step([(one, cache), (one, cache)])
    assert cache.length == 0


class BrokenCode:
    """The compiled step of the real code, but for thread 1: it takes a piece of the work and raises."""

    def __init__(self, code: compiled.Code, error: BaseException) -> None:
        self.code, self.error = code, error
        self.taken = threading.Event()

    def step(self, me: int, threads: int, counters: object, *given: object) -> None:
        if me == 1:
            counters[0] += 1  # type: ignore[index]
            self.taken.set()
            raise self.error
        if me == 0:
            assert self.taken.wait(10)
        self.code.step(me, threads, counters, *given)


def in_time(function: Callable[[], object]) -> BaseException | None:
    """Return what the function raises, within 20 seconds."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            function()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the caller waits for a piece that nobody computes"
    return raised[0]


@pytest.mark.parametrize("error", [MemoryError("no more"), SystemExit()], ids=["memory", "exit"])
@pytest.mark.parametrize("precision", ["float32"], indirect=True)
def test_a_thread_that_fails_ends_the_step(
    precision: str, error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets a sentence, the cache is as before, and new threads compute the next step."""
    config = dataclasses.replace(ODD, n_layer=1)
    engine = Engine.of(GPT(config).eval(), PRECISIONS[precision])
    step = engine._step
    assert isinstance(step, NativeStep)
    network, cache, tokens = step._network, KVCache(config), torch.arange(7)[None]
    set_threads(engine, 3)
    (expected,) = step([(tokens, KVCache(config))], last_only=False)
    broken = BrokenCode(network._code, error)
    with monkeypatch.context() as patch:
        patch.setattr(network, "_code", dataclasses.replace(broken.code, step=broken.step))
        raised = in_time(lambda: step([(tokens, cache)], last_only=False))
    assert isinstance(raised, RuntimeError)
    assert str(raised) == (
        f"a thread that computes this model failed ({error!r}), so the text ends here; generate again, with new threads"
    )
    assert cache.length == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert torch.equal(step([(tokens, cache)], last_only=False)[0], expected)
