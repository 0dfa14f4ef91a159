"""Checks of samplers, as functions of the class: for the built-in ones, and for ones with known bugs.

The expected sets are made by hand, or by `kept`, a plain float64 numpy version of each definition.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from samplers import Chain, Sampler, check_sampler

Row = NDArray[np.float64]


def text(rows: int) -> Tensor:
    """Return an empty text for each row: (B, 0) int64."""
    return torch.zeros((rows, 0), dtype=torch.int64)


def logs(*probabilities: float) -> Tensor:
    """Return logits (1, V) of these probabilities, all moved by the same amount, which must not matter."""
    return torch.tensor([probabilities]).log() + 1.7


def survivors(sampler: Sampler, logits: Tensor) -> list[set[int]]:
    """Return the ids that `sampler` keeps in every row, and require that it does not change their logits."""
    changed = sampler(logits, text(len(logits)))
    stays = changed > -math.inf
    assert torch.equal(changed[stays], logits[stays]), f"{sampler!r} changed logits of tokens it kept"
    return [set(row.nonzero()[:, 0].tolist()) for row in stays]


def softmax(logits: Row) -> Row:
    """Return the softmax in float64."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def kept(name: str, value: float, logits: Row) -> set[int] | None:
    """Return the ids kept by definition, in float64; None where a sum is too near the limit for a decision."""
    probabilities, rank = softmax(logits), -logits
    if name == "min_p":
        ratios = probabilities / probabilities.max() / (value * math.exp(-1e-6))
        return (
            None if np.abs(ratios - 1).min() < 1e-9 else {*np.flatnonzero((ratios > 1) & (logits > -np.inf)).tolist()}
        )
    if name == "typical":
        surprise = np.where(
            logits > -np.inf, logits.max() - logits + np.log(np.exp(logits - logits.max()).sum()), np.inf
        )
        entropy = (probabilities * np.where(probabilities > 0, surprise, 0)).sum()
        rank = np.abs(surprise - entropy)
    order = np.argsort(rank, kind="stable")  # equal ones by lowest id
    if name == "top_k":
        count = int(value)
    else:
        mass, ranked = np.cumsum(probabilities[order]), rank[order][: np.isfinite(rank).sum()]
        mirrored = (np.diff(ranked) < 1e-9) & (np.diff(logits[order][: len(ranked)]) != 0)
        if np.abs(mass - (value - 1e-6)).min() < 1e-9 or (name == "typical" and mirrored.any()):
            return None
        count = 1 + int((mass < value - 1e-6).sum())
    return {int(i) for i in order[:count] if logits[i] > -np.inf}


