"""Cells composed at random of all operators: what is derived from them equals what autograd finds."""

from typing import Any

import pytest
import torch
from random_cells import AFFINES, CHECKS, KINDS, checked, random_cells

from unrolled.cells import Cell
from unrolled.recurrence.engines import NAMES
from unrolled.recurrence.program import ARITY, trace

EXAMPLES = 30


def test_the_adjoint_of_random_cells() -> None:
    checked(CHECKS["adjoint"], 4 * EXAMPLES, derandomize=True)()


@pytest.mark.skipif("compiled" not in NAMES, reason="there is no compiled engine yet")
def test_random_cells_on_the_compiled_engine() -> None:
    checked(CHECKS["compiled"], EXAMPLES, derandomize=True)()


def test_random_cells_use_every_operator() -> None:
    used: set[str] = set()
    sizes: list[tuple[int, int]] = []

    def look(cell: Cell, sizes_: Any) -> None:
        program = trace(cell)
        used.update(made.operation for made in program.instructions)
        sizes.append((len(program.states), len(program.affines)))

    checked(look, 150, derandomize=True)()
    assert used == ARITY.keys() | {"affine"}
    assert used == set(KINDS)
    assert {states for states, _ in sizes} == {1, 2, 3}
    assert {affines for _, affines in sizes} == set(range(1, AFFINES + 1))
    assert random_cells is not None
    assert torch.is_grad_enabled()
