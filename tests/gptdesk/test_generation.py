"""Decode loop: streamed events, finish reasons, and one text for one seed."""

import dataclasses
import gc
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import psutil
import pytest
import torch
from conftest import observed
from hypothesis import given
from hypothesis import strategies as st

from gptdesk.context_window import dropped_tokens
from gptdesk.generation import (
    GenerationEvent,
    GenerationRequest,
    GenerationResult,
    GenerationStep,
    collect,
    generate,
)
from gptdesk.page.streaming import in_batches
from gptdesk.stop_strings import StopStrings, escape, read_lines
from models.cache import KVCache
from models.library import ModelLibrary
from models.manager import LoadedModel, ModelKey, ModelManager
from models.prefix import MOST_PROMPTS
from models.tokenizer import Tokenizer
from samplers import Chain, build

HOT = Chain(samplers=(build("temperature", temperature=1.0),))
GREEDY = Chain(samplers=(build("greedy"),))
PROMPTS = ("Once", "The fox was", "", "Mia said", "a b c d e f g", "é中😀", "\n\n", "In the wood there")


def run(tiny: LoadedModel, **options: object) -> GenerationResult:
    request = GenerationRequest(**{"seed": 1, "max_new_tokens": 20, "chain": HOT} | options)
    return collect(generate(tiny, request), n=request.n)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_same_seed_same_text_again_and_as_the_first_of_several(tiny: LoadedModel, prompt: str) -> None:
    alone = run(tiny, prompt=prompt, max_new_tokens=50)
    assert run(tiny, prompt=prompt, max_new_tokens=50).tokens == alone.tokens
    for n in (2, 3, 4, 9):
        assert run(tiny, prompt=prompt, max_new_tokens=50, n=n).tokens[0] == alone.tokens[0]


def test_rows_and_seeds_differ(tiny: LoadedModel) -> None:
    texts = run(tiny, prompt="Once", n=4).texts + run(tiny, prompt="Once", n=4, seed=2).texts
    assert len(set(texts)) == 8


def test_same_text_while_other_requests_run(tiny: LoadedModel) -> None:
    alone = [run(tiny, prompt=prompt, seed=7).tokens for prompt in PROMPTS]
    together: dict[int, list[list[int]]] = {}

    def work(i: int) -> None:
        together[i] = run(tiny, prompt=PROMPTS[i], seed=7).tokens

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(len(PROMPTS))] == alone


def test_a_drawn_seed_is_told_and_repeats_the_text(tiny: LoadedModel) -> None:
    first = run(tiny, prompt="Once", seed=None)
    assert first.start is not None
    assert run(tiny, prompt="Once", seed=first.start.seed).texts == first.texts
    assert run(tiny, prompt="Once", seed=None).texts != first.texts


def test_chunks_join_to_the_decoded_tokens_and_are_valid_text(tiny: LoadedModel) -> None:
    for seed in range(30):
        result = run(tiny, prompt="Once", seed=seed, max_new_tokens=40)
        tokens = [token for token in result.tokens[0] if token != tiny.tokenizer.end_of_text]
        assert result.texts[0] == tiny.tokenizer.decode(tokens)
        result.texts[0].encode("utf-8")


def test_greedy_equals_transformers(tiny: LoadedModel, tiny_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    oracle = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder / "tiny")
    prompt = torch.tensor([tiny.tokenizer.encode("The fox was")])
    expected = oracle.generate(prompt, do_sample=False, max_new_tokens=30, pad_token_id=0)[0, prompt.shape[1] :]
    for chain in (GREEDY, Chain(samplers=(build("temperature", temperature=0),))):
        assert run(tiny, prompt="The fox was", chain=chain, max_new_tokens=30).tokens[0] == expected.tolist()


def test_log_probabilities_are_those_of_the_raw_model(tiny: LoadedModel) -> None:
    request = GenerationRequest(prompt="The fox", seed=3, max_new_tokens=12, n=2)
    steps = [event for event in generate(tiny, request) if isinstance(event, GenerationStep)]
    prompt = tiny.tokenizer.encode("The fox")
    for row in range(2):
        mine = [step for step in steps if step.row == row]
        tokens = torch.tensor([prompt + [step.token for step in mine if step.token is not None]])
        with torch.inference_mode():
            full = tiny.model(tokens).log_softmax(-1)[0]  # (T, V)
        for i, step in enumerate(mine):
            assert step.logprob == pytest.approx(full[len(prompt) - 1 + i, step.token].item(), abs=1e-4)


