"""The compiled step beside torch: the same logits within rounding, bits that no batch or chunk changes."""

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from network_checks import decoded
from torch import Tensor

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


# Print the largest tile, then for each precision a checksum of the logits of a prompt, of one row and of five.
CHECKSUMS = """
import hashlib
import torch
from models.cache import KVCache
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.precision import PRECISIONS
config = GPTConfig(vocab_size=101, block_size=64, n_layer=2, n_head=3, n_embd=96)
torch.manual_seed(1)
model = GPT(config).eval()
tokens = torch.randint(101, (5, 40))
for name in ("float32", "int4"):
    engine, cache = Engine.of(model, PRECISIONS[name]), KVCache(config)
    logits = [engine(tokens[:1, :37], cache), engine(tokens[:1, 37:38], cache)]
    logits.append(engine.step([(tokens[i : i + 1, i:], KVCache(config)) for i in range(5)]))
    logits.append(engine(tokens[:, :1], KVCache(config, rows=5)))
    flat = torch.cat([torch.cat([*part]).flatten() for part in logits])
    from models.native import tile
    print(engine.kernels, tile.COLUMNS, tile.MOST_ROWS, hashlib.sha256(flat.numpy().tobytes()).hexdigest())
"""
WIDE = ("avx512", "avx10", "evex", "amx", "avxvnni")  # features that a processor with AVX2 lacks


def test_narrower_vectors_give_the_same_bits() -> None:
    """AVX2 has half the lanes and another tile than AVX-512, and adds in the same order.

    The precision of four bits has matrices of eight, too: the three types of weights that a kernel widens otherwise.
    """
    llvm = pytest.importorskip("llvmlite.binding")
    features = llvm.get_host_cpu_features()
    if not features.get("avx512f"):
        pytest.skip("this processor has no AVX-512")
    narrow = ",".join(f"{'+' if has and not name.startswith(WIDE) else '-'}{name}" for name, has in features.items())
    found = []
    for build in ({}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": narrow}):
        variables = {**os.environ, "GPTDESK_KERNELS": "native", **build}
        done = subprocess.run([sys.executable, "-c", CHECKSUMS], env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append([line.rsplit(" ", 1) for line in done.stdout.splitlines()])
    wide, halved = found
    assert [tile for tile, _ in wide] == ["compiled float32 4 6", "compiled int4 4 6"]
    assert [tile for tile, _ in halved] == ["compiled float32 2 3", "compiled int4 2 3"]
    assert [checksum for _, checksum in wide] == [checksum for _, checksum in halved]


@pytest.mark.parametrize("width", [8, 48, 96, 99])
def test_the_memory_told_before_loading_counts_the_padding(width: int, precision: str) -> None:
    """Only biases, which are float32 everywhere, are not counted."""
    config = GPTConfig(vocab_size=300, block_size=64, n_layer=2, n_head=1, n_embd=width, tied=False)
    engine = Engine.of(GPT(config), PRECISIONS[precision])
    assert isinstance(engine._step, NativeStep)
    biases = 4 * config.n_layer * (3 + 1 + 4 + 1) * width
    told = PRECISIONS[precision].memory_bytes(config)
    assert 0.8 * told <= engine.memory_bytes <= told + biases  # torch's kernels may take more for int4


def read_and_go_on(engine: Engine, logits: list[Tensor]) -> None:
    """Add to `logits` those of a prompt, and those after one more token."""
    tokens, cache = torch.arange(T)[None], KVCache(engine.config)
    logits += [engine(tokens[:, :-1], cache), engine(tokens[:, -1:], cache)]


@pytest.mark.parametrize("precision", ["float32"], indirect=True)
def test_a_computer_of_64_cores(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more threads than have something to do, on however few cores they run: one for a small model."""
    monkeypatch.setattr("models.engine.THREADS", 64)
    logits: list[Tensor] = []
    used: list[int] = []
    for small in (ODD.parameters(), 0):
        monkeypatch.setattr("models.engine.ONE_THREAD", small)
        torch.manual_seed(1)
        engine = Engine.of(GPT(ODD).eval(), PRECISIONS[precision])
        assert isinstance(engine._step, NativeStep)
        helpers = engine._step._network._helpers
        run = helpers.run

        def noted(*given: Any, threads: int, run: Callable[..., None] = run) -> None:
            used.append(threads)
            run(*given, threads=threads)

        monkeypatch.setattr(helpers, "run", noted)
        assert in_time(partial(read_and_go_on, engine, logits)) is None
    assert used == [1, 1, 32, 16]
    assert torch.equal(logits[2], logits[0])
    assert torch.equal(logits[3], logits[1])


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
