"""Every operator on every kind of argument: gradients in float64 against finite differences, engine by engine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from types import ModuleType
from typing import Any

import pytest
import torch
from interpreter import Problem
from torch import Tensor

from unrolled.cells import Cell
from unrolled.nn import Recurrent
from unrolled.recurrence import eager, native
from unrolled.recurrence.adjoint import RULES
from unrolled.recurrence.kernels import backward, forward, machine
from unrolled.recurrence.kernels.target import host
from unrolled.recurrence.program import ARITY, cell_from_json

STATES = ("s", "h")
VALUES = {
    "x": torch.tensor([0.7, -0.3, 1.6, 0.0, 1.0, -1.0, 0.5, -2.2]),
    "s": torch.tensor([1.2, 0.4, -0.8, 0.3, 1.0, 2.1, 0.5, -2.2]),  # in its last units equal to x
    "h": torch.tensor([-0.6, 1.3, 0.9, 2.4, -1.4, 0.2, -0.1, 1.8]),
}
"""Some units are exactly one of the constants, and some equal another value: ties."""

KINDS: list[str | float] = ["v0", "v1", "v2", "v3", 0.0, -0.0, 1.0, -1.0, 0.5, 3.0]
"""x, the states, another operator's value, constants; some of these equal the number of a value."""

POSITIVE = {"log", "sqrt", "divide"}
"""Operators whose last argument must be positive here: values are squared and 0.3 added, constants are above 0."""

STEP = 1e-6
FLAT = {"less", "less_equal"}
KINKED = {"relu"}
"""Operators whose derivative at 0 is by definition 0, where finite differences find a half."""


def combinations(operation: str) -> Iterator[tuple[str | float, ...]]:
    """Every choice of arguments that an operator takes, which are not constants alone."""
    for arguments in product(KINDS, repeat=ARITY[operation]):
        if any(isinstance(one, str) for one in arguments):
            yield arguments


def instructions_of(
    operation: str, chosen: Sequence[tuple[str | float, ...]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Value 3 is another operator's; then each combination. Returns the values that stand for them, too."""
    made: list[dict[str, Any]] = [{"operation": "tanh", "arguments": ["v2"]}]

    def emit(name: str, /, *arguments: str | float, **more: Any) -> str:
        made.append({"operation": name, "arguments": list(arguments), **more})
        return f"v{len(STATES) + len(made)}"

    found = []
    for number, arguments in enumerate(chosen):
        taken = list(arguments)
        if operation in POSITIVE:
            last = taken[-1]
            taken[-1] = emit("add", emit("square", last), 0.3) if isinstance(last, str) else abs(last) or 2.0
        if all(not isinstance(one, str) for one in taken):
            continue
        more = {"name": f"n{number}"} if operation == "named" else {}
        found.append(emit(operation, *taken, **more))
    return made, found


def cells_of(operation: str, most: int = 40) -> Iterator[Cell]:
    """Cells whose new states are the combinations, each with a weight of its own, summed up to two."""
    every = list(combinations(operation))
    for first in range(0, len(every), most):
        instructions, values = instructions_of(operation, every[first : first + most])
        outputs = []
        for half in (values[::2], values[1::2] or values[:1]):
            total = ""
            for place, value in enumerate(half):
                instructions.append({"operation": "multiply", "arguments": [value, 1.0 + 0.37 * place]})
                last = f"v{len(STATES) + len(instructions)}"
                if total:
                    instructions.append({"operation": "add", "arguments": [total, last]})
                total = f"v{len(STATES) + len(instructions)}"
            outputs.append(total)
        yield cell_from_json({"cell": "all", "states": list(STATES), "instructions": instructions, "outputs": outputs})


Outputs = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]


def values_as(dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype) for name, value in VALUES.items()}


