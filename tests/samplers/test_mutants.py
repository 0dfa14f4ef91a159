"""Known bugs of other samplers, injected one by one into ours: the assertion that is meant for each must catch it.

A crash is no catch: an error in the code of a bug or of a check fails the test.
"""

import math
import sys
from collections.abc import Callable

import pytest
import torch
from sampling_checks import CHECKS, check, check_order
from torch import Tensor

from samplers import Chain, OptionError, Sampler, check_sampler, default_chain, get, names

REAL = {name: get(name) for name in names()}
Bug = Callable[[Sampler, Tensor, Tensor], Tensor]


def mutant(name: str, bug: Bug, monkeypatch: pytest.MonkeyPatch) -> type[Sampler]:
    """Put a class with `bug` as its `__call__` in the place of a sampler, as if its module had been reloaded."""
    real = REAL[name]
    body = {"__call__": bug, "__doc__": real.__doc__, "__module__": real.__module__, "__qualname__": real.__qualname__}
    cls = type(real.__name__, (real,), body)
    monkeypatch.setattr(sys.modules[real.__module__], real.__name__, cls)  # where pickle looks for it
    return cls


def require_caught(check: Callable[[type[Sampler]], None], cls: type[Sampler], *, sentence: str | None = None) -> None:
    """Fail unless an assertion of `check` refuses `cls`, with this sentence if given; raise any other error."""
    with pytest.raises(AssertionError, match=sentence):
        check(cls)


def fixed(sampler: Sampler, **options: float) -> Sampler:
    """Return the real sampler with the same options, or with these."""
    return REAL[sampler.name](**(options or sampler.model_dump()))


def masked(logits: Tensor, drop: Tensor) -> Tensor:
    return logits.masked_fill(drop, -math.inf)


def keeps_ties(self, logits, tokens):  # nanoGPT, minGPT
    k = min(self.top_k or logits.shape[1], logits.shape[1])
    return masked(logits, logits < logits.topk(k).values[:, -1:])


def crashes_above_the_vocabulary(self, logits, tokens):  # minGPT
    values, ids = logits.topk(self.top_k)
    return torch.full_like(logits, -math.inf).scatter(1, ids, values) if self.top_k else logits


def settles_ties_by_the_highest_id(self, logits, tokens):
    return fixed(self)(logits.flip(1), tokens).flip(1)


def keeps_one_less(self, logits, tokens):
    return fixed(self, top_k=max(self.top_k - 1, 0))(logits, tokens)


def nucleus(stays: Callable[[Tensor, Tensor, float], Tensor]) -> Bug:
    """Return top-p by sorting; `stays` decides by the sum up to and including a token, and the token's probability."""

    def call(self, logits, tokens):
        ordered, ids = logits.sort(descending=True, stable=True)
        own = ordered.softmax(1)
        keep = stays(own.cumsum(1), own, self.top_p)
        return masked(logits, ~keep.gather(1, ids.argsort(1))) if self.top_p < 1 else logits

    return call


def drops_the_crossing_token(mass, own, p):  # esm, fish-speech
    keep = mass <= p
    keep[:, 0] = True
    return keep


def removes_everything_when_p_is_tiny(mass, own, p):  # HF #19839, mlx-lm
    return mass < p


def keeps_one_too_many(mass, own, p):  # HF #18976
    return (mass - own) <= p + 1e-6


def forgets_rounding(mass, own, p):
    return (mass - own) < p - 1e-9


def adds_in_half_precision(mass, own, p):  # mlx-lm #1912
    return (own.bfloat16().cumsum(1) - own) < p - 1e-6


def crashes_where_no_sum_exceeds_one(self, logits, tokens):  # ChatRWKV #170
    mass = logits.softmax(1).sort(descending=True).values.cumsum(1)
    past = (mass > 1.0001).nonzero() if self.top_p == 1 else None
    return fixed(self)(logits, tokens) if past is None else logits[past[0, 0]]


def ranks_all_rows_as_the_first(self, logits, tokens):
    first = fixed(self)(logits[:1], tokens[:1])
    return masked(logits, (first == -math.inf).expand_as(logits))


def relative_to_one(self, logits, tokens):
    return masked(logits, logits.softmax(1) < self.min_p)


def drops_the_equal(self, logits, tokens):
    return masked(logits, logits <= logits.amax(1, keepdim=True) + math.log(self.min_p or 1e-99))


def maximum_of_the_batch(self, logits, tokens):
    return masked(logits, logits < logits.max() + math.log(self.min_p or 1e-99) - 1e-6)


def typical_is_probable(self, logits, tokens):
    return REAL["top_p"](top_p=self.typical_p)(logits, tokens)


def typical_above_the_entropy_only(self, logits, tokens):
    surprise = -logits.log_softmax(1)
    entropy = (surprise * surprise.neg().exp()).nansum(1, keepdim=True)
    keep = REAL["top_p"](top_p=self.typical_p)(entropy - surprise, tokens) > -math.inf
    return masked(logits, ~keep)


def divides_by_zero(self, logits, tokens):  # nanoGPT, minGPT
    return logits / self.temperature


def multiplies(self, logits, tokens):
    return logits * self.temperature if self.temperature else REAL["greedy"]()(logits, tokens)


def overflows(self, logits, tokens):
    return logits / self.temperature if self.temperature else REAL["greedy"]()(logits, tokens)


def clamps_at_a_tenth(self, logits, tokens):
    return (logits - logits.amax(1, keepdim=True)) / max(self.temperature, 0.1)


def in_place(self, logits, tokens):
    changed = fixed(self)(logits, tokens)
    return logits.copy_(changed)


