"""A program's values as expressions, with a symbol for each that has a name or is used more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from unrolled.recurrence.formulas import algebra
from unrolled.recurrence.formulas.expressions import Call, Expression, MatrixProduct, Number, Square, Stacked, Symbol
from unrolled.recurrence.formulas.notation import Notation, numbered
from unrolled.recurrence.formulas.typesetting import Equation
from unrolled.recurrence.program import Argument, Instruction, Program

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
FUNCTIONS = {"sigmoid": "σ", "maximum": "max", "minimum": "min"}


class Step:
    """A program's values as expressions."""

    def __init__(self, program: Program) -> None:
        self.program, self.notation = program, Notation(program)
        self.symbols: dict[int, Symbol] = {}
        self.live = self.reached()
        for number in range(program.first, program.first + len(program.instructions)):
            if symbol := self.notation.value(number):
                self.name(number, symbol)
        self.name_shared(range(program.first, program.first + len(program.instructions)))

    def name(self, number: int, symbol: Symbol) -> None:
        """Give a value its symbol; what `named` names, too."""
        self.symbols[number] = symbol
        made = self.program.instruction(number)
        if made is not None and made.operation == "named" and type(made.arguments[0]) is int:
            inner = self.program.instruction(made.arguments[0])
            if inner is not None and made.arguments[0] not in self.symbols and inner.operation != "vector":
                self.name(made.arguments[0], symbol)

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
            if shared and not algebra.is_short(self.expression(number)):
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
            return Number(float(value))
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
