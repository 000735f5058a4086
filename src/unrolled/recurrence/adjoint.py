"""The gradient of a step, derived: reverse-mode differentiation of a program gives the adjoint recurrence.

The adjoint runs backwards in time. At each timestep it is given the gradient of every new state, and finds

- δ, the gradient of every affine map's result (its pre-activation),
- the gradient of every state of the timestep before. It has two parts: one unit by unit, and Wᵀδ for a state that
  enters affine maps.

After the loop the weights' gradients are sums over time: dW = Σ_t δ⟨t⟩ v⟨t⟩ᵀ for each vector v of the affine map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from unrolled.recurrence.program import Argument, Constant, Instruction, Program

ZERO, HALF, ONE, TWO = map(Constant, (0.0, 0.5, 1.0, 2.0))

KEEP = "keep"
"""The operation of zoneout's share of the old state: a vector given from outside at every timestep."""


@dataclass(frozen=True)
class Adjoint:
    """The gradient of a program, in the same kind of instructions.

    Its values are numbered on from the program's, whose values it uses. Three operations are its own:
    "gradient" (name: a state), the gradient of that state's new value; "gradient_seen" (name: a gate or state), the
    gradient of a value that was observed; and "transposed" (name: a vector's label; arguments: the δ of the affine maps
    that take it), the sum of Wᵀδ.

    Attributes:
        program: what was differentiated.
        instructions: the first one computes value `first`.
        deltas: for each affine map, by its number: the number of δ, or None where no gradient arrives.
        states: for each state, the part of its gradient that is no product, or None for zero.
        x: the part of x's gradient that is no product, or None.
        vectors: the gradient of each vector in this timestep, by (gate or "", name).
        totals: the gradient of every value of the timestep that a gradient reaches, by the value's number.
    """

    program: Program
    instructions: tuple[Instruction, ...]
    deltas: Mapping[int, Argument | None]
    states: tuple[Argument | None, ...]
    x: Argument | None
    vectors: Mapping[tuple[str, str], Argument]
    totals: Mapping[int, Argument]

    @property
    def first(self) -> int:
        """The number of the first value of the adjoint's own."""
        return self.program.first + len(self.program.instructions)

    def instruction(self, value: int) -> Instruction | None:
        """The instruction that computes a value, the program's or the adjoint's; None for x and the states."""
        return self.instructions[value - self.first] if value >= self.first else self.program.instruction(value)


def with_zoneout(program: Program) -> Program:
    """The program whose new states are keep * old + (1 - keep) * new, `keep` given from outside."""
    instructions = list(program.instructions)

    def emit(operation: str, *arguments: Argument) -> int:
        instructions.append(Instruction(operation, arguments))
        return program.first + len(instructions) - 1

    keep = emit(KEEP)
    share = emit("subtract", ONE, keep)
    outputs = tuple(
        emit("add", emit("multiply", keep, old), emit("multiply", share, new))
        for old, new in enumerate(program.outputs, 1)
    )
    return replace(program, instructions=tuple(instructions), outputs=outputs)


def takers(program: Program, value: int) -> list[int]:
    """The numbers of the affine maps that a value enters."""
    return [number for number, instruction in program.users(value) if instruction.operation == "affine"]


def value_seen(program: Program, name: str) -> int:
    """The number of the value that is observed under a name: a gate's, or a state's new value."""
    return program.outputs[program.states.index(name)] if name in program.states else program.observed[name]


@lru_cache(maxsize=256)
def differentiate(program: Program, seen: tuple[str, ...] = ()) -> Adjoint:
    """The adjoint of a program.

    Args:
        seen: gates and states whose gradient is given from outside too, because they were observed.
    """
    return _Reverse(program, seen).run()


