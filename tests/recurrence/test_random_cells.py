"""Cells composed at random of all operators: what is derived from them equals what autograd finds."""

from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import Phase, seed
from random_cells import AFFINES, KINDS, Sizes, check_adjoint, check_compiled, check_single, checked

from unrolled.cells import Cell
from unrolled.recurrence import adjoint, native
from unrolled.recurrence.kernels import backward, forward, machine
from unrolled.recurrence.kernels.target import host
from unrolled.recurrence.program import ARITY, Constant, trace

EXAMPLES = 20
"""Cells that are compiled, which takes some seconds each."""

DRAWS = 2000
"""Cells whose derivation is carried out without compiling, which takes some milliseconds each."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_adjoint_of_random_cells(part: int) -> None:
    seed(part)(checked(check_adjoint, DRAWS // 4, phases=[Phase.generate, Phase.shrink]))()


@pytest.fixture
def few_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels with few shapes of tiles compile in half the time; other tests are there for all the shapes."""
    modules: tuple[ModuleType, ...] = (native, forward, backward, machine)
    few = replace(host(), registers=8)
    for module in modules:
        monkeypatch.setattr(module, "host", lambda: few, raising=False)


@pytest.mark.slow
@pytest.mark.usefixtures("few_registers")
def test_random_cells_on_the_compiled_engine() -> None:
    checked(check_compiled, EXAMPLES, derandomize=True)()


@pytest.mark.slow
@pytest.mark.usefixtures("few_registers")
def test_random_cells_in_float32() -> None:
    checked(check_single, EXAMPLES // 2, derandomize=True)()


def test_random_cells_use_every_operator() -> None:
    used: set[str] = set()
    counts: set[tuple[int, int]] = set()

    def look(cell: Cell, sizes: Sizes) -> None:
        program = trace(cell)
        used.update(made.operation for made in program.instructions)
        counts.add((len(program.states), len(program.affines)))

    checked(look, 90, derandomize=True)()
    assert used == ARITY.keys() | {"affine"} == set(KINDS)
    assert {states for states, _ in counts} == {1, 2, 3}
    assert {affines for _, affines in counts} == set(range(1, AFFINES + 1))


@pytest.mark.parametrize("operation", ["tanh", "multiply", "minimum", "where"])
def test_a_wrong_derivative_is_found(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth more than the right gradient, and random cells tell."""
    right = adjoint.RULES[operation]

    def wrong(e: adjoint._Reverse, gradient: int, *arguments: adjoint.Argument) -> tuple[adjoint.Argument | None, ...]:
        return right(e, e.emit("multiply", Constant(1.1), gradient), *arguments)

    monkeypatch.setitem(adjoint.RULES, operation, wrong)
    adjoint.differentiate.cache_clear()
    try:
        with pytest.raises(AssertionError, match="gradient"):
            checked(check_adjoint, 200, derandomize=True, phases=[Phase.generate])()
    finally:
        adjoint.differentiate.cache_clear()
