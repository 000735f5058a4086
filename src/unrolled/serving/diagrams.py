"""A cell's traced equations as boxes and arrows: what a page draws, in layers from the inputs to the new states.

A gate is one box: its affine map, its diagonals and its activation. Every other operation is a box of its own, so that
Γ_u * c̃ and the sum after it can be seen. A box's id is the number of its value in the program.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from unrolled.cells import CELLS, Cell
from unrolled.recurrence import formulas
from unrolled.recurrence.formulas.notation import Notation
from unrolled.recurrence.formulas.step import Step
from unrolled.recurrence.formulas.typesetting import Text
from unrolled.recurrence.keeping import keeping_of
from unrolled.recurrence.program import Instruction, Program, trace

SIGNS = {
    "add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "negate": "−", "square": "( )²", "sigmoid": "σ",
    "maximum": "max", "minimum": "min", "less": "<", "less_equal": "≤",
}  # fmt: skip
"""Operations as a box names them; the others by their own name."""

JOINING = ("add", "subtract", "negate")


def every_cell() -> list[dict[str, Any]]:
    """The diagram of every built-in cell."""
    return [diagram(cell) for cell in CELLS.values()]


@cache
def diagram(cell: Cell) -> dict[str, Any]:
    """A cell's name, equations, states, nodes {id, kind, name, sign, formula, layer} and edges [from, to].

    Kinds: "input", "state" (of the timestep before), "gate", "operation"; `state` says which new state a node is.
    """
    program = trace(cell)
    drawn = _Drawn(program)
    layers = drawn.layers()
    nodes = [drawn.node(number, layers[number]) for number in sorted(layers)]
    edges = [[source, target] for target in sorted(drawn.inputs) for source in drawn.inputs[target]]
    return {
        "name": cell.name, "states": list(cell.states), "forget": any(one.name == "forget" for one in program.affines),
        "keeps": bool(keeping_of(program)),
        "equations": formulas.text_of(formulas.equations(program)), "nodes": nodes, "edges": edges,
    }  # fmt: skip


class _Drawn:
    """Which values have a box, and what enters each."""

    def __init__(self, program: Program) -> None:
        self.program, self.step = program, Step(program)
        self.notation = Notation(program)
        self.gates = {number: name for name, number in program.observed.items()}
        self.inputs: dict[int, list[int]] = {}
        waiting = list(dict.fromkeys([*program.outputs, *self.gates]))
        while waiting:
            number = waiting.pop()
            if number >= program.first and number not in self.inputs:
                self.inputs[number] = self._entering(number)
                waiting += self.inputs[number]

    def _entering(self, number: int) -> list[int]:
        """The values whose boxes have an arrow to that of `number`."""
        made = self._made(number)
        whole = number in self.gates
        found: list[int] = []
        for argument in made.arguments:
            if type(argument) is int:
                found += self._inside(argument) if whole and made.operation != "affine" else self._plain(argument)
        return list(dict.fromkeys(found))

    def _plain(self, number: int) -> list[int]:
        """A value as an arrow's source; parameters have no box, and a name is not an operation."""
        made = self.program.instruction(number)
        if made is None:
            return [number]
        if made.operation == "vector":
            return []
        return self._values(made, self._plain) if made.operation == "named" and number not in self.gates else [number]

    def _inside(self, number: int) -> list[int]:
        """The same for a value on the way from a gate's affine map to its activation, which is not drawn."""
        made = self.program.instruction(number)
        if made is None or number in self.gates or number in self.program.outputs:
            return self._plain(number)
        if made.operation == "affine":
            return self._values(made, self._plain)
        alone = len(list(self.program.users(number))) == 1
        if alone and made.operation in JOINING:
            return self._values(made, self._inside)
        scales = any(
            (one := self.program.instruction(part)) is not None and one.operation == "vector"
            for part in made.arguments if type(part) is int
        )  # fmt: skip
        if alone and made.operation == "multiply" and scales:
            return self._values(made, self._plain)
        return self._plain(number)

    def _values(self, made: Instruction, follow: Any) -> list[int]:
        return [one for argument in made.arguments if type(argument) is int for one in follow(argument)]

    def _made(self, number: int) -> Instruction:
        made = self.program.instruction(number)
        assert made is not None
        return made

    def layers(self) -> dict[int, int]:
        """Of every box its layer: 0 for x and the states before, else one below the lowest that enters it."""
        found = dict.fromkeys(range(self.program.first), 0)
        for number in sorted(self.inputs):  # a value is computed after those that it is made of
            found[number] = 1 + max((found[one] for one in self.inputs[number]), default=0)
        return found

    def node(self, number: int, layer: int) -> dict[str, Any]:
        """A box."""
        text = Text()
        name = text.of(self.step.expression(number)) if number in self._named() else ""
        if number < self.program.first:
            kind = "state" if number else "input"
            return {"id": number, "kind": kind, "name": name, "sign": "", "formula": "", "layer": layer, "state": None}
        made = self._made(number)
        outputs = self.program.outputs
        return {
            "id": number, "kind": "gate" if number in self.gates else "operation", "name": name, "sign": _sign(made),
            "formula": text.of(self.step.definition(number)), "layer": layer,
            "state": self.program.states[outputs.index(number)] if number in outputs else None,
        }  # fmt: skip

    def _named(self) -> set[int]:
        return {*range(self.program.first), *self.step.symbols}


def _sign(made: Instruction) -> str:
    """What a box of an operation says."""
    constants = [argument for argument in made.arguments if type(argument) is float]
    if made.operation == "affine":
        return "W v + b"
    if made.operation == "subtract" and type(made.arguments[0]) is float:
        return f"{made.arguments[0]:g} −"
    sign = SIGNS.get(made.operation, made.operation)
    return f"{sign} {constants[0]:g}" if constants else sign