def always_divides(self, logits, tokens):
    ids = tokens.clamp(0, logits.shape[1] - 1)
    return logits.scatter(1, ids, logits.gather(1, ids) / self.repetition_penalty)


def wrong_sign(self, logits, tokens):
    return fixed(self, repetition_penalty=1 / self.repetition_penalty)(logits, tokens)


def once_for_each_time(self, logits, tokens):
    for place in range(tokens.shape[1]):
        logits = fixed(self, repetition_penalty=self.repetition_penalty)(logits, tokens[:, place, None])
    return logits


def crashes_outside_the_vocabulary(self, logits, tokens):
    seen = logits.gather(1, tokens)
    factor = self.repetition_penalty
    return logits.scatter(1, tokens, torch.where(seen > 0, seen / factor, seen * factor))


def clamps_ids(self, logits, tokens):
    return fixed(self)(logits, tokens.clamp(0, logits.shape[1] - 1))


def favours_what_it_should_punish(self, logits, tokens):
    return 2 * logits - fixed(self)(logits, tokens)


def presence_each_time(self, logits, tokens):
    both = self.frequency_penalty + self.presence_penalty
    return fixed(self, frequency_penalty=max(-2, min(2, both)))(logits, tokens)


def frequency_once(self, logits, tokens):
    both = self.frequency_penalty + self.presence_penalty
    return fixed(self, presence_penalty=max(-2, min(2, both)))(logits, tokens)


def counts_the_whole_batch(self, logits, tokens):
    return fixed(self)(logits, tokens.reshape(1, -1).expand(len(logits), -1))


BUGS = {  # by sampler: caught by the check of its definition
    "top_k": [
        keeps_ties,
        settles_ties_by_the_highest_id,
        keeps_one_less,
        ranks_all_rows_as_the_first,
    ],
    "top_p": [
        *map(nucleus, (drops_the_crossing_token, removes_everything_when_p_is_tiny, keeps_one_too_many)),
        *map(nucleus, (forgets_rounding, adds_in_half_precision)),
        ranks_all_rows_as_the_first,
    ],
    "min_p": [relative_to_one, drops_the_equal, maximum_of_the_batch, ranks_all_rows_as_the_first],
    "typical": [typical_is_probable, typical_above_the_entropy_only, ranks_all_rows_as_the_first],
    "greedy": [settles_ties_by_the_highest_id, ranks_all_rows_as_the_first],
    "temperature": [divides_by_zero, multiplies, overflows, clamps_at_a_tenth],
    "repetition_penalty": [
        always_divides,
        wrong_sign,
        once_for_each_time,
        clamps_ids,
        counts_the_whole_batch,
    ],
    "presence_frequency": [
        favours_what_it_should_punish,
        presence_each_time,
        frequency_once,
        clamps_ids,
        counts_the_whole_batch,
    ],
}


BREACHES = [  # caught by the contract of all samplers, with this sentence
    ("top_p", in_place, "changed the logits it was given"),
    ("temperature", in_place, "changed the logits it was given"),
    ("repetition_penalty", in_place, "changed the logits it was given"),
    ("top_k", crashes_above_the_vocabulary, "failed with RuntimeError: selected index k out of range"),
    ("top_p", crashes_where_no_sum_exceeds_one, "failed with IndexError: index 0 is out of bounds"),
    ("repetition_penalty", crashes_outside_the_vocabulary, "failed with RuntimeError: index -1 is out of bounds"),
]


@pytest.mark.parametrize(("name", "bug"), [(name, bug) for name, bugs in BUGS.items() for bug in bugs])
def test_a_sampler_with_a_known_bug_is_caught(name: str, bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    require_caught(CHECKS[name], mutant(name, bug, monkeypatch))


@pytest.mark.parametrize(("name", "bug", "sentence"), BREACHES)
def test_a_breach_of_the_contract_is_caught(
    name: str, bug: Bug, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_caught(check_sampler, mutant(name, bug, monkeypatch), sentence=sentence)


@pytest.mark.parametrize("name", list(BUGS))
def test_a_mutant_without_a_bug_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(mutant(name, lambda self, logits, tokens: fixed(self)(logits, tokens), monkeypatch))


def misspells_a_name(self, logits, tokens):
    return logitz  # noqa: F821


def misspells_an_option(self, logits, tokens):
    return logits * self.no_such_option


def passes_a_wrong_number_of_arguments(self, logits, tokens):
    return fixed(self)(logits)


def passes_an_option_out_of_range(self, logits, tokens):
    return fixed(self, top_k=-1)(logits, tokens)


@pytest.mark.parametrize(
    ("bug", "error"),
    [
        (misspells_a_name, NameError),
        (misspells_an_option, AttributeError),
        (passes_a_wrong_number_of_arguments, TypeError),
        (passes_an_option_out_of_range, OptionError),
    ],
)
def test_a_crash_of_the_harness_is_not_a_catch(
    bug: Bug, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = mutant("top_k", bug, monkeypatch)
    with pytest.raises(error):  # as itself, and not as a caught mutant
        require_caught(CHECKS["top_k"], crashing)
    with pytest.raises(AssertionError, match=f"Regex pattern did not match[^$]*failed with {error.__name__}"):
        require_caught(check_sampler, crashing, sentence="changed the logits it was given")


@pytest.mark.parametrize("place", range(5))
def test_a_swapped_default_order_is_caught(place: int) -> None:
    links = list(default_chain().samplers)
    links[place : place + 2] = reversed(links[place : place + 2])
    with pytest.raises(AssertionError):
        check_order(Chain(samplers=tuple(links)))
