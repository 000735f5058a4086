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
from unrolled.recurrence.program import Constant, Instruction, Program, trace, values_of

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
        inside = number in self.gates and made.operation != "affine"
        found: dict[int, None] = {}
        waiting, seen = [(value, inside) for value in reversed(values_of(made))], set[tuple[int, bool]]()
        while waiting:  # what is shared is looked at once, and nothing by recursion: a step may be long
            place = waiting.pop()
            if place not in seen:
                seen.add(place)
                sources, deeper = self._followed(*place)
                found |= dict.fromkeys(sources)
                waiting += reversed(deeper)
        return list(found)

    def _followed(self, number: int, inside: bool) -> tuple[list[int], list[tuple[int, bool]]]:
        """The arrow's source that a value is, or the values to look at in its place.

        Args:
            inside: whether it is on the way from a gate's affine map to its activation, which is not drawn.
        """
        made = self.program.instruction(number)
        if made is None:
            return [number], []
        values = values_of(made)
        if inside and number not in self.gates and number not in self.step.notation.outputs:
            alone = len(list(self.program.users(number))) == 1
            if alone and made.operation in JOINING:
                return [], [(value, True) for value in values]
            if made.operation == "affine" or (alone and made.operation == "multiply" and self._scales(values)):
                return [], [(value, False) for value in values]
        if made.operation == "vector":  # parameters have no box
            return [], []
        if made.operation == "named" and number not in self.gates:  # a name is not an operation
            return [], [(value, False) for value in values]
        return [number], []

    def _scales(self, values: list[int]) -> bool:
        """Whether one of some factors is a parameter."""
        made = (self.program.instruction(value) for value in values)
        return any(one is not None and one.operation == "vector" for one in made)

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
        named = number < self.program.first or number in self.step.symbols
        name = text.of(self.step.expression(number)) if named else ""
        if number < self.program.first:
            kind = "state" if number else "input"
            return {"id": number, "kind": kind, "name": name, "sign": "", "formula": "", "layer": layer, "state": None}
        made = self._made(number)
        outputs = self.notation.outputs
        return {
            "id": number, "kind": "gate" if number in self.gates else "operation", "name": name, "sign": _sign(made),
            "formula": text.of(self.step.definition(number)), "layer": layer,
            "state": self.program.states[outputs[number]] if number in outputs else None,
        }  # fmt: skip


def _sign(made: Instruction) -> str:
    """What a box of an operation says."""
    constants = [argument.value for argument in made.arguments if isinstance(argument, Constant)]
    if made.operation == "affine":
        return "W v + b"
    if made.operation == "subtract" and isinstance(made.arguments[0], Constant):
        return f"{constants[0]:g} −"
    sign = SIGNS.get(made.operation, made.operation)
    return f"{sign} {constants[0]:g}" if constants else sign
