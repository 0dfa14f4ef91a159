"""GELU while training: its value and gradient are those of torch, whatever the shape and the type of its numbers."""

import pytest
import torch
from torch.nn import functional as F

from models.gelu import CHUNK, gelu


def exact(x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The value and the gradient in float64 of the weighted sum."""
    wide = x.detach().double().requires_grad_()
    y = F.gelu(wide, approximate="tanh")
    (y * weights.double()).sum().backward()
    assert wide.grad is not None
    return y.detach(), wide.grad


@pytest.mark.parametrize("shape", [(1,), (3, 5, 7), (2, CHUNK), (CHUNK // 4 + 1, 9)])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_value_and_gradient_are_those_of_torch(shape: tuple[int, ...], dtype: torch.dtype, near: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(shape, generator=generator) * 4).to(dtype).requires_grad_()
    weights = torch.randn(shape, generator=generator).to(dtype)
    y = gelu(x * 1, "tanh")
    (y * weights).sum().backward()
    value, gradient = exact(x, weights)
    assert y.dtype == dtype
    torch.testing.assert_close(y.detach().double(), value, rtol=near, atol=near)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), gradient, rtol=near, atol=near)


def test_numbers_far_from_zero_stay_finite() -> None:
    x = torch.tensor([-1e12, -300.0, -20.0, -0.0, 20.0, 300.0, 1e12]).requires_grad_()
    y = gelu(x * 1, "tanh")
    y.sum().backward()
    assert y.tolist() == pytest.approx([0, 0, 0, 0, 20, 300, 1e12])
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0, 0, 0, 0.5, 1, 1, 1])


def test_what_does_not_learn_is_torchs_own_to_the_bit() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gelu(x, "tanh"), F.gelu(x, approximate="tanh"))
    with torch.no_grad():
        assert torch.equal(gelu(x.requires_grad_(), "tanh"), F.gelu(x, approximate="tanh"))


def test_the_erf_formula_is_torchs_own() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.equal(gelu(x, "none"), F.gelu(x))
