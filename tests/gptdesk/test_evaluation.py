"""Perplexity, KL divergence and agreement are what independent computations, formulas and hand counts say they are."""

import dataclasses
import math
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor
from transformers import GPT2LMHeadModel

from gptdesk.evaluation import (
    Closeness,
    Model,
    PairedScores,
    closeness,
    compare,
    evaluation,
    in_pieces,
    score,
)
from gptdesk.starter.stories import story
from gptdesk.text_windows import text_windows, windows
from models.cache import KVCache
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.manager import LoadedModel
from models.precision import PRECISIONS

CONFIG = GPTConfig(vocab_size=40, block_size=16, n_layer=2, n_head=2, n_embd=32)


def sharp(seed: int = 0) -> GPT:
    """A random network whose predictions are neither flat nor certain."""
    torch.manual_seed(seed)
    model = GPT(CONFIG).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.mul_(8 if weight.ndim == 2 else 1)
    return model


def perturbed(model: GPT, size: float) -> GPT:
    copy = GPT(model.config).eval().requires_grad_(False)
    copy.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(5)
    for weight in copy.parameters():
        weight.add_(size * torch.randn(weight.shape, generator=generator))
    return copy


def random_tokens(count: int, *, seed: int = 1) -> Tensor:
    return torch.randint(40, (count,), generator=torch.Generator().manual_seed(seed))


def constant(*probabilities: float, dtype: torch.dtype = torch.float64) -> Model:
    """A model that always predicts the same."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log().to(dtype)
    return lambda tokens: logits.expand(1, tokens.shape[1], -1)


def closeness_of(reference: Model, candidate: Model, tokens: list[int] | Tensor, *, context: int = 16) -> Closeness:
    return closeness(compare(reference, candidate, windows(tokens, context)))


def test_perplexity_is_that_of_transformers(tiny: LoadedModel, tiny_folder: Path) -> None:
    context = tiny.config.block_size - 1  # theirs takes the last token, too, though it predicts nothing of the window
    rows = text_windows(story(9, 0), tiny.tokenizer, context=context)
    assert len(rows) > 2
    theirs = GPT2LMHeadModel.from_pretrained(tiny_folder / "tiny").eval()
    with torch.inference_mode():
        losses = [theirs(row[None], labels=row[None]).loss.item() for row in rows]
    mean = np.average(losses, weights=[len(row) - 1 for row in rows])
    found = evaluation(score(tiny.model, rows))
    assert found.tokens == len(tiny.tokenizer.encode(story(9, 0))) - 1
    assert found.perplexity == pytest.approx(math.exp(mean), rel=1e-5)


def test_every_figure_is_that_of_an_independent_float64_computation() -> None:
    reference, candidate, tokens = sharp(), perturbed(sharp(), 0.02), random_tokens(251)
    found = closeness_of(reference, candidate, tokens)

    def log_probabilities(model: GPT) -> np.ndarray:
        """Position by position, with a window's whole past before each."""
        read = []
        for i in range(250):
            logits = model(tokens[None, i - i % 16 : i + 1])[0, -1]
            read.append(log_softmax(logits.numpy().astype(np.float64)))
        return np.stack(read)

    p, q = log_probabilities(reference), log_probabilities(candidate)
    true = tokens[1:].numpy()
    ours, theirs = -p[range(250), true], -q[range(250), true]
    kl = np.array([sum(math.exp(a) * (a - b) for a, b in zip(*rows, strict=True)) for rows in zip(p, q, strict=True)])
    same = np.mean(p.argmax(1) == q.argmax(1))
    top = [len(set(a) & set(b)) / 5 for a, b in zip(p.argsort(1)[:, -5:], q.argsort(1)[:, -5:], strict=True)]
    change = np.exp(-theirs) - np.exp(-ours)
    ratio = math.exp(theirs.mean() - ours.mean())
    expected = {
        "perplexity_ratio": ratio,
        "perplexity_ratio_se": ratio * np.std(theirs - ours, ddof=1) / math.sqrt(250),
        "kl_mean": kl.mean(),
        "kl_mean_se": np.std(kl, ddof=1) / math.sqrt(250),
        "kl_median": np.median(kl),
        "kl_p99": np.quantile(kl, 0.99),
        "kl_max": kl.max(),
        "same_top1": same,
        "same_top1_se": math.sqrt(same * (1 - same) / 250),
        "top5_overlap": np.mean(top),
        "probability_change_mean": change.mean(),
        "probability_change_rms": math.sqrt(np.mean(change**2)),
    }
    assert 0.5 < same < 1  # or the test would show little
    assert 0.01 < expected["kl_mean"] < 1
    values = dataclasses.asdict(found)
    assert {name: values.pop(name) for name in expected} == pytest.approx(expected, rel=2e-4)  # logits are float32
    for evaluated, nats in ((found.reference, ours), (found.candidate, theirs)):
        assert evaluated.tokens == 250
        assert evaluated.nats_per_token == pytest.approx(nats.mean(), rel=1e-5)
        assert evaluated.nats_per_token_se == pytest.approx(np.std(nats, ddof=1) / math.sqrt(250), rel=1e-5)
        assert evaluated.perplexity == pytest.approx(math.exp(nats.mean()), rel=1e-5)
    assert set(values) == {"reference", "candidate"}