def random_rows(seed: int, rows: int, vocabulary: int) -> Tensor:
    """Return logits (rows, vocabulary): flat, peaked, tied and thinned rows, at least one token in each."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, vocabulary)) * rng.choice([0.1, 1, 4, 30], size=(rows, 1))
    logits = np.where(rng.random((rows, 1)) < 0.4, np.round(logits), logits)
    logits[rng.random((rows, vocabulary)) < rng.choice([0, 0, 0.5, 0.97], size=(rows, 1))] = -np.inf
    logits[np.arange(rows), rng.integers(vocabulary, size=rows)] = 1.0
    return torch.tensor(logits, dtype=torch.float32)


def check_against_reference(cls: type[Sampler], values: list[float], *, batches: int = 4, vocabulary: int = 40) -> int:
    """Compare with `kept` on random batches, and return the number of rows compared."""
    compared = 0
    for value in values:
        (option,) = cls.model_fields
        for seed in range(batches):
            logits = random_rows(seed, 16, vocabulary)
            ids_by_row = survivors(cls(**{option: value}), logits)
            for row, ids in zip(logits.double().numpy(), ids_by_row, strict=True):
                expected = kept(cls.name, value, row)
                assert expected is None or ids == expected, f"{option}={value} kept {ids}, not {expected}, of {row}"
                compared += expected is not None
    return compared


def check_top_k(cls: type[Sampler]) -> None:
    """Require exactly k tokens, ties by lowest id; 0 and k beyond the vocabulary keep all."""
    row = logs(0.1, 0.4, 0.2, 0.3)
    assert [survivors(cls(top_k=k), row)[0] for k in (1, 2, 3)] == [{1}, {1, 3}, {1, 2, 3}]
    assert all(survivors(cls(top_k=k), row) == [{0, 1, 2, 3}] for k in (0, 4, 5, 10**12))
    assert survivors(cls(top_k=2), logs(0.2, 0.2, 0.2, 0.2, 0.2)) == [{0, 1}]
    assert survivors(cls(top_k=2), logs(0.1, 0.2, 0.3, 0.2, 0.2)) == [{1, 2}]
    assert survivors(cls(top_k=3), logs(0.5, 0, 0, 0.5)) == [{0, 3}]  # removed tokens do not come back
    assert survivors(cls(top_k=50), torch.zeros(1, 50_257)) == [set(range(50))]
    check_against_reference(cls, [1, 2, 7, 39])


def check_top_p(cls: type[Sampler]) -> None:
    """Require the smallest most probable set that reaches p, the crossing token included."""
    row = logs(0.3, 0.1, 0.1, 0.5)
    expected = {1e-9: {3}, 0.3: {3}, 0.5: {3}, 0.51: {0, 3}, 0.8: {0, 3}, 0.81: {0, 1, 3}, 0.95: {0, 1, 2, 3}}
    assert {p: survivors(cls(top_p=p), row)[0] for p in expected} == expected
    rare = torch.tensor([[9.0, -90.0, -math.inf, -9.0]])
    assert survivors(cls(top_p=1), rare) == [{0, 1, 3}]
    assert survivors(cls(top_p=0.5), torch.zeros(1, 6)) == [{0, 1, 2}]
    assert survivors(cls(top_p=0.9), torch.tensor([[1e30, 1e30, 0.0]])) == [{0, 1}]  # no logarithm of a sum shows here
    assert survivors(cls(top_p=0.1), torch.zeros(1, 50_257)) == [set(range(5_026))]  # more than a first look
    assert survivors(cls(top_p=0.9), torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 0.0]])) == [{2}, {0, 1, 2}]
    check_against_reference(cls, [1e-9, 0.1, 0.5, 0.9, 0.999])


def check_min_p(cls: type[Sampler]) -> None:
    """Require every token with at least this fraction of the best one's probability."""
    row = logs(0.4, 0.3, 0.2, 0.1)
    expected = {0: {0, 1, 2, 3}, 0.24: {0, 1, 2, 3}, 0.25: {0, 1, 2, 3}, 0.26: {0, 1, 2}, 0.5: {0, 1, 2}, 0.6: {0, 1}}
    assert {p: survivors(cls(min_p=p), row)[0] for p in expected} == expected
    assert survivors(cls(min_p=1), logs(0.2, 0.4, 0.4)) == [{1, 2}]
    assert survivors(cls(min_p=0.5), torch.tensor([[5.0, 5.0, 3.0], [2.0, 0.0, 2.0]])) == [{0, 1}, {0, 2}]
    check_against_reference(cls, [1e-6, 0.05, 0.3, 0.9])


def check_typical(cls: type[Sampler]) -> None:
    """Require the tokens whose surprise is nearest the entropy, until their share reaches typical_p."""
    row = logs(0.5, 0.2, 0.15, 0.1, 0.05)  # surprise .69 1.61 1.90 2.30 3.00, entropy 1.33 nats
    expected = {0.1: {1}, 0.2: {1}, 0.3: {1, 2}, 0.6: {0, 1, 2}, 0.86: {0, 1, 2, 3}, 1: {0, 1, 2, 3, 4}}
    assert {p: survivors(cls(typical_p=p), row)[0] for p in expected} == expected
    assert survivors(cls(typical_p=0.5), torch.zeros(1, 6)) == [{0, 1, 2}]
    check_against_reference(cls, [0.1, 0.5, 0.9, 0.99])


def check_greedy(cls: type[Sampler]) -> None:
    """Require the best token, of equal ones the first."""
    assert survivors(cls(), torch.tensor([[0.0, 3.0, 3.0], [1.0, 1.0, 1.0], [-math.inf, -9.0, -8.0]])) == [
        {1},
        {0},
        {2},
    ]


def check_temperature(cls: type[Sampler]) -> None:
    """Require softmax(logits / temperature), greedy at 0, and finite results for all logits."""
    row = torch.tensor([[1.0, 2.5, -3.0, 2.4], [0.0, 0.0, -1.0, -math.inf]])
    for temperature in (2, 1, 0.8, 0.3):
        changed = cls(temperature=temperature)(row, text(2)).softmax(1).double().numpy()
        expected = np.stack([softmax(one / temperature) for one in row.double().numpy()])
        np.testing.assert_allclose(changed, expected, atol=1e-6)
    assert survivors(cls(temperature=0), row) == [{1}, {0}]
    for temperature in (1e-3, 1e-30, 1e-300):
        for huge in (1.0, 1e30, 3e38):
            probabilities = cls(temperature=temperature)(torch.tensor([[huge, -huge, huge]]), text(1)).softmax(1)
            assert probabilities.tolist() == [[0.5, 0, 0.5]]


