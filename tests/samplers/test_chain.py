"""Chain: samplers in order as data, one distribution per link, and a sentence for unusable logits."""

import math
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from sampling_checks import logs, random_rows, text
from torch import Tensor

from samplers import Chain, Sampler, Sampling, build, default_chain
from samplers.temperature import Temperature
from samplers.top_k import TopK

EVERY_KIND = [
    {"name": "repetition_penalty", "repetition_penalty": 1.3},
    {"name": "top_k", "top_k": 30},
    {"name": "temperature", "temperature": 0.7},
    {"name": "typical", "typical_p": 0.9},
    {"name": "presence_frequency", "presence_penalty": 0.4, "frequency_penalty": -0.1},
    {"name": "top_p", "top_p": 0.9},
    {"name": "min_p", "min_p": 0.02},
]


class Breaks(Sampler):
    """Calls the function of the test."""

    name = "breaks"
    does: ClassVar[Callable[[Tensor], object]]

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return type(self).does(logits)  # type: ignore[return-value]


def test_the_order_is_data() -> None:
    chain = Chain.from_data(EVERY_KIND)
    assert chain.to_data() == EVERY_KIND
    assert Chain.from_data(chain.to_data()) == chain != Chain.from_data(EVERY_KIND[::-1])
    assert Chain.model_validate_json(chain.model_dump_json()) == chain == pickle.loads(pickle.dumps(chain))
    assert hash(chain) == hash(Chain.from_data(EVERY_KIND))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "the sampler chain is empty; give it at least one"),
        ([{"name": "tok_p"}], "there is no sampler 'tok_p'; the samplers are: repetition_penalty,"),
        ([{"name": "top_p", "top_p": 2}], "top_p must be less than or equal to 1, not 2"),
        ([{"name": "greedy", "k": 2}], "greedy has no option 'k'; it has none"),
        ([{"name": "top_p", "self": 2}], "top_p has no option 'self'"),
        ([{"name": "top_p", "x" * 10**7: 2}], "top_p has no option 'xxx"),
        ([{"top_p": 0.5}], "a sampler in a chain is written"),
        ([None], "a sampler in a chain is written"),
        ({"name": "top_p"}, "a sampler chain is a list such as"),
        ("top_p", "a sampler chain is a list such as"),
        (None, "a sampler chain is a list such as"),
    ],
)
def test_bad_data_is_refused_in_one_sentence(data: object, words: str) -> None:
    with pytest.raises(ValueError, match="^" + words) as caught:
        Chain.from_data(data)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, None, True, "1"])
def test_seeds_outside_the_range_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"^seed must be a whole number from 0 to 9223372036854775807, not"):
        default_chain().start(seed=seed)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^rows must be a whole number of at least 1, not 0"):
        default_chain().start(seed=0, rows=0)


def test_explain_has_the_model_and_every_link() -> None:
    links = Chain.from_data(EVERY_KIND).explain(random_rows(0, 6, 200), torch.arange(54).reshape(6, 9))
    assert [link.name for link in links] == ["model", *(link["name"] for link in EVERY_KIND)]
    for before, after in pairwise(links):
        assert after.probabilities.shape == (6, 200)
        torch.testing.assert_close(after.probabilities.sum(1), torch.ones(6))
        assert not ((before.probabilities == 0) & (after.probabilities > 0)).any()


@pytest.mark.parametrize(("vocabulary", "seeds"), [(200, 10), (12_007, 1), (12_032, 1)])
@pytest.mark.parametrize("first", [0, 2, 4, 5])
def test_explain_is_each_sampler_on_whole_rows(first: int, vocabulary: int, seeds: int) -> None:
    """Shortcuts compute only the tokens that are left, and the distributions are bit-exact all the same."""
    chain, tokens = Chain.from_data(EVERY_KIND[first:] + EVERY_KIND[:first]), torch.arange(72).reshape(8, 9)
    for seed in range(seeds):
        logits = random_rows(seed, 8, vocabulary)
        for link, sampler in zip(chain.explain(logits, tokens)[1:], chain.samplers, strict=True):
            logits = sampler(logits, tokens)
            assert torch.equal(link.probabilities, logits.softmax(1)), sampler


@pytest.mark.parametrize("vocabulary", [1, 63, 65, 257, 12_007, 12_032, 50_257])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("top_k", [1, 60, 700, 20_000]),
        ("top_p", [0.5, 0.97]),
        ("min_p", [1e-6, 0.1, 1]),
        ("typical", [0.5, 0.97]),
        ("temperature", [0, 1e-3, 0.8, 2]),
    ],
)
def test_a_shortcut_is_bit_exact(name: str, values: list[float], vocabulary: int) -> None:
    for rows in (1, 8):
        logits = random_rows(rows, rows, vocabulary)
        for value in values:
            sampler = build(name, **{name if name != "typical" else "typical_p": value})
            link = Chain(samplers=(sampler,)).explain(logits, text(rows))[-1]
            assert torch.equal(link.probabilities, sampler(logits, text(rows)).softmax(1)), sampler