def test_many_sequences_share_one_prefill(tiny: LoadedModel) -> None:
    shapes: list[tuple[int, ...]] = []

    def note(tokens: torch.Tensor, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        shapes.append(tuple(tokens.shape))
        return compute()

    run(observed(tiny, note), prompt="Once upon a time", n=3, max_new_tokens=4)
    length = len(tiny.tokenizer.encode("Once upon a time"))
    assert shapes == [(1, length), (3, 1), (3, 1), (3, 1)]


# How it ends


def test_it_is_told_how_much_of_a_prompt_was_known(tiny: LoadedModel) -> None:
    starts = [run(tiny, prompt="The red kite told nobody", max_new_tokens=2).start for _ in range(2)]
    assert starts[0]
    assert starts[1]
    assert (starts[0].known_tokens, starts[1].known_tokens) == (0, starts[0].prompt_tokens)
    assert starts[0].kernels == tiny.model.kernels


def test_length_is_exact_and_counts_tokens(tiny: LoadedModel) -> None:
    for count in (1, 2, 17):
        result = run(tiny, prompt="Once", max_new_tokens=count, chain=GREEDY)
        assert (result.finish_reasons, len(result.tokens[0])) == (["length"], count)


def test_end_of_text_ends_a_row_alone(tiny: LoadedModel) -> None:
    """Rows end at different steps; the others go on, and no text comes after the end."""
    result = run(_ends_often(tiny), prompt="Once", n=8, max_new_tokens=40)
    ended = [i for i, reason in enumerate(result.finish_reasons) if reason == "stop"]
    assert len(ended) > 0
    assert len({len(tokens) for tokens in result.tokens}) > 1
    for i in ended:
        assert result.tokens[i].index(tiny.tokenizer.end_of_text) == len(result.tokens[i]) - 1
        assert "endoftext" not in result.texts[i]


def test_a_full_context_ends_the_text(tiny: LoadedModel) -> None:
    result = run(tiny, prompt="Once upon", max_new_tokens=500, chain=GREEDY)
    assert result.finish_reasons == ["context"]
    prompt = len(tiny.tokenizer.encode("Once upon"))
    assert len(result.tokens[0]) == tiny.config.block_size - prompt + 1  # the last one need not be read again


@pytest.mark.parametrize("wanted", [1, 2, 10, 31, 32, 33, 34, 100, 1000])
def test_no_prompt_is_so_long_that_few_tokens_come(tiny: LoadedModel, wanted: int) -> None:
    """In a context of 64, each prompt gets the tokens it wants, or as many as a prompt of half the context gets."""
    counts = []
    for tokens in (*range(1, 70), 127, 128, 129, 300):
        result = run(_never_ends(tiny), prompt=_prompt_of(tiny.tokenizer, tokens), max_new_tokens=wanted, chain=GREEDY)
        counts.append(len(result.tokens[0]))
        assert result.start
        assert result.start.dropped_tokens + result.start.prompt_tokens == tokens
        assert result.finish_reasons == ["length" if counts[-1] == wanted else "context"]
        whole = tokens + wanted - 1 <= 64 or tokens <= 32
        assert (result.start.dropped_tokens == 0) == whole, "cut only where the new tokens would not fit"
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == min(wanted, 33)


def test_the_cut_grows_with_the_prompt_one_by_one() -> None:
    for context in (1, 2, 3, 64, 256):
        for wanted in (1, 2, context // 2 + 1, context, 100_000):
            cuts = [dropped_tokens(tokens, wanted=wanted, context=context) for tokens in range(1, 3 * context)]
            assert {later - earlier for earlier, later in pairwise(cuts)} <= {0, 1}
            assert all(tokens - cut >= 1 for tokens, cut in enumerate(cuts, 1))
    assert [dropped_tokens(tokens, wanted=100, context=256) for tokens in (157, 158, 255, 256, 257)] == [
        0,
        1,
        98,
        99,
        100,
    ]


@pytest.mark.parametrize("tokens", [55, 56, 63, 64, 65, 300])
def test_a_long_prompt_keeps_its_end_and_says_so(tiny: LoadedModel, tokens: int) -> None:
    prompt = _prompt_of(tiny.tokenizer, tokens)
    result = run(tiny, prompt=prompt, max_new_tokens=10)
    assert result.start is not None
    kept = result.start.prompt_tokens
    assert result.start.dropped_tokens == tokens - kept
    assert kept == min(tokens, 64 - 9)  # of 10 new tokens, the last one need not be read
    end = tiny.tokenizer.decode(tiny.tokenizer.encode(prompt)[-kept:])
    if tiny.tokenizer.encode(end) == tiny.tokenizer.encode(prompt)[-kept:]:
        assert run(tiny, prompt=end, max_new_tokens=10).texts == result.texts


def test_half_a_surrogate_pair_is_no_mistake(tiny: LoadedModel) -> None:
    request = GenerationRequest(prompt="a\ud800b \ud83d\ude00")
    assert request.prompt == "a\ufffdb \U0001f600"
    assert run(tiny, prompt="a\udfff").start is not None


def test_a_long_prompt_leaves_half_the_context_at_most(tiny: LoadedModel) -> None:
    result = run(tiny, prompt=_prompt_of(tiny.tokenizer, 200), max_new_tokens=1000)
    assert result.start is not None
    assert result.start.prompt_tokens == 32


def test_an_empty_prompt_is_the_start_of_a_text(tiny: LoadedModel) -> None:
    request = GenerationRequest(prompt="", seed=5, chain=GREEDY, max_new_tokens=5)
    result = collect(generate(tiny, request), n=1)
    start = torch.tensor([[tiny.tokenizer.end_of_text]])
    with torch.inference_mode():
        assert result.tokens[0][0] == tiny.model(start)[0, -1].argmax().item()


def test_special_text_in_a_prompt_is_ordinary_text(tiny: LoadedModel) -> None:
    result = run(tiny, prompt="<|endoftext|>")
    assert result.start is not None
    assert result.start.prompt_tokens > 1


def test_stop_is_noticed_before_the_next_token(tiny: LoadedModel) -> None:
    stop = threading.Event()
    request = GenerationRequest(prompt="Once", seed=1, chain=GREEDY, max_new_tokens=50)
    tokens = 0
    reasons = []
    for event in generate(tiny, request, stop=stop):
        if isinstance(event, GenerationStep):
            tokens += event.token is not None
            reasons.append(event.finish_reason)
            if tokens == 5:
                stop.set()
    assert tokens == 5
    assert reasons[-1] == "stopped"


def test_stop_before_the_prompt_is_read(tiny: LoadedModel) -> None:
    stop = threading.Event()
    stop.set()
    result = collect(generate(tiny, GenerationRequest(prompt="Once", n=2), stop=stop), n=2)
    assert (result.texts, result.finish_reasons) == (["", ""], ["stopped", "stopped"])


def test_a_deadline_that_has_passed_ends_every_row(tiny: LoadedModel) -> None:
    result = run(tiny, prompt="Once", n=2, deadline=1e-9)
    assert result.finish_reasons == ["deadline", "deadline"]


def test_a_stop_string_ends_the_text_before_it(tiny: LoadedModel) -> None:
    whole = run(tiny, prompt="Once", max_new_tokens=40).texts[0]
    for stop in (whole[10:12], whole[5:9], whole[20:21]):
        result = run(tiny, prompt="Once", max_new_tokens=40, stop=(stop, "never there"))
        assert result.texts[0] == whole[: whole.index(stop)]
        assert (result.finish_reasons, result.stop_strings) == (["stop"], [stop])
    assert run(tiny, prompt="Once", max_new_tokens=4, stop=("never there",)).stop_strings == [None]


@given(
    text=st.text(alphabet="abc", max_size=30),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=3),
    sizes=st.lists(st.integers(1, 5), min_size=30, max_size=30),
)
def test_stop_strings_never_leak_a_prefix(text: str, stops: list[str], sizes: list[int]) -> None:
    """However the text is cut into chunks, what comes out is what precedes the stop string that is complete first."""
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    expected = text[: min(ends)[1]] if ends else text
    filter_ = StopStrings(stops)
    out, rest = "", text
    for size in sizes:
        chunk, rest = rest[:size], rest[size:]
        out += filter_.push(chunk)
        assert expected.startswith(out)
    assert out + filter_.flush() == expected
    assert filter_.hit in ([stop for stop in stops if text[: min(ends)[0]].endswith(stop)] if ends else [None])


@given(st.lists(st.text(alphabet="a \\nrxud0c528\r\n\x0b\x85\u2028", min_size=1, max_size=12), max_size=3))
def test_a_stop_string_is_typed_on_one_line_and_read_as_it_was(stops: list[str]) -> None:
    assert read_lines("\n".join(map(escape, stops))) == tuple(stops)


def test_what_ends_a_line_is_typed_as_a_code() -> None:
    assert [escape(text) for text in ("\r\n", r"\right \n", "\\\n")] == [r"\x0d\n", r"\right \\n", r"\x5c\n"]


# What goes wrong


def test_nan_logits_name_the_model(tiny: LoadedModel) -> None:
    broken = observed(tiny, lambda tokens, compute: compute() * float("nan"))
    with pytest.raises(ValueError, match="the model gave NaN"):
        run(broken, prompt="Once")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be greater than or equal to 1, not 0"),
        ({"n": 0}, "n must be greater than or equal to 1, not 0"),
        ({"n": 17}, "n must be less than or equal to 16, not 17"),
        ({"seed": -1}, "seed must be greater than or equal to 0, not -1"),
        ({"deadline": 0}, "deadline must be greater than 0, not 0"),
        ({"deadline": float("nan")}, "deadline must be a finite number, not nan"),
        ({"stop": ("",)}, "stop"),
        ({"prompt": "x" * 10_000_000}, "prompt may have at most 1,000,000 characters, not 10,000,000"),
        ({"stop": ("x",) * 17}, "stop may have at most 16 items, not 17"),
        ({"temperature": 1}, "has no option 'temperature'"),
    ],
)
def test_a_bad_request_is_one_short_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        GenerationRequest(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


# The stream in a thread


def test_batches_bring_every_event_in_order(tiny: LoadedModel) -> None:
    request = GenerationRequest(prompt="Once", seed=1, max_new_tokens=20)
    stop = threading.Event()
    batches = list(in_batches(generate(tiny, request, stop=stop), stop=stop, every=0.001))
    together = [event for batch in batches for event in batch]
    assert _untimed(together) == _untimed(generate(tiny, request))


def test_closing_the_batches_ends_the_stream(tiny: LoadedModel) -> None:
    stop, ended = threading.Event(), threading.Event()

    def endless() -> Iterator[int]:
        try:
            while not stop.is_set():
                time.sleep(0.001)
                yield 1
        finally:
            ended.set()

    batches = in_batches(endless(), stop=stop, every=0.001)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "generation"]


