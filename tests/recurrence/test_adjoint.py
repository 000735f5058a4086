"""The derived gradient of every cell, carried out on tensors, against autograd through the eager engine."""

from typing import Any

import pytest
import torch
from interpreter import Problem, by_autograd, interpret

from cell_table import NAMES, OF, states_of, x_of
from tolerances import assert_equal
from unrolled.recurrence.adjoint import Adjoint, differentiate, with_zoneout
from unrolled.recurrence.program import Program, trace

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "mask": {"mask": True},
    "zoneout": {"keep": True},
    "mask and zoneout, observed": {"mask": True, "keep": True, "observe": True},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_the_adjoint_equals_autograd(name: str, case: str) -> None:
    compare(name, **CASES[case])


def compare(name: str, bias: bool = True, mask: bool = False, keep: bool = False, observe: bool = False) -> None:
    torch.manual_seed(2)
    layer, steps, batch = OF[name].layer(bias=bias), 4, 3
    states = tuple(state[0] for state in states_of(layer, batch))
    factors = torch.rand(batch, layer.hidden_size, dtype=torch.float64) + 0.5 if mask else None
    share = torch.rand(steps, batch, layer.hidden_size, dtype=torch.float64) if keep else None
    problem = Problem.of(layer, x_of(layer, steps, batch), states, factors, share)
    interpreter = problem.interpreter()
    found = interpret(problem, interpreter, observe)
    for key, value in by_autograd(problem, observe).items():
        assert_equal(found[key], value, key)


def operations(adjoint: Adjoint) -> list[str]:
    return [made.operation for made in adjoint.instructions]


def program_of(name: str) -> Program:
    return trace(OF[name].cell)


def test_what_needs_no_product_has_none() -> None:
    assert "transposed" not in operations(differentiate(program_of("lstm")))
    gru = differentiate(program_of("gru"))
    (product,) = [made for made in gru.instructions if made.operation == "transposed"]
    # the candidate takes Γ_r * c, so its δ comes back through W_cᵀ within the timestep
    assert product.name == "c"
    assert product.arguments == (gru.deltas[program_of("gru").observed["candidate"] - 1],)


def test_an_observed_gates_gradient_is_asked_for_once() -> None:
    program = program_of("lstm")
    adjoint = differentiate(program, ("update", "c"))
    names = [made.name for made in adjoint.instructions if made.operation == "gradient_seen"]
    assert names == ["update", "c"]
    assert "gradient_seen" not in operations(differentiate(program))


def test_the_same_expression_is_computed_once() -> None:
    for name in NAMES:
        instructions = differentiate(program_of(name)).instructions
        assert len(set(instructions)) == len(instructions)


def test_zoneout_without_a_share_leaves_the_program_as_it_was() -> None:
    program = program_of("lstm")
    zoned = with_zoneout(program)
    assert zoned.instructions[: len(program.instructions)] == program.instructions
    assert zoned.observed == program.observed
    assert len(zoned.outputs) == len(program.outputs)