@pytest.mark.parametrize("vocabulary", [200, 12_007, 12_032])
def test_temperatures_multiply(vocabulary: int) -> None:
    logits = random_rows(3, 8, vocabulary)
    halves = [{"name": "temperature", "temperature": 0.5}] * 2
    for rest in (
        [{"name": "top_k", "top_k": 30}],
        [{"name": "min_p", "min_p": 0.1}],
        [{"name": "top_p", "top_p": 0.9}],
    ):
        twice = Chain.from_data([*halves, *rest]).explain(logits, text(8))[-1]
        once = Chain.from_data([{"name": "temperature", "temperature": 0.25}, *rest]).explain(logits, text(8))[-1]
        torch.testing.assert_close(twice.probabilities, once.probabilities)


@pytest.mark.parametrize("order", [EVERY_KIND, EVERY_KIND[::-1], default_chain().to_data(), [{"name": "greedy"}]])
def test_any_row_can_be_drawn_from(order: list[dict[str, object]]) -> None:
    inf, nothing = math.inf, -math.inf
    rows = [
        [nothing, nothing, 2.0, nothing],
        [0.0, 0.0, 0.0, 0.0],
        [1e38, -1e38, 3.4e38, 3.4e38],
        [inf, 3.0, nothing, inf],
        [1e-45, -1e-45, 0.0, 0.0],
        [-3.4e38, -3.4e38, nothing, nothing],
    ]
    logits, tokens = torch.tensor(rows), torch.tensor([[0, -1, 9, 2**40]]).expand(6, 4)
    for seed in range(20):
        drawn = Chain.from_data(order).start(seed=seed, rows=6)(logits, tokens)
        assert drawn.dtype == torch.int64
        assert drawn.shape == (6,)
        assert (logits.gather(1, drawn[:, None]) > nothing).all()
        assert drawn[0] == 2
        assert drawn[3] in (0, 3)
    assert Chain.from_data(order).explain(logits, tokens)[0].probabilities[3].tolist() == [0.5, 0, 0, 0.5]
    assert Chain.from_data(order).start(seed=0)(torch.ones(1, 1), tokens[:1]).tolist() == [0]


def test_a_number_past_the_largest_is_the_limit() -> None:
    chain = Chain(samplers=(build("repetition_penalty", repetition_penalty=0.1), build("temperature", temperature=0.1)))
    links = chain.explain(torch.tensor([[3e38, 3e38, 1.0]]), torch.tensor([[0, 1, 2]]))
    assert links[-1].probabilities.tolist() == [[0.5, 0.5, 0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_types_are_drawn_from_in_float32(dtype: torch.dtype) -> None:
    logits = random_rows(1, 4, 90).to(dtype).requires_grad_()
    drawn = default_chain().start(seed=5, rows=4)(logits, text(4))
    assert torch.equal(drawn, default_chain().start(seed=5, rows=4)(logits.detach().float(), text(4)))
    drawn += 1  # an ordinary tensor, not one of inference mode


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU")
def test_logits_on_a_gpu_are_drawn_from_as_on_the_cpu() -> None:
    logits = random_rows(1, 4, 90)
    drawn = default_chain().start(seed=5, rows=4)(logits.cuda(), text(4).cuda())
    assert drawn.device.type == "cpu"
    assert torch.equal(drawn, default_chain().start(seed=5, rows=4)(logits, text(4)))


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_unusable_logits_name_the_model(bad: float) -> None:
    logits = torch.zeros(2, 5)
    logits[1] = torch.tensor([1.0, bad, bad, 2.0, 3.0]) if math.isnan(bad) else bad
    for chain in (default_chain(), Chain(samplers=(build("greedy"),))):
        with pytest.raises(ValueError, match=r"^the model ") as caught:
            chain.start(seed=0, rows=2)(logits, text(2))
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"^the model "):
            chain.explain(logits, text(2))


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda logits: logits / 0 * 0, "the sampler breaks gave NaN"),
        (lambda logits: logits - math.inf, "the sampler breaks left no token"),
        (
            lambda logits: logits[:, 1:],
            r"the sampler breaks failed with TypeError: it returned \(1, 2\) for logits of ",
        ),
        (lambda logits: 7, "the sampler breaks failed with TypeError: it returned int"),
        (lambda logits: 1 / 0, "the sampler breaks failed with ZeroDivisionError"),
    ],
)
def test_a_sampler_that_breaks_is_named(does: Callable[[Tensor], object], words: str) -> None:
    Breaks.does = does
    chain = Chain(samplers=(build("temperature"), build("top_k", top_k=2), Breaks(), build("top_k")))
    with pytest.raises(ValueError, match="^" + words):
        chain.start(seed=0)(logs(0.5, 0.25, 0.25), text(1))


class Second(TopK):
    """Keep the second best."""

    name = "second"

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        values, ids = logits.topk(2)
        return torch.full_like(logits, -math.inf).scatter(1, ids[:, 1:], values[:, 1:])


class Colder(Temperature):
    """Halve the temperature."""

    name = "colder"

    def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return 2 * super().__call__(logits, tokens)


