"""The adjoint of a program as expressions: backpropagation through time, as the textbooks print it.

The adjoint hands a state's gradient from a timestep to the one before. Here each gradient is one equation instead: what
the adjoint hands on at t+1 stands in it one timestep later, as in da⟨t⟩ = ∂L⟨t⟩/∂a⟨t⟩ + W_aaᵀ δ_a⟨t+1⟩.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from unrolled.recurrence.adjoint import Adjoint, takers
from unrolled.recurrence.formulas import algebra
from unrolled.recurrence.formulas.expressions import (
    ZERO,
    Expression,
    MatrixProduct,
    Outer,
    OverTime,
    Symbol,
    later,
    symbols_in,
)
from unrolled.recurrence.formulas.notation import gradient_of, loss_by
from unrolled.recurrence.formulas.step import Step
from unrolled.recurrence.formulas.typesetting import Equation
from unrolled.recurrence.program import Argument, Instruction


class Gradient(Step):
    """A program's values and those of its adjoint as expressions."""

    def __init__(self, adjoint: Adjoint) -> None:
        self.adjoint = adjoint
        self.arrivals = {
            made.name: number
            for number, made in enumerate(adjoint.instructions, adjoint.first)
            if made.operation == "gradient"
        }
        self.output_counts = Counter(adjoint.program.outputs)
        self.values_of_total: dict[Argument, list[int]] = {}
        for value, total in adjoint.totals.items():
            self.values_of_total.setdefault(total, []).append(value)
        self.vectors: dict[tuple[tuple[Argument, ...], str | None], int] = {}
        for number in range(adjoint.program.first, adjoint.first):
            deltas = tuple(
                delta for taker in takers(adjoint.program, number) if (delta := adjoint.deltas[taker]) is not None
            )
            self.vectors.setdefault((deltas, adjoint.program.label(number)), number)
        super().__init__(adjoint.program)
        self.name_states()
        self.name_deltas()
        self.name_shared(range(adjoint.first, adjoint.first + len(adjoint.instructions)))
        self.numbers = {symbol: number for number, symbol in self.symbols.items()}
        self.meanings: dict[Symbol, Callable[[], Expression]] = {}
        for index in range(len(self.program.states)):
            self.meanings.setdefault(gradient_of(self.notation.state(index)), partial(self.state_gradient, index))
        for affine, delta in adjoint.deltas.items():
            symbol = self.delta_symbol(affine)
            self.meanings.setdefault(symbol, partial(self.delta, symbol, delta))

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
        return self.arrivals[self.program.states[index]]

    def total_of(self, index: int) -> int:
        """The number of a state's gradient: all that arrives at its new value, where that value is this state's own."""
        output = self.program.outputs[index]
        total = self.adjoint.totals[output]
        own = output >= self.program.first and self.output_counts[output] == 1
        return total if own and type(total) is int else self.arrival(index)

    def name_states(self) -> None:
        for index in range(len(self.program.states)):
            self.set_symbol(self.total_of(index), gradient_of(self.notation.state(index)))

    def name_deltas(self) -> None:
        for number, delta in sorted(self.adjoint.deltas.items()):
            made = self.instruction(number)
            if made is not None and type(delta) is int and delta not in self.symbols:
                self.set_symbol(delta, self.notation.delta(made))

    def new_symbol(self, number: int) -> Symbol:
        if number < self.adjoint.first:
            return super().new_symbol(number)
        for value in self.values_of_total.get(number, ()):
            if value in self.symbols:
                symbol = gradient_of(self.symbols[value])
                if symbol.text not in self.taken:
                    return symbol
        return self.next_symbol("g")

    def defined_by(self, number: int) -> Expression:
        made = self.instruction(number)
        if made is None or number < self.adjoint.first:
            return super().defined_by(number)
        if made.operation == "gradient":
            return Symbol(f"?{made.name}", "")  # `state_gradient` puts what arrives in its place
        if made.operation == "transposed":
            return self.transposed(self._vector_of(made))
        return algebra.factored(super().defined_by(number))

    def _vector_of(self, made: Instruction) -> int:
        """The value whose Wᵀδ an instruction of the adjoint is."""
        return self.vectors[made.arguments, made.name]

    def reaching(self, number: int) -> list[int]:
        """The affine maps that a value enters and that a gradient reaches."""
        return [taker for taker in takers(self.program, number) if self.adjoint.deltas[taker] is not None]

    def transposed(self, number: int) -> Expression:
        """The sum of Wᵀδ over the affine maps that a value enters."""
        products = []
        for taker in self.reaching(number):
            made, delta = self.instruction(taker), self.adjoint.deltas[taker]
            if made is not None and delta is not None:
                products.append(MatrixProduct(self.notation.block(made, number), self.delta_symbol(taker), True))
        return algebra.add(*products)

    def delta_symbol(self, affine: int) -> Symbol:
        made = self.instruction(affine)
        assert made is not None
        return self.notation.delta(made)

    def recurrence(self) -> list[Equation]:
        """The gradients of one timestep, each after those that it needs."""
        order = _Order(self)
        states: dict[int, list[int]] = {}
        for index, output in enumerate(self.program.outputs):
            states.setdefault(output, []).append(index)
        for number in reversed(range(self.adjoint.first)):
            for index in states.get(number, ()):
                order.write(gradient_of(self.notation.state(index)))
            if number in self.adjoint.deltas:
                order.write(self.delta_symbol(number))
        return order.finished()

    def defined(self, symbol: Symbol) -> Expression | None:
        """The formula of a gradient, or None if the symbol is none that the recurrence defines."""
        if symbol in self.meanings:
            return self.meanings[symbol]()
        number = self.numbers.get(symbol, 0)
        return self.definition(number) if number >= self.adjoint.first else None

    def delta(self, symbol: Symbol, delta: Argument | None) -> Expression:
        if delta is None:
            return ZERO
        named = self.expression(delta)
        return self.definition(delta) if named == symbol and type(delta) is int else named

    def state_gradient(self, index: int) -> Expression:
        """∂L/∂a, if it is the output; what this timestep adds; and what comes from t+1."""
        state = self.notation.state(index)
        total = self.total_of(index)
        added = () if total == self.arrival(index) else algebra.terms_of(self.definition(total))
        placeholder = self.definition(self.arrival(index))
        own = [loss_by(state)] if index == 0 else []
        return algebra.add(*own, *(term for term in added if term != placeholder), later(self.handed_on(index + 1)))

    def handed_on(self, number: int) -> Expression:
        """The gradient of x or of a state of the timestep before."""
        pointwise = self.adjoint.states[number - 1] if number else self.adjoint.x
        parts = [] if pointwise is None else [self.expression(pointwise)]
        return algebra.add(*parts, self.transposed(number))

    def sums(self) -> Iterator[tuple[Symbol, Expression]]:
        """dW, db and the vectors' gradients, summed over time; dx of each timestep."""
        for affine in sorted(self.adjoint.deltas):
            made, delta = self.instruction(affine), self.delta_symbol(affine)
            assert made is not None
            vectors = tuple(self.expression(argument) for argument in made.arguments)
            yield gradient_of(self.notation.stacked(made)), OverTime(Outer(delta, vectors))
            if made.bias:
                yield gradient_of(self.notation.bias(made)), OverTime(delta)
        for made in dict.fromkeys(self.program.instructions):
            gradient = self.adjoint.vectors.get((made.gate or "", made.name))
            if made.operation == "vector" and gradient is not None:
                yield gradient_of(self.notation.vector(made.name, made.gate)), OverTime(self.expression(gradient))
        yield gradient_of(self.notation.x()), self.handed_on(0)


