"""What the values of a program are called in formulas: the course notes' letters where they have one.

The update, forget, output and relevance gates are Γ_u, Γ_f, Γ_o and Γ_r, and the candidate of a state c is c̃. Any other
gate keeps its own name: Γ_name if it is a sigmoid, the name alone if it is not. W_name, b_name and δ_name are the
weights, the bias and the gradient of the pre-activation z_name; W_uc is the part of W_u that multiplies c.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from unrolled.recurrence.formulas.expressions import Symbol
from unrolled.recurrence.formulas.typesetting import upright
from unrolled.recurrence.program import Instruction, Program, values_of

LETTERS = {"update": "u", "forget": "f", "output": "o", "relevance": "r", "keep": "k"}
"""The letters of the gates that the course notes have (and of `keep`, torch's z); they must be sigmoids to get one."""

HIDDEN = "_hidden"
"""affine("candidate_hidden", c) is a part of the candidate, so its weights are W_cc beside W_cx."""

Parts = tuple[str, ...]


class Notation:
    """The symbols of one program's values and parameters, all at timestep t."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = {*program.states, *program.observed, "x"}
        self.outputs = {output: index for index, output in reversed([*enumerate(program.outputs)])}
        self.bases: dict[str, str] = {}
        self.sharing = Counter[str]()
        for affine in program.affines:
            base = self._base(affine.name)
            parent = affine.name.removesuffix(HIDDEN)
            shared = parent != affine.name and base == self.bases.get(parent)
            self.bases[affine.name] = affine.name if self.sharing[base] and not shared else base
            self.sharing[self.bases[affine.name]] += 1

    def _base(self, affine: str) -> str:
        """The letter of an affine map, or its name."""
        parent = affine.removesuffix(HIDDEN)
        if parent in self.bases:
            return self.bases[parent]
        value = self.program.observed[affine]
        if value in self.outputs:
            return self.program.states[self.outputs[value]]
        if affine == "candidate":
            return self._memory() or affine
        return self._letter(affine)

    def _letter(self, gate: str) -> str:
        letter, made = LETTERS.get(gate, gate), self.program.instruction(self.program.observed[gate])
        sigmoid = made is not None and made.operation == "sigmoid"
        return letter if sigmoid and letter not in self.names else gate

    def _memory(self) -> str | None:
        """The state that a candidate is to replace: c, or the only one."""
        state = "c" if "c" in self.program.states else self.program.states[0]
        return state if len(state) == 1 else None

    def state(self, index: int, time: int = 0) -> Symbol:
        """A state, by its place among the states."""
        name = self.program.states[index]
        return Symbol(name, upright(name), time)

    def x(self) -> Symbol:
        return Symbol("x", "x", 0)

    def affine(self, head: str, latex: str, instruction: Instruction, time: int | None = None) -> Symbol:
        """head_u, of the affine map of the update gate."""
        return subscripted(head, latex, self._subscript(instruction), time)

    def _subscript(self, affine: Instruction) -> Parts:
        """An affine map's letter, and its vectors' too where it shares the letter with another map."""
        base = self.bases[affine.name]
        return (base,) if self.sharing[base] == 1 else (base, *map(self._label, values_of(affine)))

    def _label(self, vector: int) -> str:
        """What a vector is called in the subscript of its weights."""
        label = self.program.label(vector) or ""
        return self._letter(label) if label in self.bases else label

    def block(self, affine: Instruction, vector: int) -> Symbol:
        """W_uc: the weights of one affine map on one vector."""
        return subscripted("W", "W", (self.bases[affine.name], self._label(vector)))

    def stacked(self, affine: Instruction) -> Symbol:
        """W_u, all weights of one affine map. With a single vector it is the block itself."""
        vectors = values_of(affine)
        return self.block(affine, vectors[0]) if len(vectors) == 1 else self.affine("W", "W", affine)

    def bias(self, affine: Instruction) -> Symbol:
        return self.affine("b", "b", affine)

    def delta(self, affine: Instruction) -> Symbol:
        return self.affine("δ", r"\delta", affine, 0)

    def vector(self, name: str, gate: str | None) -> Symbol:
        """A vector of parameters: p_u for the update gate's peephole."""
        head = "p" if name == "peephole" and gate else name
        base = self.bases.get(gate, gate) if gate else None
        return subscripted(head, upright(head), (base,)) if base else Symbol(head, upright(head))

    def value(self, number: int) -> Symbol | None:
        """The symbol of a value that has a name: a state's new value, a gate's, a named one's."""
        program = self.program
        if number in self.outputs:
            return self.state(self.outputs[number])
        gate = program.gates.get(number)
        made = program.instruction(number)
        if gate is None or made is None or made.operation == "affine":
            return None
        if gate == "candidate" and (memory := self._memory()):
            return Symbol(memory + "\N{COMBINING TILDE}", rf"\tilde{{{memory}}}", 0)
        if gate in self.bases and made.operation == "sigmoid":
            return replace(subscripted("Γ", r"\Gamma", (self.bases[gate],), 0), silent=True)
        return Symbol(gate, upright(gate), 0)

    def preactivation(self, affine: Instruction) -> Symbol:
        return self.affine("z", "z", affine, 0)


def subscripted(head: str, latex: str, parts: Parts, time: int | None = None) -> Symbol:
    """head_parts; single letters are put together, longer names kept apart."""
    letters = all(len(part) == 1 for part in parts)
    below = "".join(parts) if letters else ",".join(upright(part) for part in parts)
    return Symbol(f"{head}_{('' if letters else '_').join(parts)}", f"{latex}_{{{below}}}", time)


def numbered(head: str, number: int) -> Symbol:
    """v₁, g₂: a value without a name."""
    return Symbol(head + "".join(chr(ord("₀") + int(digit)) for digit in str(number)), f"{head}_{{{number}}}", 0)


def gradient_of(symbol: Symbol) -> Symbol:
    """dc⟨t⟩: the whole gradient of the loss with respect to a value; dW for a parameter."""
    return replace(symbol, text=f"d{symbol.text}", latex=rf"\mathrm{{d}}{symbol.latex}", silent=False)


def loss_by(state: Symbol) -> Symbol:
    """∂L⟨t⟩/∂a⟨t⟩: what the loss of the timestep itself says about the output. @ stands for the timestep."""
    return Symbol(f"∂L/∂{state.text}", rf"\frac{{\partial L@}}{{\partial {state.latex}@}}", state.time)