def test_figures_worked_out_by_hand() -> None:
    """Always 1/2 and 1/2 against always 1/4 and 3/4, on a text whose scored tokens are 0, 1, 1 and 1."""
    found = closeness_of(constant(1 / 2, 1 / 2), constant(1 / 4, 3 / 4), [0, 0, 1, 1, 1])
    difference = [math.log(2), *3 * [math.log(2 / 3)]]  # nats of the candidate more than of the reference
    mean = sum(difference) / 4
    error = math.sqrt(sum((d - mean) ** 2 for d in difference) / 3 / 4)
    kl = math.log(4 / 3) / 2  # 1/2 ln(2/1) + 1/2 ln(2/3)
    assert found.reference.perplexity == pytest.approx(2)
    assert found.candidate.perplexity == pytest.approx((4 * (4 / 3) ** 3) ** (1 / 4))
    assert found.perplexity_ratio == pytest.approx((16 / 27) ** (1 / 4))
    assert found.perplexity_ratio_se == pytest.approx((16 / 27) ** (1 / 4) * error)
    assert (found.kl_mean, found.kl_median, found.kl_p99, found.kl_max) == pytest.approx((kl,) * 4, rel=1e-12)
    assert found.kl_mean_se == pytest.approx(0, abs=1e-12)
    assert (found.same_top1, found.same_top1_se) == (0, 0)  # of equal ones the reference's best is 0, the other's 1
    assert found.top5_overlap == 1  # there are only two tokens
    assert found.probability_change_mean == pytest.approx((-1 / 4 + 3 / 4) / 4)
    assert found.probability_change_rms == pytest.approx(1 / 4)


def test_kl_is_not_symmetric_and_counts_from_the_reference() -> None:
    sure, torn = constant(0.9, 0.1), constant(0.5, 0.5)
    forth = closeness_of(sure, torn, [0, 0, 1]).kl_mean
    back = closeness_of(torn, sure, [0, 0, 1]).kl_mean
    assert forth == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert back == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(5))


def test_overlap_counts_the_tokens_that_both_have_among_their_best_five() -> None:
    first = constant(*(weight / 45 for weight in (9, 8, 7, 6, 5, 4, 3, 2, 1)))
    second = constant(*(weight / 45 for weight in (9, 1, 2, 3, 8, 7, 6, 5, 4)))  # its best: 0, 4, 5, 6, 7
    found = closeness_of(first, second, [0, 1, 2])
    assert found.top5_overlap == pytest.approx(2 / 5)
    assert found.same_top1 == 1


def test_of_equally_likely_tokens_the_lowest_ids_are_the_best() -> None:
    flat, first_five = constant(*400 * [1 / 400]), constant(*5 * [2 / 405], *395 * [1 / 405])
    found = closeness_of(flat, first_five, [0, 1, 2])
    assert (found.same_top1, found.top5_overlap) == (1, 1)


def test_a_copy_is_identical() -> None:
    found = closeness_of(sharp(), perturbed(sharp(), 0.0), random_tokens(100))
    assert (found.kl_mean, found.kl_mean_se, found.kl_median, found.kl_p99, found.kl_max) == (0, 0, 0, 0, 0)
    assert (found.perplexity_ratio, found.perplexity_ratio_se) == (1, 0)
    assert (found.same_top1, found.same_top1_se, found.top5_overlap) == (1, 0, 1)
    assert (found.probability_change_mean, found.probability_change_rms) == (0, 0)
    assert found.reference == found.candidate


def test_a_difference_too_small_for_float32_sums_is_measured() -> None:
    """Logits that differ by d in one of two equal tokens: KL = ln cosh(d / 2), which is d squared over 8."""
    d = 2.0**-13

    def nudged(tokens: Tensor) -> Tensor:
        return torch.tensor([0.0, d]).expand(1, tokens.shape[1], 2)

    assert closeness_of(constant(0.5, 0.5), nudged, [0, 1, 0, 1]).kl_mean == pytest.approx(d * d / 8, rel=1e-6)


