"""The operators: what each computes, what a step may not do, and what the message then says."""

import math
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
from unrolled.recurrence.program import TraceError, trace

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


def a_branch(x: Value, a: Value) -> Value:
    return a if a > 0 else -a


def a_loop(x: Value, a: Value) -> Value:
    for unit in a:  # type: ignore[attr-defined]
        a = a + unit
    return a


def a_length(x: Value, a: Value) -> Value:
    return a / len(a)  # type: ignore[arg-type]


def equality(x: Value, a: Value) -> Value:
    return where(a == 0, a, x)  # type: ignore[arg-type]


def inequality(x: Value, a: Value) -> Value:
    return where(a != 0, a, x)  # type: ignore[arg-type]


def a_cube(x: Value, a: Value) -> Value:
    return a**3


def a_power(x: Value, a: Value) -> Value:
    return a**a


def two_to_the(x: Value, a: Value) -> Value:
    return 2**a  # type: ignore[no-any-return, operator]


def from_math(x: Value, a: Value) -> Value:
    return math.exp(a) * a  # type: ignore[arg-type]


def from_torch(x: Value, a: Value) -> Value:
    return torch.exp(a)  # type: ignore[return-value, arg-type]


def from_torch_functional(x: Value, a: Value) -> Value:
    return torch.nn.functional.relu(a)  # type: ignore[return-value, arg-type]


def times_a_tensor(x: Value, a: Value) -> Value:
    return torch.ones(2) * a  # type: ignore[return-value, operator]


def a_tensor_to_the_right(x: Value, a: Value) -> Value:
    return a * torch.ones(2)


def from_numpy(x: Value, a: Value) -> Value:
    return np.exp(a)  # type: ignore[no-any-return, call-overload]


def an_index(x: Value, a: Value) -> Value:
    return a[0]  # type: ignore[no-any-return, index]


def a_method(x: Value, a: Value) -> Value:
    return a.tanh()  # type: ignore[no-any-return, attr-defined]


def an_absolute(x: Value, a: Value) -> Value:
    return abs(a)  # type: ignore[no-any-return, arg-type]


def of_a_number(x: Value, a: Value) -> Value:
    return sigmoid(0.5) * a  # type: ignore[arg-type]


def of_a_word(x: Value, a: Value) -> Value:
    return a * "word"


def an_empty_affine(x: Value, a: Value) -> Value:
    return affine("hidden")


def an_affine_of_a_number(x: Value, a: Value) -> Value:
    return affine("hidden", a, 3)  # type: ignore[arg-type]


def a_repeated_name(x: Value, a: Value) -> Value:
    return affine("hidden", a, x) + affine("hidden", a)


def a_repeated_named(x: Value, a: Value) -> Value:
    return affine("hidden", named(a + 1, "hidden"), x)


def a_name_with_a_blank(x: Value, a: Value) -> Value:
    return affine("hidden layer", a, x)


def a_vector_with_a_dot(x: Value, a: Value) -> Value:
    return a * vector("a.b")


def a_gate_named_bias(x: Value, a: Value) -> Value:
    return affine("bias", a, x)


def a_vector_named_bias(x: Value, a: Value) -> Value:
    return affine("hidden", a, x) + vector("bias")


REFUSED_LINES: list[tuple[Callable[..., Any], str]] = [
    (a_branch, "no branches"),
    (a_loop, "cannot loop over the units"),
    (a_length, "how many units"),
    (equality, "compares with <, <="),
    (inequality, "compares with <, <="),
    (a_cube, "not raise it to 3"),
    (a_power, "may square a value"),
    (two_to_the, "unsupported operand"),
    (from_math, "must be real number"),
    (from_torch, "torch's exp is not an operator"),
    (from_torch_functional, "torch's relu is not an operator"),
    (times_a_tensor, "not a Tensor"),
    (a_tensor_to_the_right, "not a Tensor"),
    (from_numpy, "ufunc"),
    (an_index, "not subscriptable"),
    (a_method, ".tanh is not an operator"),
    (an_absolute, "bad operand type for abs"),
    (of_a_number, "sigmoid needs a value of the step"),
    (of_a_word, "not a str"),
    (an_empty_affine, 'affine("hidden") needs at least one vector'),
    (an_affine_of_a_number, "takes vectors, not numbers"),
    (a_repeated_name, '"hidden" is used twice'),
    (a_repeated_named, '"hidden" is used twice'),
    (a_name_with_a_blank, "'hidden layer'"),
    (a_vector_with_a_dot, "'a.b'"),
    (a_gate_named_bias, '"bias" belongs to'),
    (a_vector_named_bias, '"bias" belongs to'),
]


