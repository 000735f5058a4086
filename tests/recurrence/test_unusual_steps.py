"""Steps without affine maps, and steps that are longer than kernels are compiled for."""

import copy
from typing import Any

import pytest
import torch

import unrolled
from cell_table import tuple_of
from tolerances import assert_equal
from unrolled.cells import Cell, Value, affine, maximum, named, sigmoid, tanh, vector
from unrolled.nn import Recurrent
from unrolled.recurrence.plan import MOST_LEVELS, MOST_OPERATIONS


@unrolled.cell
def without_maps(x: Value, h: Value) -> Value:
    return tanh(0.5 * h + x)


@unrolled.cell
def with_vectors_alone(x: Value, h: Value, s: Value) -> tuple[Value, Value]:
    leak = sigmoid(vector("leak"))
    return leak * h + (1 - leak) * x, maximum(h, s)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"zoneout": 0.5}, {"initial_state": "learned"}])
@pytest.mark.parametrize("cell", [without_maps, with_vectors_alone])
def test_cells_without_affine_maps(cell: Cell, options: dict[str, Any]) -> None:
    found = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        layer = Recurrent(cell, 4, 4, engine=engine, **options).double()
        x = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
        output, state = layer(x, lengths=torch.tensor([3, 1]))
        (output.sum() + sum(value.sum() for value in tuple_of(state))).backward()
        with torch.no_grad():
            stepped = layer.step(x[0])
        assert output.dtype is torch.float64
        found.append((output, state, stepped, x.grad, *(value.grad for value in layer.parameters())))
    assert_equal(found[1], found[0])


def test_a_layer_without_parameters_keeps_its_type() -> None:
    layer = Recurrent(without_maps, 3, 3)
    assert not list(layer.parameters())
    assert layer.state_dict() == {}
    assert layer(torch.zeros(2, 1, 3))[0].dtype is torch.float32
    assert copy.deepcopy(layer.double())(torch.zeros(2, 1, 3, dtype=torch.float64))[0].dtype is torch.float64
    with pytest.raises(ValueError, match="no gate with a bias"):
        Recurrent(without_maps, 3, 3, chrono=5)


def test_long_steps_run_on_the_eager_engine() -> None:
    @unrolled.cell
    def long(x: Value, h: Value) -> Value:
        value = affine("a", h, x)
        for _ in range(MOST_OPERATIONS):
            value = tanh(value)
        return value

    @unrolled.cell
    def deep(x: Value, h: Value) -> Value:
        for level in range(MOST_LEVELS + 1):
            h = tanh(affine(f"a{level}", named(h, f"h{level}")))
        return h

    for cell, reason in ((long, "operations"), (deep, "affine maps that need one another")):
        layer = Recurrent(cell, 3, 3)
        engine = layer.engine_for(torch.zeros(2, 1, 3))
        assert engine.name == "eager"
        assert reason in engine.reason
        assert layer(torch.zeros(2, 1, 3))[0].shape == (2, 1, 3)
        layer.engine = "compiled"
        with pytest.raises(ValueError, match=reason):
            layer(torch.zeros(2, 1, 3))
