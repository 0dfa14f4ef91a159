"""Compiled draws: the tokens that `samplers` draws, what they leave to it, and log-probabilities."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptdesk.draws import start_draws
from gptdesk.token_logprobs import log_probabilities
from models.engine import Engine
from models.gpt import GPT, GPTConfig
from models.precision import PRECISIONS
from samplers import Chain, Sampler, build, default_chain
from samplers.chain import join_rows

pytest.importorskip("numba")
LINKS: dict[str, tuple[str, list[float]]] = {
    "temperature": ("temperature", [0.0, 1e-40, 0.1, 0.8, 1.0, 1.3, 2.0]),
    "top_k": ("top_k", [0, 1, 3, 50, 200, 2000]),
    "top_p": ("top_p", [0.1, 0.5, 0.9, 0.95, 1.0]),
    "min_p": ("min_p", [0.0, 0.01, 0.3, 1.0]),
}
TEXT = torch.zeros(1, 1, dtype=torch.int64)


@pytest.fixture(scope="module")
def engine() -> Engine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTDESK_KERNELS", "native")
        config = GPTConfig(vocab_size=20, block_size=8, n_layer=1, n_head=1, n_embd=64)
        return Engine.of(GPT(config).eval(), PRECISIONS["float32"])


def link(name: str) -> st.SearchStrategy[Sampler]:
    option, values = LINKS[name]
    return st.sampled_from(values).map(lambda value: build(name, **{option: value}))


CHAINS = st.lists(
    st.one_of(st.just(build("greedy")), *map(link, LINKS)),
    min_size=1,
    max_size=4,
).map(lambda samplers: Chain(samplers=tuple(samplers)))


@settings(max_examples=400, deadline=None)
@given(
    chain=CHAINS,
    size=st.sampled_from([1, 5, 40, 300, 1_024, 1_025, 4_096, 50_257]),
    scale=st.sampled_from([0.1, 1.0, 4.0, 20.0]),
    step=st.sampled_from([0.0, 0.25, 2.0]),
    seed=st.integers(0, 2**63 - 1),
)
def test_the_tokens_are_those_of_the_samplers(
    engine: Engine, chain: Chain, size: int, scale: float, step: float, seed: int
) -> None:
    """Chains in any order, with repetitions, and logits of which many are equal, zeros of both signs among them."""
    generator = torch.Generator().manual_seed(seed % 2**32)
    logits = torch.randn(2, size, generator=generator) * scale
    if step:
        logits = (logits / step).round() * step
    steps = chain.steps()
    assert steps is not None
    draw = engine.draw(steps)
    assert draw is not None
    plain, fast = chain.start(seed=seed, rows=2), start_draws(chain, engine, seed=seed, rows=2)
    for _ in range(2):
        drawn = draw(logits, plain._next_keys())
        plain.rewind(1)
        expected = plain(logits, TEXT.expand(2, 1))
        assert drawn is None or torch.equal(drawn, expected)
        assert torch.equal(fast(logits, TEXT.expand(2, 1)), expected)


@pytest.mark.parametrize("size", [300, 4_096, 50_257])
@pytest.mark.parametrize(
    "chain",
    [
        default_chain(),
        Chain(samplers=(build("greedy"),)),
        Chain(samplers=(build("temperature", temperature=1.0),)),
        Chain(samplers=(build("temperature", temperature=0.5), build("min_p", min_p=0.05))),
        Chain(samplers=(build("top_k", top_k=100), build("top_p", top_p=0.8), build("temperature", temperature=1.5))),
    ],
)
def test_usual_chains_are_drawn(engine: Engine, chain: Chain, size: int) -> None:
    sampling = start_draws(chain, engine, seed=3, rows=4)
    logits = 3 * torch.randn(4, size, generator=torch.Generator().manual_seed(1))
    assert sampling._fast is not None
    assert sampling._fast(logits, torch.arange(4)) is not None
    # the same whether rows lie side by side, or are one
    assert torch.equal(*(sampling._fast(one, torch.arange(4)) for one in (logits[:1].expand(4, -1), logits[[0] * 4])))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chain", "spoil", "fault"),
    [
        (default_chain(), lambda row: row.fill_(math.nan), "NaN"),
        (default_chain(), lambda row: row[7].fill_(math.nan), "NaN"),
        (default_chain(), lambda row: row.fill_(-math.inf), "no token"),
        (default_chain(), lambda row: row[9].fill_(math.inf), ""),
        (default_chain(), lambda row: row[:200].fill_(-math.inf), ""),
        (Chain(samplers=(build("top_p", top_p=0.9),)), lambda row: row, ""),
    ],
)
def test_the_rest_is_left_to_the_samplers(
    engine: Engine, chain: Chain, spoil: Callable[[torch.Tensor], object], fault: str
) -> None:
    logits = torch.randn(2, 3_000, generator=torch.Generator().manual_seed(5))
    spoil(logits[1])
    fast, plain = start_draws(chain, engine, seed=8, rows=2), chain.start(seed=8, rows=2)
    assert fast._fast is not None
    assert fast._fast(logits, torch.arange(2)) is None
    if fault:
        for sampling in (fast, plain):
            with pytest.raises(ValueError, match=fault):
                sampling(logits, TEXT.expand(2, 1))
    else:
        assert torch.equal(fast(logits, TEXT.expand(2, 1)), plain(logits, TEXT.expand(2, 1)))


@pytest.mark.parametrize("size", [1, 15, 64, 300, 4_096, 50_257])
@pytest.mark.parametrize("scale", [0.0, 1.0, 40.0])
def test_log_probabilities_are_those_of_float64(engine: Engine, size: int, scale: float) -> None:
    """Whatever the rows beside, equal tokens by id among the most probable."""
    logits = (scale * torch.randn(3, size, generator=torch.Generator().manual_seed(2))).round(decimals=1)
    expected = logits.double().log_softmax(1)
    tokens = torch.tensor([0, size // 2, size - 1])
    found = log_probabilities(engine, logits, tokens, top=min(5, size))
    for row, (token, (logprob, top)) in enumerate(zip(tokens.tolist(), found, strict=True)):
        assert logprob == pytest.approx(float(expected[row, token]), abs=2e-6)
        best = sorted(range(size), key=lambda i: (-float(logits[row, i]), i))[: len(top)]
        assert [id for id, _ in top] == best
        assert [value for _, value in top] == pytest.approx([float(expected[row, i]) for i in best], abs=2e-6)
        assert log_probabilities(engine, logits[row : row + 1], tokens[row : row + 1], top=len(top)) == [(logprob, top)]


def test_rows_are_joined_in_their_order_and_copied_only_where_they_lie_apart() -> None:
    whole = torch.arange(24.0).reshape(6, 4)
    parts = whole.split([1, 2, 3])
    assert join_rows(parts).data_ptr() == whole.data_ptr()
    for rows in (
        parts,
        parts[1:],
        parts[::-1],
        parts[::2],
        [whole[:, :2], whole[:, 2:]],
        [one.clone() for one in parts],
    ):
        assert torch.equal(join_rows(rows), torch.cat([*rows]))
    assert join_rows([one.double() for one in parts]).dtype == torch.float32


def test_logits_that_are_no_numbers_have_no_log_probabilities(engine: Engine) -> None:
    logits = torch.zeros(4, 70)
    logits[0, 5], logits[1, 66], logits[2] = math.nan, math.inf, -math.inf
    assert engine.log_normalizers(logits).isnan().tolist() == [True, True, True, False]


def test_chains_that_look_at_the_text_or_are_not_known_have_none(engine: Engine) -> None:
    known = build("top_k", top_k=5)
    for other in (build("repetition_penalty", repetition_penalty=1.2), build("typical", typical_p=0.5)):
        chain = Chain(samplers=(known, other))
        assert start_draws(chain, engine, seed=1, rows=1)._fast is None

    class Own(type(known)):  # type: ignore[misc]  # a class that is found out here
        """A sampler derived from one of ours may do otherwise."""

    assert Chain(samplers=(Own(top_k=5),)).steps() is None
    assert Chain(samplers=(known, build("repetition_penalty", repetition_penalty=1.0))).steps() == [("top_k", 5.0)]