def check_repetition_penalty(cls: type[Sampler]) -> None:
    """Require that every token of the text is changed once: above 0 divided, below 0 multiplied."""
    logits, tokens = (
        torch.tensor([[2.0, -2.0, 3.0, -3.0], [1.0, 1.0, -1.0, -1.0]]),
        torch.tensor([[0, 1, 0], [3, 3, 1]]),
    )
    assert cls(repetition_penalty=2)(logits, tokens).tolist() == [[1, -4, 3, -3], [1, 0.5, -1, -2]]
    assert cls(repetition_penalty=0.5)(logits, tokens).tolist() == [[4, -1, 3, -3], [1, 2, -1, -0.5]]
    assert torch.equal(cls(repetition_penalty=2)(logits, torch.tensor([[-1, 4, 99]] * 2)), logits)


def check_presence_frequency(cls: type[Sampler]) -> None:
    """Require the subtraction of count * frequency, and of presence once."""
    logits, tokens = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]]), torch.tensor([[2, 0, 2, 2], [1, 1, -7, 3]])
    assert cls(frequency_penalty=0.5)(logits, tokens).tolist() == [[-0.5, 1, 0.5], [5, 4, 5]]
    assert cls(presence_penalty=0.5)(logits, tokens).tolist() == [[-0.5, 1, 1.5], [5, 4.5, 5]]
    both = cls(presence_penalty=-1, frequency_penalty=-0.25)(logits, tokens)
    assert both.tolist() == [[1.25, 1, 3.75], [5, 6.5, 5]]


def check_logit_bias(cls: type[Sampler]) -> None:
    """Require the addition to the named tokens alone, and one sentence for what is no list of biases."""
    logits = torch.tensor([[0.0, 1, -math.inf], [3, 2, 1]])
    changed = cls(logit_bias="0:-100, 2:2.5,")(logits, text(2))
    assert changed.tolist() == [[-100, 1, -math.inf], [-97, 2, 3.5]]
    many = ", ".join(f"{i}:1" for i in range(1_001))
    for wrong in ("5", "a:1", "-1:1", "1:nan", "1:101", "1:1, 1:2", "1:1 2:2", many):
        with pytest.raises(ValueError, match="logit_bias"):
            cls(logit_bias=wrong)
    with pytest.raises(ValueError, match="token 3"):  # outside the vocabulary
        cls(logit_bias="3:1")(logits, text(2))


def check_top_n_sigma(cls: type[Sampler]) -> None:
    """Require the border of the authors' code: the best logit less n sample deviations, at any temperature."""
    logits = 3 * torch.randn(50, 300, generator=torch.Generator().manual_seed(4))
    for n in (0.3, 1.0, 2.5):
        border = logits.max(1, keepdim=True).values - n * logits.std(1, keepdim=True)
        expected = [set(row.nonzero()[:, 0].tolist()) for row in logits >= border]
        assert survivors(cls(n_sigma=n), logits) == expected
        assert survivors(cls(n_sigma=n), logits / 0.3) == expected
    # removed tokens have no part in it: of 4, 3, 2 and 0 the deviation is 1.71
    row = torch.tensor([[4.0, 3, 2, 0, -math.inf]])
    assert survivors(cls(n_sigma=1), row) == [{0, 1}]
    assert survivors(cls(n_sigma=1.2), row) == [{0, 1, 2}]


def check_xtc(cls: type[Sampler]) -> None:
    """Require the mean of the coin's two sides: the model's distribution, and it without all likely tokens but one."""
    probabilities = [0.4, 0.25, 0.25, 0.06, 0.04]
    row = logs(*probabilities)

    def changed(**options: object) -> list[float]:
        return cls(**options)(row, text(1)).softmax(1)[0].tolist()

    # the likely ones but the last of the two equal ones are dropped
    rest = [0, 0, 0.25 / 0.35, 0.06 / 0.35, 0.04 / 0.35]
    for share in (0.2, 0.5, 1.0):
        expected = [(1 - share) * p + share * q for p, q in zip(probabilities, rest, strict=True)]
        assert changed(xtc_probability=share, xtc_threshold=0.25) == pytest.approx(expected, abs=1e-6)
    assert changed(xtc_probability=1, xtc_threshold=0.05)[:3] == [0, 0, 0]
    for idle in ({"xtc_threshold": 0.3}, {"xtc_threshold": 0.25, "xtc_never_drop": "9, 1"}):
        assert changed(xtc_probability=1, **idle) == pytest.approx(probabilities, abs=1e-6)
    assert changed(xtc_probability=1, xtc_threshold=0.25, xtc_never_drop="2") == pytest.approx(rest, abs=1e-6)
    for wrong in ("a", "-1", "1 2", ", ".join(map(str, range(1_001)))):
        with pytest.raises(ValueError, match="xtc_never_drop"):
            cls(xtc_never_drop=wrong)


