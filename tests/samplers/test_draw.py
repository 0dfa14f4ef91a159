"""Draws: their distribution, independent streams, and equal choices for equal distributions."""

import itertools
import math

import numpy as np
import pytest
import torch
from draw_checks import (
    PLAIN,
    check_advances,
    check_alike_where_equal,
    check_close_models_agree,
    check_distribution,
    check_independence,
    check_rows,
    check_streams,
)
from sampling_checks import random_rows, text

from samplers import Chain, default_chain, draw
from samplers.draw import KeyStream, noise

SETTINGS: list[list[dict[str, object]]] = [
    [{"name": "temperature", "temperature": 1.0}],
    [{"name": "temperature", "temperature": 0.3}],
    [{"name": "temperature", "temperature": 2.0}],
    [{"name": "top_k", "top_k": 2}],
    [{"name": "top_k", "top_k": 10}],
    [{"name": "top_p", "top_p": 0.3}],
    [{"name": "top_p", "top_p": 0.9}],
    [{"name": "min_p", "min_p": 0.2}],
    [{"name": "typical", "typical_p": 0.6}],
    [{"name": "repetition_penalty", "repetition_penalty": 1.5}],
    [{"name": "presence_frequency", "presence_penalty": 1.0, "frequency_penalty": 0.5}],
    [{"name": "temperature", "temperature": 0.7}, {"name": "top_k", "top_k": 20}, {"name": "top_p", "top_p": 0.8}],
]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("case", range(len(SETTINGS)))
def test_200_000_draws_follow_the_distribution(case: int, flat: bool) -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(case)) * (0.3 if flat else 2.0)
    check_distribution(Chain.from_data(SETTINGS[case]), logits, seed=100 * case + flat)


def test_successive_draws_rows_and_tokens_are_independent() -> None:
    check_independence()


def test_a_row_depends_on_its_seed_and_number_alone() -> None:
    check_rows()


def test_no_two_streams_coincide() -> None:
    check_streams()


def test_one_remaining_token_uses_up_its_turn() -> None:
    check_advances()


def test_two_models_with_one_distribution_choose_alike() -> None:
    check_alike_where_equal()


def test_two_close_models_seldom_choose_differently() -> None:
    check_close_models_agree()


def test_seeds_reproduce() -> None:
    logits = random_rows(1, 3, 400)
    for seed in (0, 1, 2**32, 2**63 - 1):
        first, second = (default_chain().start(seed=seed, rows=3) for _ in range(2))
        assert all(torch.equal(first(logits, text(3)), second(logits, text(3))) for _ in range(20))


@pytest.mark.parametrize(
    ("vocabulary", "chain", "expected"),
    [
        (300, default_chain(), [[7, 200], [231, 195], [271, 59], [271, 103], [7, 49]]),
        (50_257, default_chain(), [[48188, 40399], [39107, 27282], [39107, 46453], [43143, 16183], [23972, 25264]]),
        (300, PLAIN, [[7, 200], [231, 195], [271, 59], [271, 103], [7, 187]]),
    ],
)
def test_a_seed_gives_the_tokens_it_always_gave(vocabulary: int, chain: Chain, expected: list[list[int]]) -> None:
    logits = torch.stack([torch.arange(vocabulary) * step % 1_009 / 100 for step in (7_919, 104_729)])
    sampling = chain.start(seed=2024, rows=2)
    assert [sampling(logits, text(2)).tolist() for _ in range(5)] == expected


def test_keys_do_not_depend_on_how_many_are_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = KeyStream(6, 3)
    monkeypatch.setattr(draw, "AHEAD", 1)
    one_by_one = KeyStream(6, 3)
    assert all(torch.equal(ahead(), one_by_one()) for _ in range(40))


def test_seeds_that_torch_cannot_tell_apart_give_different_keys() -> None:
    """torch seeds its CPU generator with 32 bits of the 64."""
    keys = torch.cat([KeyStream(seed, 512)() for seed in (0, 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1)])
    assert len(keys.unique()) == 6 * 512
    assert (keys >= 0).all()


def test_noise_is_splitmix64() -> None:
    """The first outputs of the public reference code for the seeds 0 and 1234567, cut to 53 bits."""
    published = {0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4], 1234567: [6457827717110365317, 3203168211198807973]}
    for seed, words in published.items():
        found = noise(torch.tensor(seed), torch.arange(2)) * 2.0**53
        assert [int(one) for one in found.tolist()] == [word >> 11 | 1 for word in words]


def test_noise_is_uniform_and_inside_the_open_interval() -> None:
    uniform = noise(KeyStream(3, 20)()[:, None], torch.arange(50_000)).numpy()
    assert uniform.min() > 0
    assert uniform.max() < 1
    counts = np.histogram(uniform, bins=100, range=(0, 1))[0]
    assert abs(counts - 10_000).max() < 6 * math.sqrt(10_000)
    ones = [((uniform * 2**53).astype(np.int64) >> bit & 1).mean() for bit in range(1, 53)]
    assert max(abs(share - 0.5) for share in ones) < 6 * 0.5 / math.sqrt(uniform.size)
    for one, other in itertools.combinations(uniform[:4], 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 6 / math.sqrt(50_000)
