"""The operators: what each computes, and its gradient; and how a cell is made of a function."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import unrolled
from tolerances import assert_equal
from unrolled.cells import (
    CELLS,
    Cell,
    affine,
    cell,
    cell_named,
    exp,
    log,
    maximum,
    minimum,
    named,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    vector,
    where,
)
from unrolled.cells.operators import Value
from unrolled.cells.rnn import rnn
from unrolled.nn import Recurrent

HALF = torch.tensor(0.5, dtype=torch.float64)
OPERATORS: dict[str, tuple[Callable[[Any], Any], Callable[[torch.Tensor], torch.Tensor]]] = {
    "v + 2": (lambda v: v + 2, lambda v: v + 2),
    "2 + v": (lambda v: 2 + v, lambda v: v + 2),
    "v - 2": (lambda v: v - 2, lambda v: v - 2),
    "2 - v": (lambda v: 2 - v, lambda v: 2 - v),
    "v * 3": (lambda v: v * 3, lambda v: v * 3),
    "3 * v": (lambda v: 3 * v, lambda v: v * 3),
    "v / 4": (lambda v: v / 4, lambda v: v / 4),
    "4 / v": (lambda v: 4 / v, lambda v: 4 / v),
    "-v": (lambda v: -v, lambda v: -v),
    "v ** 2": (lambda v: v**2, lambda v: v * v),
    "v ** 2.0": (lambda v: v**2.0, lambda v: v * v),
    "sigmoid": (sigmoid, torch.sigmoid),
    "tanh": (tanh, torch.tanh),
    "relu": (relu, torch.relu),
    "exp": (exp, torch.exp),
    "log": (lambda v: log(v**2), lambda v: (v * v).log()),
    "sqrt": (lambda v: sqrt(v**2), torch.abs),
    "softplus": (softplus, lambda v: (1 + v.exp()).log()),
    "maximum": (lambda v: maximum(v, 0.5), lambda v: torch.maximum(v, HALF)),
    "maximum of a number": (lambda v: maximum(0.5, v), lambda v: torch.maximum(v, HALF)),
    "minimum": (lambda v: minimum(v, -v), lambda v: -v.abs()),
    "v < 0": (lambda v: v < 0, lambda v: (v < 0).double()),
    "v <= v": (lambda v: v <= v, torch.ones_like),
    "0 > v": (lambda v: 0 > v, lambda v: (v < 0).double()),  # noqa: SIM300
    "v >= 0": (lambda v: v >= 0, lambda v: (v >= 0).double()),
    "1 - (v > 0)": (lambda v: 1 - (v > 0), lambda v: (v <= 0).double()),
    "where": (lambda v: where(v > 0, v, 2 * v), lambda v: torch.where(v > 0, v, 2 * v)),
    "where of numbers": (lambda v: where(v > 0, 1, -1), torch.sign),
    "where number": (lambda v: where(1, v, 7), lambda v: v),
    "named": (lambda v: named(v, "name"), lambda v: v),
    "a NumPy number": (lambda v: np.float64(2) - v * np.float64(3), lambda v: 2 - 3 * v),
}


def given_state(operator: Callable[[Any], Any], state: torch.Tensor) -> torch.Tensor:
    """What one timestep makes of the state by `operator` alone; the affine map is there because a layer has weights."""

    def step(x: Value, v: Value) -> Value:
        return operator(v) + 0 * affine("unused", x)

    layer = Recurrent(cell("by-operator")(step), 1, state.shape[-1], dtype=torch.float64)
    output: torch.Tensor = layer(torch.zeros(1, 1, 1, dtype=torch.float64), state.view(1, 1, -1))[0]
    return output.flatten()


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_computes_what_it_says_with_its_gradient(name: str) -> None:
    operator, expected = OPERATORS[name]
    ours = torch.tensor([-1.5, -0.25, 0.75, 2.0], dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    result = given_state(operator, ours)
    assert result.dtype == torch.float64
    assert_equal(result, expected(theirs))
    result.sum().backward()  # a comparison is constant: it gives no gradient at all
    expected_sum = expected(theirs).sum()
    if expected_sum.requires_grad:
        expected_sum.backward()
    assert_equal(
        torch.zeros_like(ours) if ours.grad is None else ours.grad,
        torch.zeros_like(ours) if theirs.grad is None else theirs.grad,
    )


def test_equal_values_share_the_gradient_of_maximum_and_minimum() -> None:
    for operator in (maximum, minimum):
        state = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        given_state(lambda v, operator=operator: operator(v, 0), state).sum().backward()
        assert state.grad is not None
        assert state.grad.tolist() == [0.5] * 3


def test_vectors_combine_before_they_meet_the_timestep() -> None:
    @unrolled.cell
    def with_scale(x: Value, a: Value) -> Value:
        scale = exp(vector("scale")) + 1  # an expression of parameters alone
        return scale * tanh(affine("hidden", a, x)) / scale

    @unrolled.cell
    def without(x: Value, a: Value) -> Value:
        return tanh(affine("hidden", a, x))

    layer, plain = Recurrent(with_scale, 2, 3, dtype=torch.float64), Recurrent(without, 2, 3, dtype=torch.float64)
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if name != "scale_l0"})
    x = torch.randn(3, 2, 2, dtype=torch.float64)
    assert_equal(layer(x)[0], plain(x)[0])
    assert layer.parameters_of("scale")["scale"].shape == (3,)


def test_a_new_state_may_be_a_vector_alone() -> None:
    @unrolled.cell
    def restart(x: Value, a: Value, b: Value) -> tuple[Value, Value]:
        return tanh(affine("hidden", b, x)), sigmoid(vector("start"))

    layer = Recurrent(restart, 2, 3, dtype=torch.float64)
    _, (_, b) = layer(torch.randn(2, 4, 2, dtype=torch.float64))
    assert_equal(b, layer.parameters_of("start")["start"].sigmoid().expand(1, 4, 3))


def test_a_bias_can_be_left_out_and_taken_as_a_vector() -> None:
    @unrolled.cell
    def shifted(x: Value, a: Value) -> Value:
        return tanh(affine("hidden", a, x, bias=False) + vector("shift"))

    layer = Recurrent(shifted, 2, 3)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "weight_ih_l0": (3, 2),
        "weight_hh_l0": (3, 3),
        "shift_l0": (3,),
    }


def test_a_cell_is_made_of_a_function() -> None:
    @unrolled.cell
    def two_words(x: Value, a: Value, b: Value) -> tuple[Value, Value]:
        """a⟨t⟩ = b⟨t-1⟩"""
        return b, a

    assert (two_words.name, two_words.states, two_words.two_biases) == ("two-words", ("a", "b"), False)
    assert two_words.equations == "a⟨t⟩ = b⟨t-1⟩"
    assert cell("other", two_biases=True)(two_words.step) == Cell("other", two_words.step, ("a", "b"), True)
    assert cell()(two_words.step).name == "two-words"


def test_a_cell_refuses_other_functions() -> None:
    with pytest.raises(TypeError, match="at least one state"):
        cell(lambda x: x)
    with pytest.raises(TypeError, match="plain arguments"):
        cell(lambda x, *states: x)
    with pytest.raises(TypeError, match="plain arguments"):
        cell(lambda x, *, state: x)


def test_the_package_has_the_cells_that_it_names() -> None:
    names = {"rnn", "gru-simplified", "gru", "gru-torch", "lstm", "lstm-peephole", "lstm-peephole-previous"}
    assert names <= CELLS.keys()
    assert all(cell_named(name).name == name and cell_named(name).equations for name in CELLS)
    with pytest.raises(ValueError, match=r'there is no cell "lsmt"; the cells are rnn, .*lstm.*@unrolled.cell'):
        cell_named("lsmt")


def test_the_plain_network_takes_the_activations_of_the_operators() -> None:
    assert rnn("relu").name == "rnn-relu"
    with pytest.raises(ValueError, match='nonlinearity="swish" is none of tanh, relu'):
        rnn("swish")


def test_importing_the_cells_loads_no_torch() -> None:
    program = "import sys, unrolled.cells; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
