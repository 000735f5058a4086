"""The equations of a cell and its backpropagation through time, to be read: derived from the traced program alone.

`equations` writes a program as the course notes would, and `derive` adds what `adjoint.differentiate` makes of it: the
recurrence of the gradients, which runs from the last timestep to the first, and the sums after it.

    print(text_of(derive(trace(cell)).recurrence))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from unrolled.recurrence import expressions as e
from unrolled.recurrence.adjoint import Adjoint, differentiate, takers
from unrolled.recurrence.expressions import Expression, Symbol
from unrolled.recurrence.notation import Notation, gradient_of, loss_by, numbered
from unrolled.recurrence.program import Argument, Instruction, Program, TraceError
from unrolled.recurrence.typesetting import Equation

SHORT = 2
"""A value without a name is written out wherever it is used if it has this many symbols at most."""

OPERATIONS: dict[str, Callable[..., Expression]] = {
    "add": e.add,
    "subtract": e.subtract,
    "multiply": e.multiply,
    "divide": e.divide,
    "negate": e.negate,
    "square": e.Square,
    "less": lambda a, b: e.compare("<", a, b),
    "less_equal": lambda a, b: e.compare("≤", a, b),
    "where": e.where,
    "named": lambda a: a,
}
FUNCTIONS = {"sigmoid": "σ", "maximum": "max", "minimum": "min"}


@dataclass(frozen=True)
class Derivation:
    """A cell and its gradient.

    Attributes:
        equations: the step itself, with a symbol for everything that the gradient refers to.
        recurrence: the gradients of one timestep, in an order in which they can be computed; those of t+1 come first.
        sums: the parameters' gradients, and x⟨t⟩'s.
    """

    equations: tuple[Equation, ...]
    recurrence: tuple[Equation, ...]
    sums: tuple[Equation, ...]

    @property
    def compares(self) -> bool:
        """Whether a comparison stands in a formula: a reader should be told that it is 1 or 0."""
        every = (*self.equations, *self.recurrence, *self.sums)
        return any(isinstance(part, e.Comparison) for equation in every for part in e.walk(equation.right))


@lru_cache(maxsize=256)
def equations(program: Program) -> tuple[Equation, ...]:
    """A program's equations. An operation that is not one of `unrolled.cells` is written as a function by its name."""
    return tuple(_Step(program).equations())


@lru_cache(maxsize=256)
def derive(program: Program) -> Derivation:
    """A program's equations and its gradient.

    Raises:
        TraceError: the program holds an operation whose gradient is not known.
    """
    if program.opaque:
        raise TraceError(f'no gradient can be derived for the cell "{program.cell}": it uses {program.opaque}')
    gradient = _Gradient(differentiate(program))
    return Derivation(
        tuple(gradient.equations()), tuple(gradient.recurrence()), tuple(Equation(*pair) for pair in gradient.sums())
    )


class _Step:
    """A program's values as expressions."""

    def __init__(self, program: Program) -> None:
        self.program, self.notation = program, Notation(program)
        self.symbols: dict[int, Symbol] = {}
        self.live = self.reached()
        for number in range(program.first, program.first + len(program.instructions)):
            if symbol := self.notation.value(number):
                self.symbols[number] = symbol
        self.name_shared(range(program.first, program.first + len(program.instructions)))

    def instruction(self, number: int) -> Instruction | None:
        return self.program.instruction(number)

    def roots(self) -> list[int]:
        """The values that are shown for themselves."""
        return [*self.program.outputs, *self.program.observed.values()]

    def reached(self) -> set[int]:
        """Every value that a root is computed from."""
        found, waiting = set[int](), self.roots()
        while waiting:
            number = waiting.pop()
            made = self.instruction(number)
            if made is not None and number not in found:
                found.add(number)
                waiting += self.used_by(made)
        return found

    def used_by(self, made: Instruction) -> list[int]:
        return [argument for argument in made.arguments if type(argument) is int]

    def name_shared(self, numbers: range) -> None:
        """Give a symbol to every value that is used more than once and is not short."""
        lines = [self.instruction(number) for number in sorted(self.live)]
        uses = Counter(value for made in lines if made is not None for value in self.used_by(made))
        for number in numbers:
            shared = number in self.live and number not in self.symbols and uses[number] > 1
            if shared and e.leaves(self.expression(number)) > SHORT:
                self.symbols[number] = self.new_symbol(number)

    def new_symbol(self, number: int) -> Symbol:
        made = self.instruction(number)
        if made is not None and made.operation == "affine":
            return self.notation.preactivation(made)
        taken = [symbol.text for symbol in self.symbols.values()]
        return next(symbol for k in range(1, len(taken) + 2) if (symbol := numbered("v", k)).text not in taken)

    def expression(self, value: Argument) -> Expression:
        """A value as it stands in formulas: its symbol, or what it is computed from."""
        if type(value) is not int:
            return e.Number(float(value))
        if value < self.program.first:
            return self.notation.state(value - 1, -1) if value else self.notation.x()
        return self.symbols.get(value) or self.definition(value)

    def definition(self, number: int) -> Expression:
        """What a value is computed from."""
        made = self.instruction(number)
        if made is None:
            return self.expression(number)
        if made.operation == "vector":
            return self.notation.vector(made.name, made.gate)
        arguments = [self.expression(argument) for argument in made.arguments]
        if made.operation == "affine":
            return self.affine(made, tuple(arguments))
        if made.operation in OPERATIONS:
            return OPERATIONS[made.operation](*arguments)
        name = made.name.removeprefix("torch's ").strip(".").replace(" ", "_") or made.operation
        return e.Call(FUNCTIONS.get(name, name), tuple(arguments))

    def affine(self, made: Instruction, vectors: tuple[Expression, ...]) -> Expression:
        """W_u[c, x] + b_u, or W_cx x + b_cx."""
        matrix = self.notation.stacked(made)
        product: Expression = e.Stacked(matrix, vectors)
        if len(vectors) == 1:
            product = e.MatrixProduct(matrix, vectors[0])
        return e.add(product, self.notation.bias(made)) if made.bias else product

    def equations(self) -> Iterator[Equation]:
        """Every value that has a symbol, in the order of the step."""
        last = self.program.first + len(self.program.instructions)
        for number in range(self.program.first, last):
            if number in self.symbols and number in self.live:
                yield Equation(self.symbols[number], self.definition(number))
        for index, output in enumerate(self.program.outputs):  # a state that is an old one, x, or another new one
            if self.symbols.get(output) != self.notation.state(index):
                yield Equation(self.notation.state(index), self.expression(output))