def test_kl_is_never_below_nothing() -> None:
    """Where it is smaller than rounding errors, those must not show."""
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nudges = 1e-9 * torch.randn(16, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = windows(random_tokens(17), 16)
    (pair,) = compare(lambda tokens: logits.expand(1, 16, 40), lambda tokens: (logits + nudges)[None], rows)
    assert pair.kl.min() >= 0
    assert pair.kl.max() < 1e-15


def test_damage_is_seen_where_it_happens() -> None:
    whole, damaged = sharp(), perturbed(sharp(), 0.0)
    damaged.wpe.weight[10].mul_(-1)  # the position that predicts a window's 11th scored token
    for pair in compare(whole, damaged, windows(random_tokens(65), 16)):
        assert pair.kl[:10].eq(0).all()
        assert pair.kl[10:].gt(0).all()
        assert torch.equal(pair.reference.nats[:10], pair.candidate.nats[:10])
    damaged = perturbed(sharp(), 0.0)
    damaged.h[1].mlp.c_proj.weight.mul_(3)  # type: ignore[union-attr, operator]
    generated = [0]
    for _ in range(200):  # a text that the whole model finds likely
        generated.append(int(whole(torch.tensor([generated[-15:]]))[0, -1].argmax()))
    assert closeness_of(whole, damaged, generated).perplexity_ratio > 1.1


def test_one_model_alone_scores_as_it_does_in_a_comparison() -> None:
    rows = windows(random_tokens(100), 16)
    alone = list(score(sharp(), rows))
    pairs = list(compare(sharp(), sharp(seed=3), rows))
    for single, pair, row in zip(alone, pairs, rows, strict=True):
        assert torch.equal(single.nats, pair.reference.nats)
        assert torch.equal(single.tokens, row[1:])
    assert closeness(pairs).reference == evaluation(alone)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_an_engine_reads_the_same_through_its_cache(size: int) -> None:
    asked = []

    class Watched(Engine):
        def __call__(self, tokens: Tensor, cache: KVCache | None = None, *, last_only: bool = False) -> Tensor:
            asked.append((tokens.shape[1], last_only))
            return super().__call__(tokens, cache, last_only=last_only)

    engine = Watched.of(sharp(), PRECISIONS["float32"])
    found = closeness_of(sharp(), in_pieces(engine, size=size), random_tokens(17))
    assert asked == {1: 16 * [(1, True)], 3: [*5 * [(3, False)], (1, False)], 16: [(16, False)]}[size]
    assert found.candidate.tokens == 16
    assert found.kl_max < 1e-8
    assert found.perplexity_ratio == pytest.approx(1, abs=1e-5)


def test_extreme_logits_give_numbers() -> None:
    def certain(sign: float) -> Model:
        return lambda tokens: torch.tensor([sign * 1e30, 0.0]).expand(1, tokens.shape[1], 2)

    found = closeness_of(certain(1), certain(-1), [0, 0, 0])
    assert found.kl_mean == pytest.approx(1e30)
    assert found.reference.perplexity == 1
    assert found.candidate.perplexity == math.inf
    assert found.probability_change_rms == 1


def test_logits_may_be_bfloat16() -> None:
    exact, rounded = constant(0.5, 0.25, 0.25), constant(0.5, 0.25, 0.25, dtype=torch.bfloat16)
    assert 0 < closeness_of(exact, rounded, [0, 1, 2, 0]).kl_mean < 1e-4
    assert closeness_of(rounded, rounded, [0, 1, 2, 0]).top5_overlap == 1


@pytest.mark.parametrize(("calls", "windows_read"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)])
def test_stop_is_noticed_before_either_model_reads(calls: int, windows_read: int) -> None:
    stop, model, made = threading.Event(), sharp(), []

    def stopping(tokens: Tensor) -> Tensor:
        made.append(tokens)
        if len(made) == calls:
            stop.set()
        return model(tokens)

    if calls == 0:
        stop.set()
    pairs = list(compare(stopping, stopping, windows(random_tokens(100), 16), stop=stop))
    assert (len(pairs), len(made)) == (windows_read, calls)


def test_one_model_alone_can_be_stopped() -> None:
    stop = threading.Event()
    scores = score(sharp(), windows(random_tokens(100), 16), stop=stop)
    next(scores)
    stop.set()
    assert list(scores) == []


@pytest.mark.parametrize(
    "read", [lambda model, rows: score(model, rows), lambda model, rows: compare(model, model, rows)]
)
def test_no_logits_outlive_their_window(read: Callable[[Model, list[Tensor]], object]) -> None:
    model, alive = sharp(), []

    def watched(tokens: Tensor) -> Tensor:
        logits = model(tokens)
        alive.append(weakref.ref(logits.untyped_storage()))
        return logits

    kept = list(read(watched, windows(random_tokens(100), 16)))  # type: ignore[call-overload]
    assert len(kept) == 7
    assert not any(reference() for reference in alive)
    if isinstance(kept[0], PairedScores):
        sizes = [tensor.untyped_storage().nbytes() for tensor in (kept[0].kl, kept[0].reference.nats)]
        assert max(sizes) <= 16 * 8
