"""Every kernel of every encoding against the decoded weights in float64: no more error than the scheme explains."""

from collections.abc import Callable

import pytest
import torch
from conftest import encodings
from torch import Tensor

from models.precision import PRECISIONS
from models.precision.matrix import Encoding, Kernel, Matrix, Parts

ENCODINGS = {name: found for precision in PRECISIONS.values() for name, found in encodings(precision).items()}
SHAPES = [(64, 64), (96, 32), (33, 160), (1, 32), (97, 99), (40, 17), (130, 48), (3, 1)]  # (N, K)
ROWS = (1, 2, 5, 8, 64)
HALF_STEP = 2**-8  # of rounding to bfloat16, relative
STEPS = 127 if torch.cpu._is_vnni_supported() else 63  # of a row of inputs, from zero to its largest magnitude


def kernels() -> list[object]:
    return [
        pytest.param(encoding, kernel, id=f"{encoding.name}, {kernel.name}")
        for encoding in ENCODINGS.values()
        for kernel in encoding.kernels
        if kernel.missing(64, 64) is None
    ]


def shapes(encoding: Encoding, kernel: Kernel) -> list[tuple[int, int]]:
    """Those that the kernel is for; groups have to divide the rows that an encoding groups."""
    whole = "int4" not in encoding.name
    return [(N, K) for N, K in SHAPES if kernel.missing(N, K) is None and (whole or K % 32 == 0)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bound(encoding: Encoding, kernel: Kernel, parts: Parts, x: Tensor, bias: Tensor | None) -> Tensor:
    """The most by which a product of `x` (M, K) may be off, (M, N)."""
    weight, rows = encoding.decode(parts).double().abs(), x.double().abs()
    sums = rows @ weight.t()  # (M, N), of magnitudes
    peaks = rows.amax(1, keepdim=True)
    inputs = peaks / (2 * STEPS) * weight.sum(1)  # of rounding each row to its own steps
    again = rows.sum(1, keepdim=True) * weight.amax(1) / 254  # of rounding a matrix to int8 once more
    low, high = x.double().clamp(max=0).min(), x.double().clamp(min=0).max()
    by_scheme = {
        "float32": torch.zeros_like(sums),
        "bfloat16": 2 * HALF_STEP * sums
        + 2**-23 * rows.sum(1, keepdim=True) * weight.amax(1),  # or float16: less range
        "int8": inputs,
        "int8-dynamic": (high - low) / 127 * weight.sum(1),  # half a step, and half of one for the zero point
        "int4": 4 * HALF_STEP * sums + inputs + again,
    }
    own = by_scheme["float32" if kernel.fallback else encoding.name]
    magnitudes = sums if bias is None else sums + bias.double().abs()
    return own * 1.0001 + (x.shape[1] + 4) * 2**-24 * magnitudes + 1e-37


def check(encoding: Encoding, kernel: Kernel, weight: Tensor, x: Tensor, *, bias: Tensor | None = None) -> None:
    parts = encoding.encode(weight)
    matrix = Matrix(kernel, parts, bias, shape=tuple(weight.shape))  # type: ignore[arg-type]
    expected = x.double() @ encoding.decode(parts).double().t() + (0 if bias is None else bias.double())
    allowed = bound(encoding, kernel, parts, x, bias)
    products = [matrix.all(x)]
    if len(x) % max(1, kernel.rows) == 0:
        products.append(matrix.each(x))
    for product in products:
        assert (product.dtype, product.shape) == (torch.float32, expected.shape)
        excess = ((product.double() - expected).abs() / allowed).max().item()
        assert excess <= 1, f"{excess:.2f} times the bound at {tuple(weight.shape)}, {len(x)} rows"


@pytest.mark.parametrize(("encoding", "kernel"), kernels())
@pytest.mark.parametrize("with_bias", [False, True])
@torch.inference_mode()
def test_a_product_is_that_of_the_decoded_weights(encoding: Encoding, kernel: Kernel, with_bias: bool) -> None:
    for N, K in shapes(encoding, kernel):
        weight = random(N, K) * 0.3
        bias = random(N, seed=1) if with_bias else None
        for M in ROWS:
            check(encoding, kernel, weight, random(M, K, seed=M), bias=bias)


@pytest.mark.parametrize(("encoding", "kernel"), kernels())
@torch.inference_mode()
def test_a_large_bias_is_not_rounded_with_the_product(encoding: Encoding, kernel: Kernel) -> None:
    for N, K in shapes(encoding, kernel):
        for M in ROWS:
            check(encoding, kernel, random(N, K), random(M, K, seed=M), bias=random(N, seed=1) * 1e4)


@pytest.mark.parametrize(("encoding", "kernel"), kernels())
@torch.inference_mode()
def test_inputs_and_weights_may_lie_anywhere_in_memory(encoding: Encoding, kernel: Kernel) -> None:
    def shifted(tensor: Tensor, by: int) -> Tensor:
        memory = torch.empty(tensor.numel() + 8, dtype=tensor.dtype)
        return memory[by : by + tensor.numel()].view(tensor.shape).copy_(tensor)

    for N, K in shapes(encoding, kernel):
        parts = encoding.encode(random(N, K))
        bias = random(N, seed=1)
        aligned = Matrix(kernel, parts, bias, shape=(N, K))
        for by in (1, 3):
            moved = {name: shifted(part, by) for name, part in parts.items()}
            matrix = Matrix(kernel, moved, shifted(bias, by), shape=(N, K))
            for M in ROWS:
                x = random(M, K, seed=M)
                torch.testing.assert_close(matrix.all(shifted(x, by)), aligned.all(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("encoding", "kernel"), kernels())
@torch.inference_mode()
def test_a_row_of_zeros_gives_the_bias_whatever_lies_beside_it(encoding: Encoding, kernel: Kernel) -> None:
    for N, K in shapes(encoding, kernel):
        bias = random(N, seed=1)
        for M in ROWS:
            x = random(M, K, seed=M)
            x[M // 2] = 0
            for b in (bias, None):
                matrix = Matrix(kernel, encoding.encode(random(N, K)), b, shape=(N, K))
                assert torch.equal(matrix.all(x)[M // 2], torch.zeros(N) if b is None else b)
            assert torch.equal(matrix.all(torch.zeros(M, K)), torch.zeros(M, N))


def outlier(weight: Tensor) -> Tensor:
    weight[:, 0] = 3e4
    return weight


EXTREMES: dict[str, Callable[[Tensor], Tensor]] = {
    "huge": lambda weight: weight * 1e30,
    "beyond float16": lambda weight: weight * 1e6,
    "tiny": lambda weight: weight * 1e-30,
    "all zero": torch.zeros_like,
    "one value": torch.ones_like,
    "a row of zeros": lambda weight: torch.cat([torch.zeros_like(weight[:1]), weight[1:]]),
    "an outlier in each row": outlier,
    "rows of all sizes": lambda weight: weight * torch.logspace(-8, 4, len(weight))[:, None],
}


@pytest.mark.parametrize(("encoding", "kernel"), kernels())
@pytest.mark.parametrize("extreme", EXTREMES)
@torch.inference_mode()
def test_extreme_weights_stay_numbers(encoding: Encoding, kernel: Kernel, extreme: str) -> None:
    for N, K in shapes(encoding, kernel):
        weight = EXTREMES[extreme](random(N, K))
        parts = encoding.encode(weight)
        assert all(part.isfinite().all() for part in parts.values())
        assert encoding.decode(parts).isfinite().all()
        for M in ROWS:
            check(encoding, kernel, weight, random(M, K, seed=M), bias=random(N, seed=1))


@pytest.mark.parametrize(("encoding", "kernel"), kernels())
@torch.inference_mode()
def test_a_large_row_costs_its_neighbours_no_precision(encoding: Encoding, kernel: Kernel) -> None:
    if encoding.name == "int8-dynamic":
        pytest.skip("its inputs share one scale by design")
    for N, K in shapes(encoding, kernel):
        for M in ROWS:
            x = random(M, K, seed=M) * torch.logspace(-9, 9, M)[torch.randperm(M), None]
            check(encoding, kernel, random(N, K), x)


@pytest.mark.parametrize(("encoding", "kernel"), kernels())
@torch.inference_mode()
def test_one_token_at_a_time_a_row_does_not_depend_on_the_others(encoding: Encoding, kernel: Kernel) -> None:
    """The engine fills up to a multiple of `rows`; within that, what is beside a row must not show in its bits."""
    if encoding.name == "int8-dynamic":
        pytest.skip("its inputs share one scale by design")
    block = max(1, kernel.rows)
    for N, K in shapes(encoding, kernel):
        matrix = Matrix(kernel, encoding.encode(random(N, K)), random(N, seed=1), shape=(N, K))
        x = random(16, K, seed=2)
        together = matrix.each(x)
        for M in range(block, 16, block):
            assert torch.equal(matrix.each(x[:M].clone()), together[:M]), f"{M} rows of {(N, K)}"
            others = torch.cat([x[: M - 1], random(1, K, seed=M)])
            assert torch.equal(matrix.each(others)[: M - 1], together[: M - 1]), f"row {M - 1} of {(N, K)}"


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=list(ENCODINGS))
@torch.inference_mode()
def test_the_kernel_of_other_devices_is_right_on_the_cpu_too(encoding: Encoding) -> None:
    if encoding.device_kernel is None:
        pytest.skip("it runs on the CPU only")
    for N, K in SHAPES:
        for bias in (None, random(N, seed=1) * 1e4):
            for M in ROWS:
                check(encoding, encoding.device_kernel, random(N, K), random(M, K, seed=M), bias=bias)