class _Gradient(_Step):
    """A program's values and those of its adjoint as expressions."""

    def __init__(self, adjoint: Adjoint) -> None:
        self.adjoint = adjoint
        super().__init__(adjoint.program)
        self.name_states()
        self.name_deltas()
        self.name_shared(range(adjoint.first, adjoint.first + len(adjoint.instructions)))
        self.numbers = {symbol: number for number, symbol in self.symbols.items()}

    def instruction(self, number: int) -> Instruction | None:
        return self.adjoint.instruction(number)

    def roots(self) -> list[int]:
        adjoint = self.adjoint
        found = [*adjoint.deltas.values(), *adjoint.states, adjoint.x, *adjoint.vectors.values()]
        totals = [adjoint.totals[output] for output in self.program.outputs]
        return [*super().roots(), *(value for value in [*found, *totals] if type(value) is int)]

    def used_by(self, made: Instruction) -> list[int]:
        # The vectors of an affine map stand in its weights' gradient once more.
        return super().used_by(made) * (2 if made.operation == "affine" else 1)

    def arrival(self, index: int) -> int:
        """The number of the adjoint's value "gradient of state `index`"."""
        line = Instruction("gradient", (), self.program.states[index])
        return self.adjoint.first + self.adjoint.instructions.index(line)

    def total_of(self, index: int) -> int:
        """The number of a state's gradient: all that arrives at its new value, where that value is this state's own."""
        output = self.program.outputs[index]
        total = self.adjoint.totals[output]
        own = output >= self.program.first and self.program.outputs.count(output) == 1
        return total if own and type(total) is int else self.arrival(index)

    def name_states(self) -> None:
        for index in range(len(self.program.states)):
            self.symbols[self.total_of(index)] = gradient_of(self.notation.state(index))

    def name_deltas(self) -> None:
        for number, delta in sorted(self.adjoint.deltas.items()):
            made = self.instruction(number)
            if made is not None and type(delta) is int:
                self.symbols.setdefault(delta, self.notation.delta(made))

    def new_symbol(self, number: int) -> Symbol:
        if number < self.adjoint.first:
            return super().new_symbol(number)
        taken = [symbol.text for symbol in self.symbols.values()]
        for value, total in self.adjoint.totals.items():
            if total == number and value in self.symbols:
                symbol = gradient_of(self.symbols[value])
                if symbol.text not in taken:
                    return symbol
        return next(symbol for k in range(1, len(taken) + 2) if (symbol := numbered("g", k)).text not in taken)

    def definition(self, number: int) -> Expression:
        made = self.instruction(number)
        if made is None or number < self.adjoint.first:
            return super().definition(number)
        if made.operation == "gradient":
            return Symbol(f"?{made.name}", "")  # `state_gradient` puts what arrives in its place
        if made.operation == "transposed":
            return self.transposed(self._vector_of(made))
        return e.factored(super().definition(number))

    def _vector_of(self, made: Instruction) -> int:
        """The value whose Wᵀδ an instruction of the adjoint is."""
        for number in range(self.program.first, self.adjoint.first):
            deltas = tuple(self.adjoint.deltas[taker] for taker in self.reaching(number))
            if deltas == made.arguments and self.program.label(number) == made.name:
                return number
        raise AssertionError(f"no vector {made.name} enters these affine maps")

    def reaching(self, number: int) -> list[int]:
        """The affine maps that a value enters and that a gradient reaches."""
        return [taker for taker in takers(self.program, number) if self.adjoint.deltas[taker] is not None]

    def transposed(self, number: int) -> Expression:
        """The sum of Wᵀδ over the affine maps that a value enters."""
        products = []
        for taker in self.reaching(number):
            made, delta = self.instruction(taker), self.adjoint.deltas[taker]
            if made is not None and delta is not None:
                products.append(e.MatrixProduct(self.notation.block(made, number), self.delta_symbol(taker), True))
        return e.add(*products)

    def delta_symbol(self, affine: int) -> Symbol:
        made = self.instruction(affine)
        assert made is not None
        return self.notation.delta(made)

    def recurrence(self) -> list[Equation]:
        """The gradients of one timestep, each after those that it needs."""
        order = _Order(self)
        for number in reversed(range(self.adjoint.first)):
            for index, output in enumerate(self.program.outputs):
                if output == number:
                    order.write(gradient_of(self.notation.state(index)))
            if number in self.adjoint.deltas:
                order.write(self.delta_symbol(number))
        return order.finished()

    def defined(self, symbol: Symbol) -> Expression | None:
        """The formula of a gradient, or None if the symbol is none that the recurrence defines."""
        for index in range(len(self.program.states)):
            if symbol == gradient_of(self.notation.state(index)):
                return self.state_gradient(index)
        for affine, delta in self.adjoint.deltas.items():
            if symbol == self.delta_symbol(affine):
                return self.delta(symbol, delta)
        number = self.numbers.get(symbol, 0)
        return self.definition(number) if number >= self.adjoint.first else None

    def delta(self, symbol: Symbol, delta: Argument | None) -> Expression:
        if delta is None:
            return e.ZERO
        named = self.expression(delta)
        return self.definition(delta) if named == symbol and type(delta) is int else named

    def state_gradient(self, index: int) -> Expression:
        """∂L/∂a, if it is the output; what this timestep adds; and what comes from t+1."""
        state = self.notation.state(index)
        total = self.total_of(index)
        added = () if total == self.arrival(index) else e.terms_of(self.definition(total))
        placeholder = self.definition(self.arrival(index))
        own = [loss_by(state)] if index == 0 else []
        return e.add(*own, *(term for term in added if term != placeholder), e.later(self.handed_on(index + 1)))

    def handed_on(self, number: int) -> Expression:
        """The gradient of x or of a state of the timestep before."""
        pointwise = self.adjoint.states[number - 1] if number else self.adjoint.x
        parts = [] if pointwise is None else [self.expression(pointwise)]
        return e.add(*parts, self.transposed(number))

    def sums(self) -> Iterator[tuple[Symbol, Expression]]:
        """dW, db and the vectors' gradients, summed over time; dx of each timestep."""
        for affine in sorted(self.adjoint.deltas):
            made, delta = self.instruction(affine), self.delta_symbol(affine)
            assert made is not None
            vectors = tuple(self.expression(argument) for argument in made.arguments)
            yield gradient_of(self.notation.stacked(made)), e.OverTime(e.Outer(delta, vectors))
            if made.bias:
                yield gradient_of(self.notation.bias(made)), e.OverTime(delta)
        for (gate, name), gradient in sorted(self.adjoint.vectors.items()):
            yield gradient_of(self.notation.vector(name, gate or None)), e.OverTime(self.expression(gradient))
        yield gradient_of(self.notation.x()), self.handed_on(0)


class _Order:
    """Writes definitions down, each after those of the same timestep that it needs."""

    def __init__(self, gradient: _Gradient) -> None:
        self.gradient = gradient
        self.seen: set[Symbol] = set()
        self.of_later: list[Symbol] = []
        self.found: list[Equation] = []

    def write(self, symbol: Symbol) -> None:
        if symbol in self.seen:
            return
        self.seen.add(symbol)
        definition = self.gradient.defined(symbol)
        if definition is None:
            return
        for needed in e.symbols_in(definition):
            if needed.time == 0:
                self.write(needed)
            elif needed.time == 1:
                self.of_later.append(replace(needed, time=0))
        self.found.append(Equation(symbol, definition))

    def finished(self) -> list[Equation]:
        """All of them, with what only the timestep before asks for at the end."""
        while self.of_later:
            self.write(self.of_later.pop(0))
        for _, formula in self.gradient.sums():
            for needed in e.symbols_in(formula):
                self.write(needed)
        return self.found
