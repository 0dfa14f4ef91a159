"""Known bugs of other samplers, injected one by one: the checks that pass on ours must catch each."""

import math
from collections.abc import Callable

import pytest
import torch
from sampling_checks import check, check_order
from torch import Tensor

from samplers import Chain, Sampler, default_chain, get, names, registry

CAUGHT = (AssertionError, RuntimeError, IndexError)
REAL = {name: get(name) for name in names()}
Bug = Callable[[Sampler, Tensor, Tensor], Tensor]


def check_mutant(name: str, bug: Bug) -> None:
    """Check the sampler `name` with `bug` as its `__call__`, in the place of the real one."""
    real = REAL[name]
    body = {"__call__": bug, "__module__": __name__, "__qualname__": "Mutant", "__doc__": real.__doc__}
    globals()["Mutant"] = mutant = type("Mutant", (real,), body)  # where pickle looks for it
    with registry.isolated():
        registry._registered.clear()
        check(mutant)


def fixed(sampler: Sampler, **options: float) -> Sampler:
    """The real sampler with the same options, or with these."""
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
    """Top-p by sorting, where `stays` tells from the mass up to and with a token, and the token's own."""

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


def one_is_nobody(self, logits, tokens):  # ChatRWKV #170
    mass = logits.softmax(1).sort(descending=True).values.cumsum(1)
    cut = int((mass > (1 if self.top_p == 1 else self.top_p - 1e-6)).nonzero()[0, 1])
    return REAL["top_k"](top_k=cut + 1)(logits, tokens)


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


BUGS = {
    "top_k": [
        keeps_ties,
        crashes_above_the_vocabulary,
        settles_ties_by_the_highest_id,
        keeps_one_less,
        ranks_all_rows_as_the_first,
    ],
    "top_p": [
        *map(nucleus, (drops_the_crossing_token, removes_everything_when_p_is_tiny, keeps_one_too_many)),
        *map(nucleus, (forgets_rounding, adds_in_half_precision)),
        one_is_nobody,
        ranks_all_rows_as_the_first,
        in_place,
    ],
    "min_p": [relative_to_one, drops_the_equal, maximum_of_the_batch, ranks_all_rows_as_the_first],
    "typical": [typical_is_probable, typical_above_the_entropy_only, ranks_all_rows_as_the_first],
    "greedy": [settles_ties_by_the_highest_id, ranks_all_rows_as_the_first],
    "temperature": [divides_by_zero, multiplies, overflows, clamps_at_a_tenth, in_place],
    "repetition_penalty": [
        always_divides,
        wrong_sign,
        once_for_each_time,
        crashes_outside_the_vocabulary,
        clamps_ids,
        counts_the_whole_batch,
        in_place,
    ],
    "presence_frequency": [
        favours_what_it_should_punish,
        presence_each_time,
        frequency_once,
        clamps_ids,
        counts_the_whole_batch,
    ],
}


@pytest.mark.parametrize(("name", "bug"), [(name, bug) for name, bugs in BUGS.items() for bug in bugs])
def test_a_sampler_with_a_known_bug_is_caught(name: str, bug: Bug) -> None:
    with pytest.raises(CAUGHT):
        check_mutant(name, bug)


@pytest.mark.parametrize("name", list(BUGS))
def test_a_mutant_without_a_bug_is_not(name: str) -> None:
    check_mutant(name, lambda self, logits, tokens: fixed(self)(logits, tokens))


@pytest.mark.parametrize("place", range(5))
def test_a_swapped_default_order_is_caught(place: int) -> None:
    links = list(default_chain().samplers)
    links[place : place + 2] = reversed(links[place : place + 2])
    with pytest.raises(AssertionError):
        check_order(Chain(samplers=tuple(links)))
