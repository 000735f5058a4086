"""What a step may not do, and what the message says: the operation, and the line of the user's own file."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.cells import affine, cell, named, sigmoid, tanh, vector, where
from unrolled.cells.operators import Value
from unrolled.recurrence.program import TraceError, trace


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
    assert any(f"test_refusals.py, line {first + offset}: " in message for offset in (1, 2)), message


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
