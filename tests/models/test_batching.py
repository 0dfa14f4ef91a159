"""Continuous batching: requests that compute together have the bits that they have alone, and no fault spreads."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice

import pytest
import torch

from gptdesk.generation import GenerationEvent, GenerationRequest, GenerationStep, generate
from models.batching import ENOUGH, LONGEST_WAIT, MOST_AHEAD, Batcher, Chooser
from models.cache import KVCache
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.manager import LoadedModel, ModelKey
from models.precision import PRECISIONS
from models.prefix import PrefixCache
from models.tokenizer import character_tokenizer
from samplers import Chain, build, default_chain

pytest.importorskip("numba")
TOKENIZER = character_tokenizer("abcdefghijklmnopqrstuvwxyz .")
CONFIG = GPTConfig(vocab_size=TOKENIZER.vocab_size, block_size=64, n_layer=1, n_head=1, n_embd=128)
CHAINS = (
    default_chain(),
    Chain(samplers=(build("greedy"),)),
    Chain(samplers=(build("repetition_penalty", repetition_penalty=1.3), build("top_p", top_p=0.8))),
)
REQUESTS = [
    GenerationRequest(
        prompt="once upon a time"[: 2 * i + 1],
        chain=CHAINS[i % 3],
        seed=i,
        n=1 + i % 2,
        max_new_tokens=10 + 4 * i,
        stop=("e",) if i == 3 else (),
        top_logprobs=i % 3,
    )
    for i in range(8)
]


class Recorded(Engine):
    """Engine that records the number of parts of each step; the first step waits until others have come."""

    sizes: list[int]
    crowd: threading.Event | None = None
    fault: Exception | None = None  # of the next step of several parts
    seconds = 0.0  # that a step takes at least

    def step(self, parts):  # type: ignore[no-untyped-def]
        self.sizes.append(len(parts))
        time.sleep(self.seconds)
        if self.crowd is not None:
            self.crowd.wait(10)
        if self.fault is not None and len(parts) > 1:
            fault, self.fault = self.fault, None
            raise fault
        return super().step(parts)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    monkeypatch.setenv("GPTDESK_KERNELS", "native")
    torch.manual_seed(0)
    engine = Recorded.of(GPT(CONFIG).eval(), PRECISIONS["float32"])
    assert isinstance(engine, Recorded)
    assert engine.rows_are_independent
    engine.sizes = []
    return LoadedModel(ModelKey("tiny", "float32"), engine, TOKENIZER, CONFIG, 0, PrefixCache(), Batcher(engine))


def steps(events: Iterator[GenerationEvent]) -> list[tuple[object, ...]]:
    """Return all of the steps but their times."""
    return [
        (step.row, step.text, step.token, step.logprob, step.finish_reason, step.top_logprobs)
        for step in events
        if isinstance(step, GenerationStep)
    ]


def test_same_bits_together_as_alone(loaded: LoadedModel) -> None:
    """Some leave, one is stopped, one has a stop string, one joins late; nothing is left over."""
    engine = loaded.model
    assert isinstance(engine, Recorded)
    alone = [steps(generate(loaded, request)) for request in REQUESTS]
    assert set(engine.sizes) == {1}
    before, late, stop = threading.active_count(), threading.Event(), threading.Event()

    def run(i: int) -> list[tuple[object, ...]]:
        if i == 7:
            late.wait(10)
        own = stop if i == 5 else None
        found = []
        with closing(generate(loaded, REQUESTS[i], stop=own)) as events:
            for event in events:
                found += steps(iter([event]))
                if len(found) == 6:
                    late.set()
                    if i == 4:
                        return found
                    if i == 5:
                        stop.set()
        return found

    for _ in range(3):
        late.clear()
        stop.clear()
        engine.sizes.clear()
        with ThreadPoolExecutor(len(REQUESTS)) as pool:
            together = list(pool.map(run, range(len(REQUESTS))))
        for i, (one, other) in enumerate(zip(alone, together, strict=True)):
            if i == 5:
                other = [step for step in other if step[4] != "stopped"]
            assert other == (one[: len(other)] if i in (4, 5) else one)
            assert len(other) >= 5
    assert threading.active_count() == before
    assert not loaded.batcher._busy
    assert not loaded.batcher._waiting


def test_a_generation_is_carried_on_without_its_thread(loaded: LoadedModel) -> None:
    """Choices come for several steps at once and end where nothing follows; an error comes after those before it."""
    engine, batcher = loaded.model, loaded.batcher

    class Best(Chooser[int]):
        def __init__(self, *, most: int, fails: bool) -> None:
            self.calls, self.most, self.fails = 0, most, fails

        def __call__(self, logits: torch.Tensor) -> int:
            self.calls += 1
            if self.fails and self.calls == 4:
                raise ValueError("nothing can be drawn")
            return int(logits.argmax())

        def following(self, choice: int) -> torch.Tensor | None:
            return torch.tensor([[choice]]) if self.calls < self.most else None

    expected, cache, token = [], KVCache(CONFIG), torch.zeros(1, 1, dtype=torch.int64)
    for _ in range(40):
        expected.append(int(engine(token, cache, last_only=True).argmax()))
        token = torch.tensor([[expected[-1]]])
    first = torch.zeros(1, 1, dtype=torch.int64)
    assert list(batcher.steps(first, KVCache(CONFIG), Best(most=40, fails=False))) == expected
    failing = batcher.steps(first, KVCache(CONFIG), Best(most=9, fails=True))
    assert list(islice(failing, 3)) == expected[:3]
    with pytest.raises(ValueError, match="nothing can be drawn"):
        next(failing)
    assert not batcher._busy
    assert not batcher._waiting


class Counted(Chooser[int]):
    """Chooser of zeros that counts its calls and ends after `most`."""

    def __init__(self, most: int) -> None:
        self.calls, self.most = 0, most

    def __call__(self, logits: torch.Tensor) -> int:
        self.calls += 1
        return 0

    def following(self, choice: int) -> torch.Tensor | None:
        return torch.zeros(1, 1, dtype=torch.int64) if self.calls < self.most else None


def test_nobody_drops_out_of_a_step_while_its_thread_takes_choices(loaded: LoadedModel) -> None:
    """Steps longer than threads wait are computed for all: each thread is woken, and computed meanwhile."""
    engine, batcher, together = loaded.model, loaded.batcher, threading.Barrier(4)
    assert isinstance(engine, Recorded)
    engine.seconds = 1.5 * LONGEST_WAIT

    def run(_: int) -> int:
        together.wait(10)
        return len(list(batcher.steps(torch.zeros(1, 1, dtype=torch.int64), KVCache(CONFIG), Counted(20))))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [20] * 4
    assert sum(engine.sizes) == 80
    assert len(engine.sizes) <= 25


def test_a_generation_whose_choices_nobody_takes_pauses_and_leaves_nothing(loaded: LoadedModel) -> None:
    batcher, first = loaded.batcher, torch.zeros(1, 1, dtype=torch.int64)
    held, other = Counted(60), Counted(60)
    steps = batcher.steps(first, KVCache(CONFIG), held)
    next(steps)
    assert len(list(batcher.steps(first, KVCache(CONFIG), other))) == 60
    assert MOST_AHEAD <= held.calls <= ENOUGH + MOST_AHEAD
    assert len(batcher._waiting) == 1
    steps.close()
    assert not batcher._waiting
    before = held.calls
    assert len(list(batcher.steps(first, KVCache(CONFIG), Counted(30)))) == 30
    assert held.calls == before


def test_a_thread_that_leads_does_not_keep_others_waiting_while_it_takes_choices(loaded: LoadedModel) -> None:
    """Some read slowly, one reads two generations in turn: nobody who is to lead waits for somebody else."""
    batcher, token = loaded.batcher, torch.zeros(1, 1, dtype=torch.int64)

    def read_slowly(_: int) -> int:
        count = 0
        for _ in batcher.steps(token, KVCache(CONFIG), Counted(60)):
            count += 1
            if count % 8 == 0:
                time.sleep(0.002)
        return count

    def read_two() -> int:
        pair = [batcher.steps(token, KVCache(CONFIG), Counted(60)) for _ in range(2)]
        return sum(1 for choices in zip(*pair, strict=True) for _ in choices)

    for _ in range(10):
        with ThreadPoolExecutor(5) as pool:
            slow, two = pool.map(read_slowly, range(4)), pool.submit(read_two)
            assert two.result(timeout=60) == 120
            assert list(slow) == [60] * 4
    assert not batcher._busy
    assert not batcher._waiting


def test_faults_stay_with_their_request(loaded: LoadedModel) -> None:
    """Of four that wait for one step, a full cache and a failing sampler raise in their own threads only."""
    engine, batcher = loaded.model, loaded.batcher
    assert isinstance(engine, Recorded)
    token = torch.zeros(1, 1, dtype=torch.int64)
    expected = engine(token, KVCache(CONFIG), last_only=True)[:, -1]
    engine.crowd = threading.Event()
    full = KVCache(CONFIG, capacity=1)
    engine(token, full)

    def fail(logits: torch.Tensor) -> torch.Tensor:
        raise ValueError("nothing can be drawn")

    def take(logits: torch.Tensor) -> torch.Tensor:
        return logits

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(batcher.step, token, KVCache(CONFIG), take)
        while not engine.sizes:
            pass
        rest = [
            pool.submit(batcher.step, token, *one)
            for one in ((KVCache(CONFIG), take), (full, take), (KVCache(CONFIG), fail), (KVCache(CONFIG), take))
        ]
        while len(batcher._waiting) < len(rest):
            pass
        engine.crowd.set()
    assert engine.sizes[:2] == [1, 4]
    assert all(torch.equal(one.result(), expected) for one in (first, rest[0], rest[3]))
    with pytest.raises(ValueError, match="do not fit"):
        rest[1].result()
    with pytest.raises(ValueError, match="nothing can be drawn"):
        rest[2].result()
    assert not batcher._busy


def test_a_step_that_fails_is_not_repeated(loaded: LoadedModel) -> None:
    """A fault of a thread is no refusal: all whose tokens were in the step are told, and the next step is as ever."""
    engine, batcher = loaded.model, loaded.batcher
    assert isinstance(engine, Recorded)
    token = torch.zeros(1, 1, dtype=torch.int64)
    expected = engine(token, KVCache(CONFIG), last_only=True)[:, -1]
    caches = [KVCache(CONFIG) for _ in range(4)]
    engine.crowd = threading.Event()
    engine.fault = RuntimeError("a thread failed")
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.step, token, caches[0], lambda logits: logits)
        while not engine.sizes:
            pass
        rest = [pool.submit(batcher.step, token, cache, lambda logits: logits) for cache in caches[1:]]
        while len(batcher._waiting) < len(rest):
            pass
        engine.crowd.set()
    assert torch.equal(first.result(), expected)
    for one in rest:
        with pytest.raises(RuntimeError, match="a thread failed"):
            one.result()
    assert engine.sizes == [1, 3]
    assert [cache.length for cache in caches] == [1, 0, 0, 0]
    assert torch.equal(batcher.step(token, caches[1], lambda logits: logits), expected)