def check_dry(cls: type[Sampler]) -> None:
    """Require the penalty of the definition for each token that would prolong a repetition, and for no other."""
    generator = torch.Generator().manual_seed(5)
    for breakers, allowed, reach in ((set(), 1, 0), ({2}, 2, 0), (set(), 2, 9), ({0, 3}, 1, 25)):
        tokens = torch.randint(0, 4, (60, 40), generator=generator)
        options = {"dry_multiplier": 0.7, "dry_base": 1.5, "dry_allowed_length": allowed, "dry_range": reach}
        sampler = cls(**options, dry_sequence_breakers=", ".join(map(str, breakers)))
        expected = [[-loss for loss in _dry(row[-reach:], breakers, 0.7, 1.5, allowed)] for row in tokens.tolist()]
        torch.testing.assert_close(sampler(torch.zeros(60, 4), tokens), torch.tensor(expected), rtol=1e-5, atol=1e-5)
    endless = cls(dry_multiplier=100, dry_base=10)(torch.zeros(1, 2), torch.zeros(1, 1_000, dtype=torch.int64))
    assert endless.isfinite().all()
    assert endless.softmax(1).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="dry_sequence_breakers"):
        cls(dry_sequence_breakers="198;25")


def _dry(text: list[int], breakers: set[int], multiplier: float, base: float, allowed: int) -> list[float]:
    """Return the penalty of each of four tokens by definition: each end of the text sought at each earlier place."""
    losses = [0.0] * 4
    for length in range(allowed, len(text)):
        end = text[-length:]
        if breakers & set(end):
            break
        for start in range(len(text) - length):
            token = text[start + length]
            if text[start : start + length] == end and token not in breakers:
                losses[token] = multiplier * base ** (length - allowed)
    return losses


def check_order(default: Chain) -> None:
    """Require this order, by names and on rows where each swap of two neighbours gives another distribution."""
    order = ["repetition_penalty", "presence_frequency", "temperature", "top_k", "top_p", "min_p"]
    assert [sampler.name for sampler in default.samplers] == order
    tokens = torch.tensor([[0, 0, 1]])
    cases = [  # options by sampler, probabilities, ids kept by these samplers
        ({"temperature": 0.5, "top_p": 0.8}, (0.4, 0.3, 0.15, 0.1, 0.05), {0, 1}),  # the other way: {0, 1, 2}
        ({"top_k": 2, "top_p": 0.55}, (0.4, 0.3, 0.15, 0.1, 0.05), {0}),  # {0, 1}
        ({"top_p": 0.8, "min_p": 0.3}, (0.4, 0.3, 0.15, 0.1, 0.05), {0, 1, 2}),  # {0, 1}
        ({"temperature": 2.0, "min_p": 0.5}, (0.4, 0.3, 0.15, 0.1, 0.05), {0, 1, 2, 3}),  # {0, 1}
        ({"frequency_penalty": 2.0, "temperature": 0.1, "top_k": 1}, (0.9, 0.05, 0.05, 0, 0), {2}),  # {0}
    ]
    for options, probabilities, expected in cases:
        links = [sampler.to_data() for sampler in default.samplers]
        neutral = {k: v for sampler in default.samplers for k, v in sampler.neutral.items()} | options
        chain = Chain.from_data([{k: neutral.get(k, v) for k, v in link.items()} for link in links])
        result = chain.explain(torch.tensor([probabilities]).log(), tokens)[-1].probabilities[0]
        assert set(result.nonzero()[:, 0].tolist()) == expected, f"{options} gave {result.tolist()}"


CHECKS: dict[str, Callable[[type[Sampler]], None]] = {
    "top_k": check_top_k,
    "top_p": check_top_p,
    "min_p": check_min_p,
    "typical": check_typical,
    "greedy": check_greedy,
    "temperature": check_temperature,
    "repetition_penalty": check_repetition_penalty,
    "presence_frequency": check_presence_frequency,
    "logit_bias": check_logit_bias,
    "top_n_sigma": check_top_n_sigma,
    "xtc": check_xtc,
    "dry": check_dry,
}


def check(cls: type[Sampler]) -> None:
    """Check the definition of this sampler, and the contract of all."""
    CHECKS[cls.name](cls)
    check_sampler(cls)
