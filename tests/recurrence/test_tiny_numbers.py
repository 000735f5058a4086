"""Values below the smallest normal number of float32, some 1e-38: the gradients through them are the eager engine's."""

import pytest
import torch
from torch import Tensor

import unrolled
from unrolled.cells import Cell, Value, affine, exp, log, maximum, relu, sqrt, tanh, where
from unrolled.nn import Recurrent


@unrolled.cell
def log_of_exp(x: Value, h: Value) -> Value:
    return 0.01 * log(exp(x - 88.0)) + tanh(affine("a", h, x))


@unrolled.cell
def root_of_square(x: Value, h: Value) -> Value:
    return sqrt(exp(x - 45.0) ** 2) + tanh(affine("a", h, x))


@unrolled.cell
def quotient(x: Value, h: Value) -> Value:
    return relu(x - 10.0) / exp(x - 88.5) + tanh(affine("a", h, x))


@unrolled.cell
def tiny_product(x: Value, h: Value) -> Value:
    return (1e-20 * x) * (1e-20 * h) * 1e38 * tanh(affine("a", h, x))


@unrolled.cell
def tiny_choice(x: Value, h: Value) -> Value:
    tiny = 1e-40 * x
    return tanh(affine("a", h, x)) + maximum(tiny, 0.0) * 1e38 + where(tiny > 0.0, x, 0.5 * x)


@pytest.mark.parametrize("cell", [log_of_exp, root_of_square, quotient, tiny_product, tiny_choice])
def test_values_too_small_to_be_normal_are_what_they_are_in_the_gradient(cell: Cell) -> None:
    """Only gradients may be counted as zero there, and never what they are divided by, compared or multiplied with."""

    def gradients(engine: str, dtype: torch.dtype) -> list[Tensor]:
        torch.manual_seed(0)
        layer = Recurrent(cell, 4, 4, engine=engine).to(dtype)
        x, h = torch.randn(2, 2, 4).to(dtype).requires_grad_(), torch.randn(1, 2, 4).to(dtype)
        layer(x, h)[0].sum().backward()
        return [value.grad for value in (x, *layer.parameters()) if value.grad is not None]

    exact, eager = gradients("eager", torch.float64), gradients("eager", torch.float32)
    for value, reference, one in zip(exact, eager, gradients("compiled", torch.float32), strict=True):
        off, unavoidable = ((found.double() - value).abs().max() for found in (one, reference))
        assert off <= 10 * unavoidable + 1e-6 * value.abs().max()
