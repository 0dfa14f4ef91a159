"""check_sampler: contract test of a sampler, for our tests and plugin authors."""

import json
import math
import pickle
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import torch
from pydantic.fields import FieldInfo
from torch import Tensor

from samplers.base import OptionValue, Sampler
from samplers.registry import verify

STEPS = 3  # enough for a sampler with state to give itself away


def check_sampler(cls: type[Sampler]) -> None:
    """Raise AssertionError, with a sentence that says what to change, unless `cls` keeps the sampler contract.

    It is called with its defaults, its neutral options and both ends of every option, on rows with removed, equal,
    huge and single tokens, with an empty text and with ids outside the vocabulary. An error that it raises is an
    AssertionError, too.
    """
    try:
        verify(cls)
    except ValueError as error:
        raise AssertionError(str(error)) from error
    for option, field in cls.model_fields.items():
        _check_field(cls, option, field)
    for options in _settings(cls):
        sampler = cls(**options)
        try:
            _check_behaviour(sampler)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{sampler!r} failed with {type(error).__name__}: {error}") from error


def try_out(cls: type[Sampler]) -> None:
    """Check a sampler with its defaults on a tiny input, as is done with every plugin when it is loaded."""
    generator = torch.Generator().manual_seed(0)
    _check_call(cls(), torch.randn(2, 5, generator=generator), torch.tensor([[1, 2, 2], [0, 4, 9]]))


def _check_behaviour(sampler: Sampler) -> None:
    _check_data(sampler)
    for logits, tokens in _inputs():
        changed = _check_call(sampler, logits, tokens)
        if sampler.is_neutral:
            same = torch.allclose(changed.softmax(1), logits.softmax(1), atol=1e-6)
            _require(same, sampler, "changes the distribution although its options are neutral")
    _check_rows(sampler)


def _check_field(cls: type[Sampler], option: str, field: FieldInfo) -> None:
    subject = f"the option {option!r} of {cls.__name__}"
    kind = field.annotation
    if kind not in (bool, int, float, str) and get_origin(kind) is not Literal:
        raise AssertionError(f"{subject} must be a bool, int, float, str or Literal, so that a widget can show it")
    if not field.description or "\n" in field.description:
        raise AssertionError(f"{subject} needs a description of one line: Field(..., description=...)")
    if kind in (int, float) and None in _ends(field):
        raise AssertionError(f"{subject} needs bounds for its slider: ge= (or gt=), and le= or a slider_max")


def _ends(field: FieldInfo) -> tuple[OptionValue | None, OptionValue | None]:
    """Return the lowest and the highest value on the option's slider, None where it has none."""
    bounds = {
        kind: getattr(part, kind) for part in field.metadata for kind in ("ge", "gt", "le") if hasattr(part, kind)
    }
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    step = extra.get("step", 1 if field.annotation is int else 0.01)
    low = bounds.get("ge", bounds["gt"] + step if "gt" in bounds else None)
    return low, bounds.get("le", extra.get("slider_max"))


def _settings(cls: type[Sampler]) -> Iterator[dict[str, OptionValue]]:
    yield {}
    if cls.neutral:
        yield dict(cls.neutral)
    for option, field in cls.model_fields.items():
        kind = field.annotation
        values = _ends(field) if kind in (int, float) else (True, False) if kind is bool else get_args(kind)
        yield from ({option: value} for value in values if value is not None)


def _inputs() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pairs of logits (B, V) and tokens (B, T)."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(3, 40, generator=generator)
    tokens = torch.randint(0, 40, (3, 6), generator=generator)
    yield logits, tokens
    yield logits, tokens[:, :0]
    yield logits, torch.tensor([[-1, 40, 2**40]]).repeat(3, 1)
    yield logits.masked_fill(torch.rand(3, 40, generator=generator) < 0.5, -math.inf), tokens
    yield torch.full((2, 7), -math.inf).index_fill(1, torch.tensor([3]), -2.0), tokens[:2]
    yield torch.zeros(2, 7), tokens[:2]
    yield torch.tensor([[1e38, -1e38, 3e38, 3e38]]), tokens[:1]
    yield torch.full((1, 1), 0.5), torch.zeros(1, 2, dtype=torch.int64)
    yield logits.T.contiguous().T, tokens  # not contiguous


def _check_call(sampler: Sampler, logits: Tensor, tokens: Tensor) -> Tensor:
    given, text = logits.clone(), tokens.clone()
    changed = sampler.start()(logits, tokens)
    _require(isinstance(changed, Tensor), sampler, f"returned {type(changed).__name__}, not a tensor")
    _require(
        changed.shape == given.shape, sampler, f"returned shape {tuple(changed.shape)} for {tuple(given.shape)}, (B, V)"
    )
    _require(changed.dtype == given.dtype, sampler, f"returned {changed.dtype} for {given.dtype}")
    _require(changed.device == given.device, sampler, f"returned a tensor on {changed.device}, not {given.device}")
    _require(torch.equal(logits, given), sampler, "changed the logits it was given; return new ones")
    _require(torch.equal(tokens, text), sampler, "changed the tokens it was given")
    _require(not changed.isnan().any(), sampler, "returned NaN")
    _require((changed > -math.inf).any(1).all(), sampler, "removed every token of a row; keep at least one")
    _require((changed[given == -math.inf] == -math.inf).all(), sampler, "brought back a token removed before it (-inf)")
    return changed


def _check_rows(sampler: Sampler) -> None:
    """Require that a row's result depends on that row and its text alone, in any batch and in any generation."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 40, (3, 4 + STEPS), generator=generator)
    together, again, alone = sampler.start(), sampler.start(), [sampler.start() for _ in range(3)]
    history = [(3 * torch.randn(3, 40, generator=generator), tokens[:, : 4 + step]) for step in range(STEPS)]
    first = [together(logits, text) for logits, text in history]
    for changed, (logits, text) in zip(first, history, strict=True):
        same = torch.equal(changed, again(logits, text))
        _require(same, sampler, "gives other logits in a second generation; keep its state in what start() returns")
        rows = torch.cat([step(logits[i : i + 1], text[i : i + 1]) for i, step in enumerate(alone)])
        same = torch.equal(rows == -math.inf, changed == -math.inf) and torch.allclose(rows, changed, atol=1e-4)
        _require(same, sampler, "treats a row differently when other rows are in the batch")


def _check_data(sampler: Sampler) -> None:
    data = json.loads(json.dumps(sampler.to_data()))
    _require(data.pop("name") == sampler.name, sampler, "loses its name in to_data()")
    _require(type(sampler)(**data) == sampler, sampler, "is another one after to_data() and JSON")
    try:
        same = pickle.loads(pickle.dumps(sampler)) == sampler
    except (pickle.PicklingError, AttributeError) as error:
        raise AssertionError(f"{sampler!r} cannot be pickled: define its class at the top of a module") from error
    _require(same, sampler, "is another one after pickle")


def _require(condition: object, sampler: Sampler, fault: str) -> None:
    if not condition:
        raise AssertionError(f"{sampler!r} {fault}")