class _Reverse:
    """Goes through the program's instructions from the last to the first, and hands each one's gradient on."""

    def __init__(self, program: Program, seen: tuple[str, ...]) -> None:
        self.program, self.seen = program, seen
        self.instructions: list[Instruction] = []
        self.numbers: dict[Instruction, int] = {}
        self.first = program.first + len(program.instructions)
        self.gradients: dict[int, list[Argument]] = {}
        self.vectors: dict[tuple[str, str], list[Argument]] = {}
        self.deltas: dict[int, Argument | None] = {}
        self.taken: set[Argument] = set()
        self.totals: dict[int, Argument] = {}

    def run(self) -> Adjoint:
        program = self.program
        for name, output in zip(program.states, program.outputs, strict=True):
            self.give(output, self.emit("gradient", name=name))
        for name in self.seen:
            self.give(value_seen(program, name), self.emit("gradient_seen", name=name))
        for number in reversed(range(program.first, self.first)):
            self.step(number)
        states = tuple(self.total(number) for number in range(1, program.first))
        x = self.total(0)
        vectors = {key: self.sum(parts) for key, parts in self.vectors.items()}
        return Adjoint(program, tuple(self.instructions), self.deltas, states, x, vectors, self.totals)

    def step(self, number: int) -> None:
        instruction = self.program.instructions[number - self.program.first]
        products = [self.deltas[user] for user in takers(self.program, number)]
        deltas = tuple(delta for delta in products if delta is not None)
        if deltas:
            self.give(number, self.emit("transposed", *deltas, name=self.program.label(number) or ""))
        gradient = self.total(number)
        if instruction.operation == "affine":
            self.deltas[number] = self.own(gradient, instruction.name)
        elif gradient is None:
            return
        elif instruction.operation == "vector":
            self.vectors.setdefault((instruction.gate or "", instruction.name), []).append(gradient)
        else:
            parts = RULES[instruction.operation](self, gradient, number, *instruction.arguments)
            for argument, part in zip(instruction.arguments, parts, strict=True):
                if type(argument) is int and part is not None:
                    self.give(argument, part)

    def give(self, value: int, part: Argument) -> None:
        self.gradients.setdefault(value, []).append(part)

    def total(self, value: int) -> Argument | None:
        parts = self.gradients.pop(value, [])
        if parts:
            self.totals[value] = self.sum(parts)
        return self.totals.get(value)

    def own(self, gradient: Argument | None, affine: str) -> Argument | None:
        """δ, as a value of this affine map's alone.

        Affine maps that meet in one sum have equal δ. Were it one value, Wᵀδ of two vectors that go by one name, such
        as r * h and u * h, would be the same expression, although their matrices differ.
        """
        if gradient is not None:
            gradient = self.emit("named", gradient, name=affine) if gradient in self.taken else gradient
            self.taken.add(gradient)
        return gradient

    def sum(self, parts: list[Argument]) -> Argument:
        result = parts[0]
        for part in parts[1:]:
            result = self.emit("add", result, part)
        return result

    def emit(self, operation: str, *arguments: Argument, name: str = "") -> int:
        instruction = Instruction(operation, arguments, name)
        number = self.numbers.setdefault(instruction, self.first + len(self.instructions))
        if number == self.first + len(self.instructions):  # else the same expression once more: σ' of a gate used twice
            self.instructions.append(instruction)
        return number

    def multiply(self, left: Argument, right: Argument) -> Argument:
        return left if right == ONE else self.emit("multiply", left, right)


Rule = Callable[..., tuple[Argument | None, ...]]
"""(the derivation, gradient of the result, the result, *arguments) to each argument's share of the gradient."""


def _divide(e: _Reverse, d: Argument, y: int, a: Argument, b: Argument) -> tuple[Argument, ...]:
    """y / b first, as autograd does: d / b may be infinite where y is 0."""
    return e.emit("divide", d, b), e.emit("negate", e.emit("multiply", d, e.emit("divide", y, b)))


def _softplus(e: _Reverse, d: Argument, y: int, a: Argument) -> tuple[Argument, ...]:
    above = e.emit("less", Constant(20.0), a)
    return (e.emit("where", above, d, e.emit("multiply", d, e.emit("sigmoid", a))),)


def _larger(e: _Reverse, d: Argument, y: int, a: Argument, b: Argument) -> tuple[Argument, ...]:
    """Half of the gradient each where the two are equal.

    Chosen, not multiplied: where d is infinite, the smaller one's share is 0, not NaN.
    """
    half = e.emit("multiply", HALF, d)

    def share(one: Argument, other: Argument) -> Argument:
        lost, tied = e.emit("less", one, other), e.emit("less_equal", one, other)
        return e.emit("where", lost, ZERO, e.emit("where", tied, half, d))

    return share(a, b), share(b, a)


def _smaller(e: _Reverse, d: Argument, y: int, a: Argument, b: Argument) -> tuple[Argument, ...]:
    first, second = _larger(e, d, y, a, b)
    return second, first


def _sigmoid(e: _Reverse, d: Argument, y: int, a: Argument) -> tuple[Argument, ...]:
    return (e.emit("multiply", d, e.emit("multiply", y, e.emit("subtract", ONE, y))),)


def _tanh(e: _Reverse, d: Argument, y: int, a: Argument) -> tuple[Argument, ...]:
    return (e.emit("multiply", d, e.emit("subtract", ONE, e.emit("square", y))),)


RULES: dict[str, Rule] = {
    "add": lambda e, d, y, a, b: (d, d),
    "subtract": lambda e, d, y, a, b: (d, e.emit("negate", d) if type(b) is int else None),
    "multiply": lambda e, d, y, a, b: (
        e.multiply(d, b) if type(a) is int else None,
        e.multiply(d, a) if type(b) is int else None,
    ),
    "divide": _divide,
    "negate": lambda e, d, y, a: (e.emit("negate", d),),
    "square": lambda e, d, y, a: (e.emit("multiply", d, e.emit("multiply", TWO, a)),),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": lambda e, d, y, a: (e.emit("where", e.emit("less_equal", y, ZERO), ZERO, d),),
    "exp": lambda e, d, y, a: (e.emit("multiply", d, y),),
    "log": lambda e, d, y, a: (e.emit("divide", d, a),),
    "sqrt": lambda e, d, y, a: (e.emit("divide", d, e.emit("multiply", TWO, y)),),
    "softplus": _softplus,
    "maximum": _larger,
    "minimum": _smaller,
    "less": lambda e, d, y, a, b: (None, None),
    "less_equal": lambda e, d, y, a, b: (None, None),
    "where": lambda e, d, y, c, a, b: (None, e.emit("where", c, d, ZERO), e.emit("where", c, ZERO, d)),
    "named": lambda e, d, y, a: (d,),
    KEEP: lambda e, d, y: (),
}
"""How each operation hands a gradient on to its arguments."""
