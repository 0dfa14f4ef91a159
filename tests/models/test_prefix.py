"""Prompts read before: what is reused gives the same bits as reading afresh, in bounded memory, for any thread."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from conftest import observed
from network_checks import shaken
from torch import Tensor

from gptdesk.generation import GenerationRequest, GenerationStart, GenerationStep, generate
from models import engine, prefix
from models.batching import Batcher
from models.cache import KVCache
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.manager import LoadedModel, ModelKey
from models.precision import PRECISIONS
from models.prefix import PrefixCache
from models.tokenizer import character_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz .,;\n"
TOKENIZER = character_tokenizer(LETTERS)
CONFIG = GPTConfig(vocab_size=TOKENIZER.vocab_size, block_size=96, n_layer=2, n_head=3, n_embd=48)
CHUNK = 8
HERE = [name for name, precision in PRECISIONS.items() if precision.missing() is None]
Step = tuple[int, int | None, float | None, str, str | None]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHUNKS", (CHUNK,))


@pytest.fixture(scope="module", params=[*HERE, "float32 by torch", "int8 by torch"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    precision, _, step = request.param.partition(" by ")
    torch.manual_seed(0)
    model = shaken(GPT(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTDESK_KERNELS", step or "auto")
        running = Engine.of(model, PRECISIONS[precision])
    return LoadedModel(ModelKey("random", precision), running, TOKENIZER, CONFIG, 0, PrefixCache(), Batcher(running))


def fresh(loaded: LoadedModel) -> LoadedModel:
    """The model, which has read nothing yet."""
    return replace(loaded, prefixes=PrefixCache())


def text(length: int, *, seed: int = 0) -> str:
    letters = torch.randint(len(LETTERS), (length,), generator=torch.Generator().manual_seed(seed))
    return "".join(LETTERS[i] for i in letters.tolist())


def run(loaded: LoadedModel, prompt: str, **options: object) -> list[Step]:
    request = GenerationRequest(**{"prompt": prompt, "seed": 1, "max_new_tokens": 12} | options)  # type: ignore
    steps = [event for event in generate(loaded, request) if isinstance(event, GenerationStep)]
    return [(step.row, step.token, step.logprob, step.text, step.finish_reason) for step in steps]


LENGTHS = [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 3]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("more", [0, 1, CHUNK, 2 * CHUNK - 1])
def test_a_prompt_that_goes_on_where_another_ended_gives_the_same_bits(
    loaded: LoadedModel, length: int, more: int
) -> None:
    assert loaded.model.chunk == CHUNK
    prompt = text(length + more)
    model = fresh(loaded)
    run(model, prompt[:length])
    assert run(model, prompt) == run(fresh(loaded), prompt)
    if more in (0, 1):
        assert run(model, prompt, n=3) == run(fresh(loaded), prompt, n=3)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_start_of_a_known_prompt_gives_the_same_bits(loaded: LoadedModel, length: int) -> None:
    model = fresh(loaded)
    run(model, text(6 * CHUNK))
    assert run(model, text(6 * CHUNK)[:length]) == run(fresh(loaded), text(6 * CHUNK)[:length])


@pytest.mark.parametrize("length", LENGTHS)
def test_prompts_that_part_give_the_same_bits(loaded: LoadedModel, length: int) -> None:
    first, second = (text(length) + text(2 * CHUNK, seed=seed) for seed in (1, 2))
    model = fresh(loaded)
    run(model, first)
    assert run(model, second) == run(fresh(loaded), second)
    assert run(model, first) == run(fresh(loaded), first)


def test_a_conversation_that_grows_gives_the_same_bits_every_time(loaded: LoadedModel) -> None:
    """Each prompt is the last one with its answer and a few words more, as in a chat or an editor."""
    model, prompt = fresh(loaded), "once"
    for turn in range(6):
        steps = run(model, prompt, seed=turn)
        assert steps == run(fresh(loaded), prompt, seed=turn)
        prompt += "".join(step[3] for step in steps) + text(3, seed=turn)


def test_the_first_tokens_do_not_depend_on_how_many_are_asked_for(loaded: LoadedModel) -> None:
    """Another number of them means a cache of another capacity."""
    model, prompt = fresh(loaded), text(3 * CHUNK + 1)
    few, many = (run(fresh(loaded), prompt, max_new_tokens=count) for count in (5, 60))
    known = run(model, prompt, max_new_tokens=60)
    assert [step[:3] for step in few] == [step[:3] for step in many[:5]]
    assert known == run(model, prompt, max_new_tokens=60) == many
    assert run(model, prompt, max_new_tokens=5) == few


def test_what_is_known_is_not_read_again(loaded: LoadedModel) -> None:
    read: list[int] = []

    def note(tokens: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        read.append(tokens.shape[1])
        return compute()

    model = observed(loaded, note)
    prompt = text(5 * CHUNK)
    for length, expected in (
        (2 * CHUNK + 3, [CHUNK, CHUNK, 3]),
        (2 * CHUNK + 3, []),
        (4 * CHUNK, [CHUNK, CHUNK]),
        (4 * CHUNK + 1, [1]),
        (3 * CHUNK, [CHUNK]),
        (3, [3]),
    ):
        read.clear()
        run(model, prompt[:length], max_new_tokens=1)
        assert read == expected
    read.clear()
    run(model, prompt[1:], max_new_tokens=1)
    assert read == [CHUNK] * 4 + [CHUNK - 1]


def test_logits_and_cache_are_those_of_a_fresh_reading(loaded: LoadedModel) -> None:
    engine, prefixes = loaded.model, PrefixCache()

    def read(ids: Tensor, known: PrefixCache) -> tuple[KVCache, Tensor]:
        found = known.find(ids, chunk=CHUNK, capacity=len(ids) + 5)
        if found is not None and found.logits is not None:
            return found.cache, found.logits
        cache = found.cache if found else KVCache(CONFIG, capacity=len(ids) + 5)
        for part in ids[None, cache.length :].split(CHUNK, dim=1):
            logits = engine(part, cache, last_only=True)[:, -1]
        known.keep(ids, cache, logits)
        return cache, logits

    source = torch.Generator().manual_seed(3)
    known = [
        torch.randint(CONFIG.vocab_size, (int(torch.randint(1, 60, (), generator=source)),), generator=source)
        for _ in range(3)
    ]
    for _ in range(40):
        start = known[int(torch.randint(3, (), generator=source))]
        length = int(torch.randint(1, 60, (), generator=source))
        ids = torch.cat([start[:length], torch.randint(CONFIG.vocab_size, (length // 3 + 1,), generator=source)])
        (cache, logits), (expected, wanted) = read(ids, prefixes), read(ids, PrefixCache())
        assert torch.equal(logits, wanted)
        assert (cache.length, cache.capacity) == (expected.length, expected.capacity) == (len(ids), len(ids) + 5)
        next_token = torch.tensor([[1]])
        assert torch.equal(engine(next_token, cache), engine(next_token, expected))


def test_the_memory_is_bounded_and_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = PrefixCache()
    prompts = [torch.full((4,), i) for i in range(9)]

    def keep(ids: Tensor, capacity: int = 8) -> int:
        cache = KVCache(CONFIG, capacity=capacity)
        cache.advance(len(ids))
        prefixes.keep(ids, cache, torch.zeros(1, 1))
        return cache.nbytes

    def known() -> list[int]:
        return [i for i, ids in enumerate(prompts) if prefixes.find(ids, chunk=CHUNK, capacity=8)]

    for ids in prompts[:4]:
        size = keep(ids)
    assert prefixes.nbytes == 4 * size
    assert prefixes.find(prompts[0], chunk=CHUNK, capacity=8) is not None
    keep(prompts[5])
    assert known() == [0, 2, 3, 5]
    keep(prompts[5])
    assert prefixes.nbytes == prefix.MOST_PROMPTS * size
    monkeypatch.setattr(prefix, "MOST_BYTES", 2 * size)
    keep(prompts[6])
    assert known() == [5, 6]
    keep(prompts[7], capacity=90)  # with room for a text to come, which is not kept
    assert known() == [6, 7]
    monkeypatch.setattr(prefix, "MOST_BYTES", size - 1)
    keep(prompts[8])  # larger than all that may be kept
    assert known() == [6, 7]
    assert PrefixCache().find(prompts[0], chunk=CHUNK, capacity=8) is None


def test_eight_threads_share_what_was_read(loaded: LoadedModel) -> None:
    model = fresh(loaded)
    prompts = [text(cut) + text(3 * i, seed=i) for i, cut in enumerate((3, 8, 16, 17, 24, 30, 40, 41))]
    expected = [run(fresh(loaded), prompt, n=1 + i % 2) for i, prompt in enumerate(prompts)]
    barrier = threading.Barrier(8)

    def work(first: int) -> None:
        barrier.wait()
        for i in range(first, first + 5):
            assert run(model, prompts[i % 8], n=1 + i % 2) == expected[i % 8]

    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(work, i) for i in range(8)]:
            job.result()
    assert len(model.prefixes._prompts) <= prefix.MOST_PROMPTS


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_reading_that_was_stopped_leaves_nothing_behind(loaded: LoadedModel, after: int) -> None:
    """Stop comes while chunk `after` of five is read."""
    stop = threading.Event()
    passes = 0

    def stop_late(tokens: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        nonlocal passes
        passes += 1
        if passes > after:
            stop.set()
        return compute()

    model = observed(loaded, stop_late)
    request = GenerationRequest(prompt=text(5 * CHUNK), seed=1, max_new_tokens=12)
    start, end = generate(model, request, stop=stop)
    assert isinstance(start, GenerationStart)
    assert isinstance(end, GenerationStep)
    assert (end.token, end.finish_reason, passes) == (None, "stopped", after + 1)
    assert model.prefixes.nbytes == 0
    assert run(model, text(5 * CHUNK)) == run(fresh(loaded), text(5 * CHUNK))


def test_a_stop_that_came_first_ends_a_known_prompt_as_it_ends_a_new_one(loaded: LoadedModel) -> None:
    model, stop = fresh(loaded), threading.Event()
    run(model, "once")
    stop.set()
    request = GenerationRequest(prompt="once", seed=1, max_new_tokens=12)
    known, new = (list(generate(m, request, stop=stop))[1:] for m in (model, fresh(loaded)))
    assert [replace(step, seconds=0.0) for step in known] == [replace(step, seconds=0.0) for step in new]


def test_what_a_reader_does_with_its_cache_is_not_seen_by_others(loaded: LoadedModel) -> None:
    model = fresh(loaded)
    prompt = text(2 * CHUNK)
    whole = run(model, prompt, max_new_tokens=40)
    ids = torch.tensor(loaded.tokenizer.encode(prompt))
    found = model.prefixes.find(ids, chunk=CHUNK, capacity=30)
    assert found is not None
    found.cache.rewind(3)
    loaded.model(torch.ones(1, 9, dtype=torch.int64), found.cache)
    assert run(model, prompt, max_new_tokens=40) == whole
