"""A cell: a name, the names of its states, and the step that its equations are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

from unrolled.cells.operators import Value

Step = Callable[..., Value | tuple[Value, ...]]


@dataclass(frozen=True)
class Cell:
    """One recurrence, as equations.

    Attributes:
        name: what recipes, the command line and plots call it.
        step: `step(x, *states)` returns the new states, in the order of its arguments; the first one is the output.
        states: the names of the states, those of the step's arguments after x.
        two_biases: torch's parameter layout, one bias on the input's side and one on the recurrent side. Cells that
            torch does not have keep a single bias.
    """

    name: str
    step: Step
    states: tuple[str, ...]
    two_biases: bool = False

    @property
    def equations(self) -> str:
        """The equations, as the step's docstring gives them."""
        return inspect.getdoc(self.step) or ""


@overload
def cell(step: Step, /) -> Cell: ...
@overload
def cell(step: str | None = None, /, *, two_biases: bool = False) -> Callable[[Step], Cell]: ...
def cell(step: Step | str | None = None, /, *, two_biases: bool = False) -> Cell | Callable[[Step], Cell]:
    """Make a cell of a step function: `@cell`, or `@cell("its-name")`.

    The function takes x⟨t⟩ and the states of the timestep before, by the names that they shall have, and returns the
    new states in the same order; with one state it returns just that.

        @unrolled.cell
        def minimal(x, h):
            forget = sigmoid(affine("forget", h, x))
            candidate = tanh(affine("candidate", forget * h, x))
            return (1 - forget) * h + forget * candidate

        layer = unrolled.nn.Recurrent(minimal, 64, 128)

    Raises:
        TypeError: the function has no state, or takes something other than plain positional arguments.
    """
    if callable(step):
        return _make(step, step.__name__.replace("_", "-"), two_biases)
    name = step
    return lambda function: _make(function, name or function.__name__.replace("_", "-"), two_biases)


def _make(step: Step, name: str, two_biases: bool) -> Cell:
    parameters = list(inspect.signature(step).parameters.values())
    if any(parameter.kind is not parameter.POSITIONAL_OR_KEYWORD for parameter in parameters):
        raise TypeError(
            f"{step.__name__}: a step takes x and its states as plain arguments, no *, ** or keyword-only ones"
        )
    if len(parameters) < 2:
        raise TypeError(f"{step.__name__}: a step takes x and at least one state, as in step(x, h)")
    return Cell(name, step, tuple(parameter.name for parameter in parameters[1:]), two_biases)
