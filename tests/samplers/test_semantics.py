"""Definitions of the built-in samplers: by hand, by a float64 reference, and in parity with transformers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_checks import CHECKS, check, check_against_reference, check_order, kept, random_rows, survivors
from transformers.generation import logits_process as theirs

from samplers import build, default_chain, get, names

NEAR = st.floats(-4, 4, width=32) | st.sampled_from([-math.inf, 0.0, 1.0, 1.0, 30.0, -80.0])


@pytest.mark.parametrize("name", names())
def test_it_means_what_its_definition_says(name: str) -> None:
    check(get(name))


def test_every_built_in_has_a_check() -> None:
    assert set(CHECKS) == set(names())


def test_default_order() -> None:
    check_order(default_chain())


@pytest.mark.parametrize(
    ("name", "values"), [("top_k", [1, 9]), ("top_p", [0.2, 0.95]), ("min_p", [0.02, 0.4]), ("typical", [0.2, 0.9])]
)
def test_20_000_rows_keep_what_float64_keeps(name: str, values: list[float]) -> None:
    assert check_against_reference(get(name), values, batches=160) > 5_000


@pytest.mark.parametrize("vocabulary", [1, 63, 64, 65, 257, 5_000, 12_007, 12_032, 50_257])
@pytest.mark.parametrize(
    ("name", "values"), [("top_k", [1, 60, 700]), ("top_p", [0.5, 0.97]), ("min_p", [0.1]), ("typical", [0.5, 0.97])]
)
def test_blocks_of_any_size_lose_no_token(name: str, values: list[float], vocabulary: int) -> None:
    check_against_reference(get(name), values, batches=1, vocabulary=vocabulary)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(1, 12).flatmap(
        lambda size: st.lists(st.lists(NEAR, min_size=size, max_size=size), min_size=1, max_size=3)
    ),
    st.sampled_from(["top_p", "min_p", "typical"]),
    st.floats(0.001, 1, exclude_max=True),
    st.integers(1, 14),
)
def test_any_small_batch_keeps_what_float64_keeps(rows: list[list[float]], name: str, share: float, k: int) -> None:
    logits = torch.tensor([[*row, 0.5] for row in rows])  # never a row without a token
    (option,) = get(name).model_fields
    for sampler, value in ((build(name, **{option: share}), share), (build("top_k", top_k=k), k)):
        for row, ids in zip(logits.double().numpy(), survivors(sampler, logits), strict=True):
            expected = kept(sampler.name, value, row)
            assert expected is None or ids == expected


@pytest.mark.parametrize(
    ("warper", "name", "options"),
    [
        (theirs.TemperatureLogitsWarper(0.7), "temperature", {"temperature": 0.7}),
        (theirs.TopKLogitsWarper(40), "top_k", {"top_k": 40}),
        (theirs.TopPLogitsWarper(0.9), "top_p", {"top_p": 0.9}),
        (theirs.MinPLogitsWarper(0.05), "min_p", {"min_p": 0.05}),
        (theirs.TypicalLogitsWarper(0.8), "typical", {"typical_p": 0.8}),
        (theirs.RepetitionPenaltyLogitsProcessor(1.3), "repetition_penalty", {"repetition_penalty": 1.3}),
    ],
)
def test_parity_with_transformers(warper: theirs.LogitsProcessor, name: str, options: dict[str, float]) -> None:
    generator = torch.Generator().manual_seed(3)
    for scale in (0.5, 2.0, 8.0):
        logits = scale * torch.randn(4, 1_000, generator=generator)
        tokens = torch.randint(0, 1_000, (4, 30), generator=generator)
        ours, expected = build(name, **options)(logits, tokens), warper(tokens, logits.clone())
        assert torch.equal(ours == -math.inf, expected == -math.inf)
        torch.testing.assert_close(ours.softmax(1), expected.softmax(1), atol=1e-6, rtol=1e-5)


def test_rows_of_a_batch_are_told_apart_by_filters_of_any_width() -> None:
    logits = random_rows(5, 9, 300)
    for sampler in (build("top_k", top_k=20), build("top_p", top_p=0.6), build("min_p", min_p=0.2)):
        together = survivors(sampler, logits)
        assert together == [survivors(sampler, row[None])[0] for row in logits]
        assert len({len(ids) for ids in together}) > 1


def test_close_to_the_edge_the_tolerance_decides() -> None:
    row = torch.tensor(np.log([[0.5, 0.3, 0.2]]), dtype=torch.float32)
    assert survivors(build("top_p", top_p=0.8 + 0.9e-6), row) == [{0, 1}]
    assert survivors(build("top_p", top_p=0.8 + 1.3e-6), row) == [{0, 1, 2}]
    assert survivors(build("min_p", min_p=0.6 * (1 + 0.5e-6)), row) == [{0, 1}]
    assert survivors(build("min_p", min_p=0.6 * (1 + 2e-6)), row) == [{0}]