def test_what_is_derived_from_a_built_in_has_its_own_way() -> None:
    logits = random_rows(1, 4, 90)
    for before in (build("min_p", min_p=0.01), build("top_k", top_k=5), build("temperature")):
        second = Chain(samplers=(before, Second())).explain(logits, text(4))[-1].probabilities
        best = before(logits, text(4)).topk(2).indices
        assert torch.equal(second.argmax(1), best[:, 1])
    colder = Chain(samplers=(Colder(temperature=1.5),)).explain(logits, text(4))[-1].probabilities
    torch.testing.assert_close(colder, (logits / 0.75).softmax(1))


def test_state_belongs_to_one_generation() -> None:
    class Counts(Sampler):
        """Allow the ids 0, 1, 2, ... one after the other."""

        name = "counts"

        def __call__(self, logits: Tensor, tokens: Tensor) -> Tensor:
            raise AssertionError("start() gives what is to be called")

        def start(self) -> Callable[[Tensor, Tensor], Tensor]:
            ids = iter(range(9))

            def step(logits: Tensor, tokens: Tensor) -> Tensor:
                changed = torch.full_like(logits, -math.inf)
                changed[:, next(ids)] = 0
                return changed

            return step

    chain = Chain(samplers=(Counts(), build("temperature")))
    for _ in range(2):
        sampling = chain.start(seed=1, rows=2)
        assert [sampling(torch.zeros(2, 9), text(2)).tolist() for _ in range(3)] == [[0, 0], [1, 1], [2, 2]]


LOGITS_ALONE = [
    default_chain().to_data(),
    [{"name": "greedy"}],
    [{"name": "temperature", "temperature": 0.7}, {"name": "typical", "typical_p": 0.9}],
    [{"name": "top_k", "top_k": 7}, {"name": "top_p", "top_p": 0.9}, {"name": "min_p", "min_p": 0.02}],
    [{"name": "top_p", "top_p": 0.95}],
]


@pytest.mark.parametrize("data", LOGITS_ALONE)
@pytest.mark.parametrize("vocabulary", [9, 4096, 50257])
def test_generations_that_draw_together_draw_what_each_draws_alone(
    data: list[dict[str, object]], vocabulary: int
) -> None:
    chain, sizes = Chain.from_data(data), (1, 3, 1, 2)
    alone, together = ([chain.start(seed=i, rows=n) for i, n in enumerate(sizes)] for _ in range(2))
    assert {sampling.key for sampling in together} == {together[0].key} != {None}
    for step in range(4):
        logits = list((torch.randn(7, vocabulary, generator=torch.Generator().manual_seed(step)) * 4).split(sizes))
        expected = [one(rows, text(len(rows))) for one, rows in zip(alone, logits, strict=True)]
        drawn = Sampling.together(together, logits)
        assert all(
            isinstance(own, Tensor) and torch.equal(own, other) for own, other in zip(drawn, expected, strict=True)
        )


def test_a_generation_that_cannot_draw_does_not_spoil_the_others() -> None:
    alone, together = ([default_chain().start(seed=i) for i in range(3)] for _ in range(2))
    logits = list(random_rows(1, 3, 50).split(1))
    logits[1] = torch.full_like(logits[1], math.nan)
    for _ in range(2):
        first, error, last = Sampling.together(together, logits)
        assert isinstance(error, ValueError)
        assert "NaN" in str(error)
        for sampling, rows, own in ((alone[0], logits[0], first), (alone[2], logits[2], last)):
            assert torch.equal(own, sampling(rows, text(1)))


def test_those_that_look_at_the_text_draw_by_themselves() -> None:
    for data in (
        EVERY_KIND,
        [{"name": "dry", "dry_multiplier": 0.8}],
        [{"name": "repetition_penalty", "repetition_penalty": 1.1}],
    ):
        assert Chain.from_data(data).start(seed=1).key is None
    assert default_chain().start(seed=1).key != Chain.from_data(LOGITS_ALONE[3]).start(seed=1).key


@pytest.mark.parametrize("vocabulary", [5_000, 40_000])
@pytest.mark.parametrize("rows", [1, 2])
def test_many_draws_together_are_those_of_each_alone(vocabulary: int, rows: int) -> None:
    """More numbers than torch computes on one thread, with one among them that cannot be drawn from."""
    torch.manual_seed(1)
    logits = [3 * torch.randn(rows, vocabulary) for _ in range(9)]
    logits[4][0, 7] = float("nan")
    together = [default_chain().start(seed=seed, rows=rows) for seed in range(9)]
    tokens = torch.zeros(rows, 1, dtype=torch.int64)
    for _ in range(2):
        found = Sampling.together(together, logits)
        assert [isinstance(one, ValueError) for one in found] == [seed == 4 for seed in range(9)]
    for seed, one in enumerate(found):
        if seed != 4:
            alone = default_chain().start(seed=seed, rows=rows)
            alone(logits[seed], tokens)
            assert torch.equal(alone(logits[seed], tokens), one)  # type: ignore[arg-type]
