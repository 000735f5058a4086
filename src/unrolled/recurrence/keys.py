"""What an operator's call says about its cell, as text: the whole program, so that any process can read it.

Torch's operators take tensors, numbers and texts, and a graph that was exported or traced keeps the texts. A key is
therefore complete: a process that never made the layer builds the cell's kernels from the key alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from unrolled.cells.cell import Cell
from unrolled.errors import UserError
from unrolled.recurrence.layout import Layout, layout_of
from unrolled.recurrence.program import Program, cell_from_json, program_to_json, trace

MOST = 100
"""Sizes whose shapes a recurrence keeps."""


@dataclass(frozen=True)
class Recurrence:
    """What a key stands for: one cell's equations and the place of its parameters."""

    cell: Cell
    program: Program
    layout: Layout
    _shapes: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = field(default_factory=dict, compare=False, repr=False)

    def shapes(self, hidden: int, inputs: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of the parameters, in the layout's order."""
        found = self._shapes.get((hidden, inputs))
        if found is None:
            columns = {"weight_hh": (hidden,), "weight_ih": (inputs,)}
            parameters = self.layout.parameters.items()
            found = tuple((blocks * hidden, *columns.get(name, ())) for name, blocks in parameters)
            if len(self._shapes) < MOST:
                self._shapes[hidden, inputs] = found
        return found

    @cached_property
    def pointwise_input(self) -> bool:
        """See `Program`."""
        return self.program.pointwise_input

    @property
    def seen(self) -> tuple[str, ...]:
        """Everything that can be observed: gates and named values, then states."""
        return (*self.program.observed, *self.program.states)


@lru_cache(maxsize=256)
def key_of(program: Program, bias: bool) -> str:
    """A program, and whether its affine maps have biases, as text; "" if the program is not complete."""
    if program.opaque:
        return ""
    return json.dumps({"bias": bias, "program": program_to_json(program)}, separators=(",", ":"))


@lru_cache(maxsize=256)
def recurrence_of(key: str) -> Recurrence:
    """What a key stands for.

    Raises:
        UserError: the text is not a key; nothing of it is executed but the operators that it names.
    """
    try:
        content = json.loads(key)
        bias, saved = content["bias"], content["program"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"unrolled::recurrence: not a saved cell: {key[:60]!r}") from error
    cell = cell_from_json(saved)
    program = trace(cell)
    return Recurrence(cell, program, layout_of(program, bool(bias)))