def test_stop_before_the_first_event_leaves_a_thread_that_is_loading() -> None:
    stop, loaded = threading.Event(), threading.Event()

    def loads() -> Iterator[int]:
        loaded.wait(30)
        yield 1

    batches = in_batches(loads(), stop=stop, every=0.001, leaves=True)
    assert next(batches) == []
    stop.set()
    assert list(batches) == []
    [thread] = [thread for thread in threading.enumerate() if thread.name == "generation"]
    loaded.set()
    thread.join(30)
    assert not thread.is_alive()


def test_an_error_in_the_thread_reaches_the_reader() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("no such luck")

    batches = in_batches(fails(), stop=threading.Event(), every=0.001)
    with pytest.raises(ValueError, match="no such luck"):
        list(batches)


def test_two_hundred_cancelled_streams_leave_threads_loans_and_memory_as_they_were(
    tiny_folder: Path, tmp_path: Path
) -> None:
    manager = ModelManager(ModelLibrary(tiny_folder, cache_folder=tmp_path))
    with manager.lend(ModelKey("tiny")):
        pass
    threads, before = set(threading.enumerate()), len(_caches())
    for i in range(50):
        _cancelled(manager, i)
    used = psutil.Process().memory_info().rss
    for i in range(50, 250):
        _cancelled(manager, i)
    assert psutil.Process().memory_info().rss - used < 30_000_000
    assert set(threading.enumerate()) <= threads  # those of other tests may end meanwhile
    assert [slot.users for slot in manager._loaded_models._slots] == [0]
    assert len(_caches()) <= before + MOST_PROMPTS
    manager.unload()
    assert len(_caches()) <= before