def outputs_of(cell: Cell, engine: str) -> Outputs:
    layer = Recurrent(cell, 8, 8, dtype=torch.float64, engine=engine)

    def outputs(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        x, s, h = (values[name].view(1, 1, 8) for name in VALUES)
        final = layer(x, (s, h))[1]
        return final[0].flatten(), final[1].flatten()

    return outputs


def by_differences(outputs: Outputs) -> dict[str, Tensor]:
    """Everything is unit by unit, so all units can be moved at once."""
    found = {}
    with torch.no_grad():
        for name in VALUES:
            sides = []
            for step in (STEP, -STEP):
                values = values_as(torch.float64)
                values[name] += step
                sides.append(sum(outputs(values), torch.zeros(8, dtype=torch.float64)))
            found[name] = (sides[0] - sides[1]) / (2 * STEP)
    return found


def by_gradient(outputs: Outputs) -> dict[str, Tensor]:
    values = {name: value.requires_grad_() for name, value in values_as(torch.float64).items()}
    total = sum(outputs(values), torch.zeros(8, dtype=torch.float64)).sum()
    if not total.requires_grad:
        return {name: torch.zeros(8, dtype=torch.float64) for name in VALUES}
    gradients = torch.autograd.grad(total, list(values.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(values, gradients, strict=True))


def by_adjoint(cell: Cell) -> dict[str, Tensor]:
    values = values_as(torch.float64)
    layer = Recurrent(cell, 8, 8, dtype=torch.float64, engine="eager")
    states = (values["s"].view(1, 8), values["h"].view(1, 8))
    problem = Problem.of(layer, values["x"].view(1, 1, 8), states, None, None)
    interpreter = problem.interpreter()
    interpreter.forward(problem.x, problem.states)
    ones, zeros = torch.ones(1, 8, dtype=torch.float64), torch.zeros(1, 1, 8, dtype=torch.float64)
    with torch.no_grad():
        x, after, _ = interpreter.backward(zeros, (ones, ones), {})
    return {"x": x.flatten(), "s": after[0].flatten(), "h": after[1].flatten()}


@pytest.fixture(scope="module", autouse=True)
def few_registers() -> Iterator[None]:
    """Kernels with few shapes of tiles compile in half the time."""
    modules: tuple[ModuleType, ...] = (native, forward, backward, machine)
    few = replace(host(), registers=8)
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setattr(module, "host", lambda: few, raising=False)
        yield


def exact(operation: str, cell: Cell) -> dict[str, Tensor]:
    """Finite differences; of conditions, and at a kink whose derivative is defined to be 0, autograd's answer."""
    outputs = outputs_of(cell, "eager")
    return by_gradient(outputs) if operation in FLAT | KINKED else by_differences(outputs)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    for name, value in expected.items():
        assert value.isfinite().all()
        torch.testing.assert_close(
            found[name], value, rtol=1e-6, atol=2e-6, msg=lambda text, name=name: f"{what}: gradient of {name}: {text}"
        )


OPERATIONS = sorted((ARITY.keys() & RULES.keys()) - {"where", "vector"})


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_of_every_kind_of_argument(operation: str) -> None:
    for cell in cells_of(operation):
        expected = exact(operation, cell)
        assert_close(by_gradient(outputs_of(cell, "eager")), expected, "eager")
        assert_close(by_adjoint(cell), expected, "adjoint")
        assert_close(by_gradient(outputs_of(cell, "compiled")), expected, "compiled")


def test_gradients_of_choices() -> None:
    """`where` on every kind of argument. At a condition's own edge finite differences mean nothing, so autograd's."""
    for number, cell in enumerate(cells_of("where")):
        expected = by_gradient(outputs_of(cell, "eager"))
        assert_close(by_adjoint(cell), expected, "adjoint")
        if number % 8 == 0:
            assert_close(by_gradient(outputs_of(cell, "compiled")), expected, "compiled")


def test_relu_has_no_gradient_at_0_and_its_own_elsewhere() -> None:
    cell = cell_from_json(
        {
            "cell": "bent", "states": ["s", "h"],
            "instructions": [{"operation": "relu", "arguments": ["v0"]}], "outputs": ["v3", "v1"],
        }
    )  # fmt: skip
    assert by_gradient(outputs_of(cell, "compiled"))["x"].tolist() == [1, 0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("engine", ["eager", "compiled", "adjoint"])
@pytest.mark.parametrize("operation", ["maximum", "minimum"])
def test_the_loser_gets_nothing_of_an_infinite_gradient(operation: str, engine: str) -> None:
    """The root's derivative at 0 is infinite; the 0 is the constant's wherever it wins."""
    sign = 1.0 if operation == "maximum" else -1.0
    cell = cell_from_json(
        {
            "cell": "root", "states": ["s", "h"],
            "instructions": [
                {"operation": operation, "arguments": ["v1", 0.0]},
                {"operation": "multiply", "arguments": ["v3", sign]},
                {"operation": "sqrt", "arguments": ["v4"]},
            ],
            "outputs": ["v5", "v2"],
        }
    )  # fmt: skip
    found = by_adjoint(cell) if engine == "adjoint" else by_gradient(outputs_of(cell, engine))
    wins = VALUES["s"].double() * sign > 0
    expected = torch.where(wins, sign * 0.5 / (VALUES["s"].double() * sign).clamp(min=1e-9).sqrt(), 0.0)
    torch.testing.assert_close(found["s"], expected)


def test_every_pointwise_operator_is_looked_at() -> None:
    assert {*OPERATIONS, "where"} == eager.POINTWISE.keys() | {"named"}
