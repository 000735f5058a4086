"""A program's values as expressions, with a symbol for each that has a name or is used more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from unrolled.recurrence.formulas import algebra
from unrolled.recurrence.formulas.expressions import (
    Call,
    Expression,
    MatrixProduct,
    Number,
    Square,
    Stacked,
    Symbol,
    walk,
)
from unrolled.recurrence.formulas.notation import Notation, numbered
from unrolled.recurrence.formulas.typesetting import Equation
from unrolled.recurrence.program import Argument, Constant, Instruction, Program, values_of

OPERATIONS: dict[str, Callable[..., Expression]] = {
    "add": algebra.add,
    "subtract": algebra.subtract,
    "multiply": algebra.multiply,
    "divide": algebra.divide,
    "negate": algebra.negate,
    "square": Square,
    "less": lambda a, b: algebra.compare("<", a, b),
    "less_equal": lambda a, b: algebra.compare("≤", a, b),
    "where": algebra.where,
    "named": lambda a: a,
}
LONGEST = 100
"""A formula of more symbols, numbers and operations is cut into several: some value inside it gets a symbol."""

FUNCTIONS = {"sigmoid": "σ", "maximum": "max", "minimum": "min"}


class Step:
    """A program's values as expressions."""

    def __init__(self, program: Program) -> None:
        self.program, self.notation = program, Notation(program)
        self.symbols: dict[int, Symbol] = {}
        self.definitions: dict[int, Expression] = {}
        self.taken: set[str] = set()
        self.last = Counter[str]()
        self.live = self.reached()
        for number in range(program.first, program.first + len(program.instructions)):
            if symbol := self.notation.value(number):
                self.name(number, symbol)
        self.name_shared(range(program.first, program.first + len(program.instructions)))

    def name(self, number: int, symbol: Symbol) -> None:
        """Give a value its symbol; what `named` names, too."""
        self.set_symbol(number, symbol)
        made = self.program.instruction(number)
        while made is not None and made.operation == "named" and values_of(made):
            (number,) = values_of(made)
            made = self.program.instruction(number)
            if made is None or number in self.symbols or made.operation == "vector":
                return
            self.set_symbol(number, symbol)

    def set_symbol(self, number: int, symbol: Symbol) -> None:
        self.symbols[number] = symbol
        self.taken.add(symbol.text)

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
        return values_of(made)

    def name_shared(self, numbers: range) -> None:
        """Give a symbol to every value that is used more than once and is not short, or that is long.

        Values are looked at in the order of computing them, so each formula is made of finished ones.
        """
        lines = [self.instruction(number) for number in sorted(self.live)]
        uses = Counter(value for made in lines if made is not None for value in self.used_by(made))
        for number in numbers:
            if number in self.live and number not in self.symbols:
                formula = self.definition(number)
                shared = uses[number] > 1 and not algebra.is_short(formula)
                if shared or sum(1 for _ in walk(formula)) > LONGEST:
                    self.set_symbol(number, self.new_symbol(number))

    def new_symbol(self, number: int) -> Symbol:
        made = self.instruction(number)
        if made is not None and made.operation == "affine":
            return self.notation.preactivation(made)
        return self.next_symbol("v")

    def next_symbol(self, head: str) -> Symbol:
        """v₁, v₂, ...: the first that is not taken."""
        while True:
            self.last[head] += 1
            symbol = numbered(head, self.last[head])
            if symbol.text not in self.taken:
                return symbol

    def expression(self, value: Argument) -> Expression:
        """A value as it stands in formulas: its symbol, or what it is computed from."""
        if isinstance(value, Constant):
            return Number(value.value)
        if value < self.program.first:
            return self.notation.state(value - 1, -1) if value else self.notation.x()
        return self.symbols.get(value) or self.definition(value)

    def definition(self, number: int) -> Expression:
        """What a value is computed from."""
        if number not in self.definitions:
            self.definitions[number] = self.defined_by(number)
        return self.definitions[number]

    def defined_by(self, number: int) -> Expression:
        """The formula of a value, of the symbols and formulas of its arguments."""
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
        return Call(FUNCTIONS.get(name, name), tuple(arguments))

    def affine(self, made: Instruction, vectors: tuple[Expression, ...]) -> Expression:
        """W_u[c, x] + b_u, or W_cx x + b_cx."""
        matrix = self.notation.stacked(made)
        product: Expression = Stacked(matrix, vectors)
        if len(vectors) == 1:
            product = MatrixProduct(matrix, vectors[0])
        return algebra.add(product, self.notation.bias(made)) if made.bias else product

    def equations(self) -> Iterator[Equation]:
        """Every value that has a symbol, in the order of the step."""
        last = self.program.first + len(self.program.instructions)
        for number in range(self.program.first, last):
            if number in self.symbols and number in self.live:
                definition = self.definition(number)
                if definition != self.symbols[number]:
                    yield Equation(self.symbols[number], definition)
        for index, output in enumerate(self.program.outputs):  # a state that is an old one, x, or another new one
            if self.symbols.get(output) != self.notation.state(index):
                yield Equation(self.notation.state(index), self.expression(output))
