"""The precisions: what each stores, how far that is from the weights, and how a kernel is chosen."""

import dataclasses
import logging
import warnings

import pytest
import torch
from conftest import encodings
from network_checks import shaken
from torch import Tensor, nn

from models.engine import Engine
from models.gpt import GPT, PRESETS, GPTConfig
from models.precision import HEAD, PRECISIONS
from models.precision.matrix import Encoding, Kernel
from models.precision.tuner import KernelTuner

ENCODINGS = {name: found for precision in PRECISIONS.values() for name, found in encodings(precision).items()}
CONFIG = GPTConfig(vocab_size=61, block_size=24, n_layer=3, n_head=4, n_embd=32)
SHAPES = [(7, 32), (64, 96), (1, 64), (96, 160)]  # (N, K)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_precision_is_listed_under_its_name_and_runs_here_or_says_why() -> None:
    assert list(PRECISIONS) == ["float32", "bfloat16", "int8", "int8-dynamic", "int4"]
    for name, precision in PRECISIONS.items():
        assert precision.name == name
        assert precision.title
        reason = precision.missing()
        assert reason is None or reason
    assert [name for name, precision in PRECISIONS.items() if precision.is_float] == ["float32", "bfloat16"]
    assert PRECISIONS["float32"].missing() is None


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_precision_holds_every_matrix_of_the_network(name: str, tied: bool) -> None:
    config = dataclasses.replace(CONFIG, tied=tied)
    matrices = PRECISIONS[name].matrices(config)
    expected = {n.removesuffix(".weight"): tuple(p.shape) for n, p in GPT(config).named_parameters() if p.ndim == 2}
    if name == "int8-dynamic":
        expected.setdefault(HEAD, (61, 32))
    assert matrices == expected