def _cancelled(manager: ModelManager, number: int) -> None:
    """Run a stream that ends early, in one of the ways in which readers leave."""
    stop = threading.Event()
    prompt = f"{PROMPTS[number % 7]} {number % 11}" * (1 + number % 3)
    request = GenerationRequest(prompt=prompt, seed=number, max_new_tokens=60, n=1 + number % 4)
    with manager.lend(ModelKey("tiny")) as loaded:
        events = generate(loaded, request, stop=stop)
        batches = in_batches(events, stop=stop, every=0.0005)
        if number % 4 == 0:
            next(events)
            stop.set()
            list(events)
        elif number % 4 == 1:
            list(islice(events, number % 20))  # and never looked at again
        elif number % 4 == 2:
            list(islice(batches, 2))
            batches.close()  # type: ignore[attr-defined]
        else:
            next(batches)
            stop.set()
            list(batches)


def _caches() -> list[KVCache]:
    gc.collect()
    return [found for found in gc.get_objects() if type(found) is KVCache]


def _untimed(events: Iterator[GenerationEvent] | list[GenerationEvent]) -> list[GenerationEvent]:
    return [dataclasses.replace(event, seconds=0.0) for event in events]


def _prompt_of(tokenizer: Tokenizer, tokens: int) -> str:
    """Return a text of exactly this many tokens, a repeated word."""
    word = " the"
    assert len(tokenizer.encode(word * 3)) == 3
    return word * tokens


def _never_ends(loaded: LoadedModel) -> LoadedModel:
    def change(tokens: torch.Tensor, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        wanted = compute().clone()
        wanted[..., loaded.tokenizer.end_of_text] = -1e9
        return wanted

    return observed(loaded, change)


def _ends_often(loaded: LoadedModel) -> LoadedModel:
    end = loaded.tokenizer.end_of_text

    def change(tokens: torch.Tensor, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        wanted = compute().softmax(-1) * 0.9
        wanted[..., end] += 0.1
        return wanted.log()

    return observed(loaded, change)
