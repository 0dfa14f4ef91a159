"""Checks of draws, as functions without arguments: for the real code, and for code with known bugs."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sampling_checks import logs, random_rows, softmax, text
from scipy.stats import chi2, chi2_contingency

from samplers import Chain, build, default_chain

DRAWS, ROWS = 200_000, 500
PAIRS = 20
PLAIN = Chain(samplers=(build("temperature", temperature=1),))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, several times faster for tensors this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def check_distribution(chain: Chain, logits: torch.Tensor, *, seed: int, draws: int = DRAWS) -> None:
    """Compare draws by a G-test with the distribution of the samplers, applied one by one: logits (1, V)."""
    tokens = torch.tensor([[0, 1, 1, 2]])
    expected = logits
    for sampler in chain.samplers:
        expected = sampler(expected, tokens)
    probabilities = softmax(expected[0].double().numpy())
    sampling = chain.start(seed=seed, rows=ROWS)
    many, texts = logits.expand(ROWS, -1), tokens.expand(ROWS, -1)
    drawn = torch.cat([sampling(many, texts) for _ in range(draws // ROWS)])
    counts = drawn.bincount(minlength=logits.shape[1]).numpy()
    possible = probabilities > 0
    assert counts[~possible].sum() == 0, "a token outside the kept set was drawn"
    assert abs(counts / len(drawn) - probabilities).sum() / 2 < 0.01
    # tokens expected less than 5 times are one class, for which G is nearly chi-squared again
    rare = possible & (probabilities * len(drawn) < 5)
    seen = np.append(counts[possible & ~rare], counts[rare].sum())
    wanted = np.append(probabilities[possible & ~rare], probabilities[rare].sum()) * len(drawn)
    seen, wanted = seen[wanted > 0], wanted[wanted > 0]
    g = 2 * (seen[seen > 0] * np.log(seen[seen > 0] / wanted[seen > 0])).sum()
    assert len(wanted) == 1 or chi2.sf(g, len(wanted) - 1) > 1e-6, f"G = {g:.1f} with {len(wanted)} classes"


@one_thread()
def check_independence() -> None:
    """Require that successive steps, rows and seeds are independent."""
    logits = logs(0.4, 0.3, 0.2, 0.1).expand(ROWS, -1)
    one, other = PLAIN.start(seed=1, rows=ROWS), PLAIN.start(seed=2, rows=ROWS)
    steps = torch.stack([one(logits, text(ROWS)) for _ in range(60)])  # (steps, rows)
    others = torch.stack([other(logits, text(ROWS)) for _ in range(60)])
    for first, second in ((steps[1:], steps[:-1]), (steps[:, 1:], steps[:, :-1]), (steps, others)):
        table = (4 * first.reshape(-1) + second.reshape(-1)).bincount(minlength=16).reshape(4, 4)
        assert chi2_contingency(table.numpy()).pvalue > 1e-6


def check_rows() -> None:
    """Require that row i draws the same in any batch, and that rows draw differently."""
    logits = random_rows(2, 1, 300).expand(16, -1)
    sizes = [default_chain().start(seed=7, rows=rows) for rows in (16, 1, 3)]
    drawn = torch.stack([sizes[0](logits, text(16)) for _ in range(30)])
    for sampling, rows in zip(sizes[1:], (1, 3), strict=True):
        again = torch.stack([sampling(logits[:rows], text(rows)) for _ in range(30)])
        assert torch.equal(again, drawn[:, :rows]), "a row's draws depend on how many rows there are"
    assert min(len(step.unique()) for step in drawn) > 1, "all rows draw the same"
    assert len({tuple(row) for row in drawn.T.tolist()}) == 16


def check_streams() -> None:
    """Require that neighbouring seeds and rows, such as (seed 1, row 1) and (seed 2, row 0), draw differently."""
    flat = torch.zeros(4, 1_000)
    streams = set()
    for seed in (0, 1, 2, 3, 2**32, 2**32 + 1, 2**63 - 1):
        sampling = PLAIN.start(seed=seed, rows=4)
        drawn = torch.stack([sampling(flat, text(4)) for _ in range(4)])
        streams |= {tuple(row) for row in drawn.T.tolist()}
    assert len(streams) == 7 * 4


def check_advances() -> None:
    """Require that every step uses one key of the stream, also where only one token can be drawn."""
    free, forced = torch.zeros(1, 500), torch.full((1, 500), -torch.inf).index_fill(1, torch.tensor([9]), 0.0)
    one, other = PLAIN.start(seed=3), PLAIN.start(seed=3)
    first = [one(free, text(1)).item() for _ in range(6)]
    second = [other(forced if step == 2 else free, text(1)).item() for step in range(6)]
    assert second == [*first[:2], 9, *first[3:]]
    assert len(set(first)) > 1


def check_alike_where_equal() -> None:
    """Require that removing other tokens, or adding a constant, changes no draw that is still possible."""
    logits = random_rows(4, 1, 400).clamp(min=-5)
    fewer = logits.clone()
    fewer[0, ::3] = -torch.inf
    sampling, moved, thinned = (PLAIN.start(seed=9) for _ in range(3))
    same = 0
    for _ in range(300):
        drawn = sampling(logits, text(1))
        assert torch.equal(moved(logits + 4.0, text(1)), drawn)
        among_fewer = thinned(fewer, text(1))
        if drawn.item() % 3:
            assert torch.equal(among_fewer, drawn), "a token was not drawn because others were removed"
            same += 1
    assert same > 100


@one_thread()
def check_close_models_agree() -> None:
    """Require that one seed on distributions at total variation t gives at most 2t / (1 + t) different draws."""
    generator = torch.Generator().manual_seed(5)
    for noise, top_k in ((0.1, 20), (1.0, 40), (0.1, 0), (0.02, 0)):
        chain = Chain(samplers=(build("temperature", temperature=0.9), build("top_k", top_k=top_k)))
        logits = 2 * torch.randn(1, 200, generator=generator)
        other = logits + noise * torch.randn(1, 200, generator=generator)
        first, second = (chain.explain(one, text(1))[-1].probabilities[0] for one in (logits, other))
        distance = float((first - second).abs().sum() / 2)
        one, two = chain.start(seed=6, rows=ROWS), chain.start(seed=6, rows=ROWS)
        pairs = [(one(logits.expand(ROWS, -1), text(ROWS)), two(other.expand(ROWS, -1), text(ROWS))) for _ in range(10)]
        rate = float(torch.stack([(a != b).float().mean() for a, b in pairs]).mean())
        spread = 5 * (rate * (1 - rate) / (PAIRS * ROWS)) ** 0.5
        assert distance - spread < rate < 2 * distance / (1 + distance) + spread, f"{rate} at distance {distance}"


def check_names_the_model() -> None:
    """Require that usable logits are drawn from, and NaN and rows without a token refused as the model's fault."""
    assert default_chain().start(seed=0)(torch.tensor([[9.0, -torch.inf, -torch.inf]]), text(1)).tolist() == [0]
    for bad in ([1.0, torch.nan, 2.0], [-torch.inf] * 3):
        try:
            answer = str(default_chain().start(seed=0)(torch.tensor([bad]), text(1)))
        except (ValueError, RuntimeError, IndexError) as error:  # torch refuses in its own words what we let through
            answer = str(error)
        assert answer.startswith("the model "), answer
