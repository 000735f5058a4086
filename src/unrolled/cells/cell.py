"""A cell: a name, the names of its states, and the step that its equations are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, overload

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

    def __reduce__(self) -> tuple[Callable[..., Cell], tuple[Any, ...]]:
        """For pickle, and so for torch.save and processes: a cell of the package by name, any other by its program.

        The step itself cannot travel: `@cell` has taken its name, and a file of weights should not run its source. A
        cell that comes back from its program has the same results but not the step's docstring.

        Raises:
            TypeError: the step uses something that is not an operator (the message says what), and has no program.
        """
        # Here and not above: equations know nothing of what is made of them.
        from unrolled.cells import CELLS, cell_named
        from unrolled.recurrence.program import cell_from_json, program_to_json, trace

        ours = CELLS.get(self.name)
        # RNN(nonlinearity=...) makes a step of its own each time, from the same code.
        code = getattr(self.step, "__code__", None)
        if ours and code is getattr(ours.step, "__code__", None) and replace(ours, step=self.step) == self:
            return cell_named, (self.name,)
        return cell_from_json, (program_to_json(trace(self)),)

    def __copy__(self) -> Cell:
        """Itself: nothing in a cell can change, and its step is the same function in every copy of a layer."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        """Itself, see `__copy__`."""
        return self


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