class _Order:
    """Writes definitions down, each after those of the same timestep that it needs."""

    def __init__(self, gradient: Gradient) -> None:
        self.gradient = gradient
        self.seen: set[Symbol] = set()
        self.of_later = deque[Symbol]()
        self.found: list[Equation] = []

    def write(self, symbol: Symbol) -> None:
        waiting = [self._entered(symbol)]
        while waiting:  # not by recursion: thousands of values may need one another
            equation, needed = waiting[-1]
            following = next(needed, None)
            if following is not None:
                waiting.append(self._entered(following))
                continue
            waiting.pop()
            if equation is not None:
                self.found.append(equation)

    def _entered(self, symbol: Symbol) -> tuple[Equation | None, Iterator[Symbol]]:
        """The equation of a symbol, and what must be written before it; None if it has none or was entered before."""
        definition = None if symbol in self.seen else self.gradient.defined(symbol)
        self.seen.add(symbol)
        if definition is None:
            return None, iter(())
        return Equation(symbol, definition), self._needed(definition)

    def _needed(self, definition: Expression) -> Iterator[Symbol]:
        for needed in symbols_in(definition):
            if needed.time == 1:
                self.of_later.append(replace(needed, time=0))
            elif needed.time == 0:
                yield needed

    def finished(self) -> list[Equation]:
        """All of them, with what only the timestep before asks for at the end."""
        while self.of_later:
            self.write(self.of_later.popleft())
        for _, formula in self.gradient.sums():
            for needed in symbols_in(formula):
                self.write(needed)
        return self.found
