"""Samplers: from the logits of a model to the next token. Needs torch, numpy and pydantic only."""

from samplers.base import Sampler
from samplers.chain import Chain, Link, Sampling, chain_of, default_chain
from samplers.dry import Dry
from samplers.greedy import Greedy
from samplers.logit_bias import LogitBias
from samplers.min_p import MinP
from samplers.options import OptionError, Options
from samplers.penalties import PresenceFrequency, RepetitionPenalty
from samplers.plugins import is_from_folder, load_plugins
from samplers.registry import build, get, names, register
from samplers.temperature import Temperature
from samplers.testing import check_sampler
from samplers.top_k import TopK
from samplers.top_n_sigma import TopNSigma
from samplers.top_p import TopP
from samplers.typical import Typical
from samplers.xtc import Xtc

__all__ = [
    "Chain",
    "Link",
    "OptionError",
    "Options",
    "Sampler",
    "Sampling",
    "build",
    "chain_of",
    "check_sampler",
    "default_chain",
    "get",
    "is_from_folder",
    "load_plugins",
    "names",
    "register",
]

for _penalty in (RepetitionPenalty, PresenceFrequency):
    register(_penalty)
for _sampler in (Temperature, TopK, TopP, MinP, Typical, Greedy, LogitBias, Dry, TopNSigma, Xtc):
    register(_sampler)