# What is stored


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
def test_the_parts_are_as_announced_and_can_be_looked_up(encoding: Encoding) -> None:
    for N, K in SHAPES:
        weight = random(N, K)
        before = weight.clone()
        parts = encoding.encode(weight)
        assert torch.equal(weight, before)
        assert {name: (tuple(part.shape), part.dtype) for name, part in parts.items()} == encoding.stored(N, K)
        assert sum(part.nbytes for part in parts.values()) == encoding.nbytes(N, K)
        whole = encoding.decode(parts)
        assert (whole.shape, whole.dtype) == (weight.shape, torch.float32)
        ids = torch.tensor([N - 1, 0, 0, N // 2])
        assert torch.equal(encoding.look_up(parts, ids), whole[ids])


def test_float_encodings_are_torchs_own() -> None:
    weight = random(33, 64)
    assert torch.equal(ENCODINGS["float32"].encode(weight)["weight"], weight)
    assert torch.equal(ENCODINGS["bfloat16"].encode(weight)["weight"], weight.bfloat16())


def test_int8_is_off_by_half_a_step_of_its_row_at_most() -> None:
    encoding = ENCODINGS["int8"]
    weight = random(64, 96) * torch.logspace(-6, 3, 64)[:, None]
    parts = encoding.encode(weight)
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((encoding.decode(parts) - weight).abs() <= step * 0.50001).all()
    assert torch.equal(parts["weight"].abs().amax(1), torch.full((64,), 127, dtype=torch.int8))  # all steps are used


def test_int4_is_never_worse_than_rounding_each_group_to_its_largest_weight() -> None:
    encoding = ENCODINGS["int4"]
    weight = random(64, 96) * torch.logspace(-3, 3, 64)[:, None]
    error = (encoding.decode(encoding.encode(weight)) - weight).square()
    groups = weight.unflatten(1, (-1, 32))
    largest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    scale = (largest / -8).half().float()
    naive = ((groups / scale).round().clamp(-8, 7) * scale - groups).square()
    assert (error.unflatten(1, (-1, 32)).sum(2) <= naive.sum(2) * 1.00001).all()
    assert error.sum() < 0.95 * naive.sum()
    symmetric = groups.abs().amax(2, keepdim=True) / 7
    assert error.sum() < (((groups / symmetric).round() * symmetric) - groups).square().sum()


def test_int4_puts_two_weights_in_a_byte_the_first_in_the_low_half() -> None:
    """Two groups of 32: steps of 0.5 from -8 up, and of -0.25, whose largest weight is positive."""
    steps = torch.tensor([-8, 7, 0, 1, *[-1, 2] * 14])
    weight = torch.cat([steps * 0.5, steps * -0.25])[None]
    parts = ENCODINGS["int4"].encode(weight)
    first = [0xF0, 0x98, *[0xA7] * 14]
    assert parts["weight"].tolist() == [first + first]
    assert parts["scale"].tolist() == [[0.5, -0.25]]
    assert torch.equal(ENCODINGS["int4"].decode(parts), weight)


def test_int4_uses_int8_where_groups_do_not_divide_the_rows() -> None:
    precision = PRECISIONS["int4"]
    for n_embd, expected in ((32, "int4"), (48, "int8"), (99, "int8")):
        config = dataclasses.replace(CONFIG, n_embd=n_embd, n_head=1)
        assert {precision.encoding(f"h.1.{name}", config).name for name in ("attn.c_attn", "mlp.c_proj")} == {expected}
        model = GPT(config).eval()
        ids = torch.arange(9)[None]
        torch.testing.assert_close(Engine.of(model, precision)(ids), model(ids), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_int8_dynamic_is_quantize_dynamic_of_torch_to_the_last_bit(bias: bool, tied: bool) -> None:
    precision = PRECISIONS["int8-dynamic"]
    if precision.missing():
        pytest.skip(str(precision.missing()))
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=300, block_size=24, n_layer=2, n_head=4, n_embd=128, bias=bias, tied=tied)
    model = shaken(GPT(config))
    reference = GPT(dataclasses.replace(config, tied=False)).eval()
    reference.load_state_dict({HEAD + ".weight": model.wte.weight} | model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        reference = torch.ao.quantization.quantize_dynamic(reference, {nn.Linear}, dtype=torch.qint8)
    for name in precision.matrices(config):
        module = reference.get_submodule(name)
        if not isinstance(module, nn.Embedding):
            weight = model.wte.weight if name == HEAD and tied else model.get_parameter(f"{name}.weight")
            parts = precision.encoding(name, config).encode(weight.detach())
            theirs = module.weight()
            assert torch.equal(parts["weight"], theirs.int_repr()), name
            assert (parts["scale"].item(), 0) == (theirs.q_scale(), theirs.q_zero_point())
    engine = Engine.of(model, precision)
    with torch.inference_mode():
        for shape in ((1, 1), (1, 9), (2, 24), (3, 7)):
            ids = torch.randint(300, shape)
            assert torch.equal(engine(ids), reference(ids))


# How a kernel is chosen


def kernel(name: str, *, factor: float = 1.0, **changes: object) -> Kernel:
    """A kernel that multiplies by `factor` times the weights."""

    def pack(parts: dict[str, Tensor], bias: Tensor | None) -> object:
        return lambda x: nn.functional.linear(x, parts["weight"] * factor, bias)

    return Kernel(name, pack, **({"missing": lambda N, K: None, "rows": 0, "bytes_per_weight": 4} | changes))  # type: ignore


def encoding(*kernels: Kernel) -> Encoding:
    return dataclasses.replace(ENCODINGS["float32"], kernels=kernels)


def tuned(tuner: KernelTuner, *kernels: Kernel, width: int = 64) -> Kernel:
    return tuner.kernel_for(encoding(*kernels), (width, width), width=width)


def lacking(N: int, K: int) -> str | None:
    return "this processor is too old"


def test_a_kernel_that_computes_wrongly_is_never_taken(caplog: pytest.LogCaptureFixture) -> None:
    wrong = [kernel("off", factor=1.1), kernel("nan", factor=float("nan")), kernel("zero", factor=0)]
    tuner = KernelTuner()
    with caplog.at_level(logging.WARNING):
        assert tuned(tuner, *wrong, kernel("right")).name == "right"
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == ["off", "nan", "zero"]
    with pytest.raises(ValueError, match="no kernel of this computer computes it right"):
        tuned(tuner, *wrong, width=32)


def test_a_choice_is_kept_and_does_not_change() -> None:
    pair = kernel("one"), kernel("other")
    tuner = KernelTuner()
    taken = tuned(tuner, *pair)
    assert list(tuner.chosen.values()) == [taken.name]
    other = next(k.name for k in pair if k is not taken)
    for name in (other, "gone since"):
        turned = KernelTuner()
        turned.chosen = dict.fromkeys(tuner.chosen, name)
        assert tuned(turned, *pair).name == (other if name == other else turned.chosen.popitem()[1])
    before = dict(tuner.chosen)
    tuned(tuner, *pair, width=32)
    assert len(tuner.chosen) == 2
    assert tuner.chosen.items() > before.items()


def test_what_the_computer_lacks_is_not_tried_and_the_fallback_comes_last() -> None:
    absent, slow = kernel("absent", missing=lacking), kernel("slow", fallback=True)
    tuner = KernelTuner()
    assert tuned(tuner, absent, slow, kernel("good")).name == "good"
    assert tuned(tuner, slow, absent).name == "slow"
    assert tuner.chosen == {}  # there was nothing to choose
    with pytest.raises(ValueError, match="float32: this processor is too old"):
        tuned(tuner, absent)


@pytest.mark.usefixtures("torch_kernels")
def test_the_reason_names_what_a_precision_lacks() -> None:
    alone = encoding(kernel("absent", missing=lacking))
    precision = dataclasses.replace(PRECISIONS["int8"], encoding=lambda name, config: alone)
    assert precision.missing() == "this processor is too old"
    with pytest.raises(ValueError, match="too old"):
        Engine.of(GPT(PRESETS["tiny"]), precision)