@pytest.mark.parametrize(("step", "complaint"), REFUSED_LINES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_step_outside_the_operators_is_refused_with_its_line(step: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(TraceError) as refusal:
        trace(cell(step))
    message = str(refusal.value)
    assert complaint in message
    assert message.startswith(f'cell "{step.__name__.replace("_", "-")}": ')
    first = step.__code__.co_firstlineno
    assert any(f"test_operators.py, line {first + offset}: " in message for offset in (1, 2)), message


def one_value_too_few(x: Value, a: Value, c: Value) -> Value:
    return affine("hidden", a, c, x)


def one_value_too_many(x: Value, a: Value) -> tuple[Value, Value]:
    return a, a


def nothing(x: Value, a: Value) -> None:
    affine("hidden", a, x)


def a_number(x: Value, a: Value) -> float:
    return 0.5


def a_list(x: Value, a: Value) -> list[Value]:
    return [a]


def a_gate_called_like_a_state(x: Value, a: Value, c: Value) -> tuple[Value, Value]:
    return sigmoid(affine("c", a, x)), c


def a_named_value_called_like_a_state(x: Value, a: Value) -> Value:
    return named(affine("hidden", a, x), "a")


def the_same_vector_twice(x: Value, a: Value) -> Value:
    return affine("hidden", a, a, x)


def two_vectors_of_one_state(x: Value, a: Value) -> Value:
    return affine("hidden", a, a * 2, x)


def a_vector_without_a_name(x: Value, a: Value) -> Value:
    return affine("hidden", vector("start"), x)


def a_vector_called_like_a_state(x: Value, a: Value) -> Value:
    return affine("hidden", a, x) * vector("a", gate="hidden")


def a_vector_called_like_a_weight(x: Value, a: Value) -> Value:
    return affine("hidden", a, x) * vector("weight_ih")


def a_diagonal_called_like_a_weight(x: Value, a: Value) -> Value:
    return affine("hidden", a, x) * vector("hh", gate="hidden")


def a_state_called_x(u: Value, x: Value) -> Value:
    return tanh(affine("hidden", u, x))


REFUSED_PROGRAMS: list[tuple[Callable[..., Any], str]] = [
    (one_value_too_few, "has 2 state(s) (a, c) but returns 1 value(s)"),
    (one_value_too_many, "has 1 state(s) (a) but returns 2 value(s)"),
    (nothing, 'state "a" is a NoneType'),
    (a_number, 'state "a" is a float'),
    (a_list, 'state "a" is a list'),
    (a_gate_called_like_a_state, '"c" is both a state and a gate'),
    (a_named_value_called_like_a_state, '"a" is both a state and a gate'),
    (the_same_vector_twice, 'two vectors in affine("hidden") have the same name'),
    (two_vectors_of_one_state, "named(value"),
    (a_vector_without_a_name, "named(value"),
    (a_vector_called_like_a_state, 'vector("a") has the name of another'),
    (a_vector_called_like_a_weight, 'vector("weight_ih") has the name of another'),
    (a_diagonal_called_like_a_weight, 'vector("hh") has the name of another'),
    (a_state_called_x, 'a state may not be called "x"'),
]


@pytest.mark.parametrize(("step", "complaint"), REFUSED_PROGRAMS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_step_with_unclear_names_or_results_is_refused(step: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(TraceError) as refusal:
        trace(cell(step))
    assert complaint in str(refusal.value)
    assert step.__name__.replace("_", "-") in str(refusal.value)


def test_values_cannot_be_kept_for_the_next_timestep() -> None:
    kept: list[Value] = []

    def hoarder(x: Value, a: Value) -> Value:
        kept.append(tanh(a))
        return kept[0] + a

    trace(cell(hoarder))
    with pytest.raises(TraceError, match="keep values from one timestep to the next"):
        trace(cell("again")(hoarder))


def test_values_without_a_way_to_compute_refuse() -> None:
    with pytest.raises(NotImplementedError, match="carries out no operators"):
        tanh(Value())


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
