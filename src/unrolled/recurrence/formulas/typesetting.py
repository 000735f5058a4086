"""Formulas as characters: plain text for a terminal, in the course notes' notation, and LaTeX."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from unrolled.recurrence.formulas.algebra import coefficient, multiply, terms_of
from unrolled.recurrence.formulas.expressions import (
    Call,
    Comparison,
    Expression,
    MatrixProduct,
    Number,
    Outer,
    OverTime,
    Product,
    Quotient,
    Square,
    Stacked,
    Sum,
    Symbol,
)

WIDTH = 100
"""A longer equation goes on in the next line, at a plus or minus."""


@dataclass(frozen=True)
class Equation:
    """left = right, which holds at every timestep t."""

    left: Symbol
    right: Expression


class Style(ABC):
    """What text and LaTeX have in common: the order of everything, and where parentheses must stand."""

    def of(self, expression: Expression) -> str:
        """A formula in this style."""
        match expression:
            case Symbol():
                return self.symbol(expression)
            case Number(value):
                return self.number(value)
            case Sum():
                return " ".join(self.pieces(expression))
            case Product(factors):
                return self.product(factors)
            case Comparison():
                return self.grouped(self.comparison(expression))
            case Outer(left, vectors):
                return f"{self.factor(left)} {self.transposed(self.column(vectors))}"
            case OverTime(term):
                return f"{self.sigma} {self.factor(term) if isinstance(term, Sum) else self.of(term)}"
            case MatrixProduct(matrix, vector, flipped):
                weights = self.symbol(matrix)
                return f"{self.transposed(weights) if flipped else weights} {self.atom(vector)}"
            case Stacked(matrix, vectors):
                return self.symbol(matrix) + self.listed(vectors)
            case Quotient(top, bottom):
                return self.quotient(top, bottom)
            case Square(base):
                return self.square(base)
            case Call(name, arguments):
                return self.call(name, [self.argument(argument) for argument in arguments])
        raise TypeError(f"{type(expression).__name__} is no formula that can be written")

    def pieces(self, expression: Expression) -> list[str]:
        """The terms of a sum, each but the first with its sign before it."""
        first, *others = terms_of(expression)
        pieces = [self.of(first)]
        for term in others:
            sign, size = ("-", multiply(Number(-1.0), term)) if coefficient(term) < 0 else ("+", term)
            pieces.append(f"{sign} {self.grouped(self.of(size)) if isinstance(size, Sum) else self.of(size)}")
        return pieces

    def product(self, factors: tuple[Expression, ...]) -> str:
        """Factors: -1 as a sign, and a number over something as 2 / v, not 2 * 1 / v."""
        match factors:
            case (Number(-1.0), MatrixProduct() as only):
                return f"-{self.of(only)}"
            case (Number(-1.0), *others):
                return f"-{self.product(tuple(others))}"
            case (Number() as top, Quotient(Number(1.0), bottom)):
                return self.quotient(top, bottom)
        return " * ".join(self.factor(factor) for factor in factors)

    def factor(self, expression: Expression) -> str:
        """A formula as part of a product."""
        text = self.of(expression)
        return self.grouped(text) if isinstance(expression, Sum | MatrixProduct | OverTime) else text

    def atom(self, expression: Expression) -> str:
        """A formula where only one that holds together by itself may stand."""
        text = self.of(expression)
        return text if isinstance(expression, Symbol | Call | Comparison) else self.grouped(text)

    def argument(self, expression: Expression) -> str:
        """A formula between commas, where a comparison needs no parentheses."""
        return self.comparison(expression) if isinstance(expression, Comparison) else self.of(expression)

    def comparison(self, expression: Comparison) -> str:
        return f"{self.of(expression.left)} {self.sign(expression.sign)} {self.of(expression.right)}"

    def column(self, vectors: tuple[Expression, ...]) -> str:
        return self.atom(vectors[0]) if len(vectors) == 1 else self.listed(vectors)

    sigma: str

    @abstractmethod
    def symbol(self, symbol: Symbol) -> str: ...
    @abstractmethod
    def number(self, value: float) -> str: ...
    @abstractmethod
    def grouped(self, text: str) -> str: ...
    @abstractmethod
    def transposed(self, text: str) -> str: ...
    @abstractmethod
    def listed(self, vectors: tuple[Expression, ...]) -> str: ...
    @abstractmethod
    def quotient(self, top: Expression, bottom: Expression) -> str: ...
    @abstractmethod
    def square(self, base: Expression) -> str: ...
    @abstractmethod
    def call(self, name: str, arguments: list[str]) -> str: ...
    @abstractmethod
    def sign(self, sign: str) -> str: ...


def _moment(symbol: Symbol) -> str | None:
    """t, t+1 or t-1; None where nothing is to be said."""
    if symbol.time is None or (symbol.silent and symbol.time == 0):
        return None
    return f"t{symbol.time:+d}" if symbol.time else "t"


class Text(Style):
    """Plain text: c⟨t⟩ = Γ_u * c̃⟨t⟩ + (1 - Γ_u) * c⟨t-1⟩."""

    sigma = "Σ_t"

    def symbol(self, symbol: Symbol) -> str:
        moment = _moment(symbol)
        if moment and "∂" in symbol.text:  # the loss of a timestep by the state of that timestep
            return symbol.text.replace("/", f"⟨{moment}⟩/") + f"⟨{moment}⟩"
        return f"{symbol.text}⟨{moment}⟩" if moment else symbol.text

    def number(self, value: float) -> str:
        return f"{value:.0f}" if value == round(value, 0) and abs(value) < 1e15 else repr(value)

    def grouped(self, text: str) -> str:
        return f"({text})"

    def transposed(self, text: str) -> str:
        return f"{text}ᵀ"

    def listed(self, vectors: tuple[Expression, ...]) -> str:
        return f"[{', '.join(self.argument(vector) for vector in vectors)}]"

    def quotient(self, top: Expression, bottom: Expression) -> str:
        below = self.grouped(self.of(bottom)) if isinstance(bottom, Product | Quotient) else self.factor(bottom)
        return f"{self.factor(top)} / {below}"

    def square(self, base: Expression) -> str:
        return f"{self.atom(base)}²"

    def call(self, name: str, arguments: list[str]) -> str:
        return f"{name}({', '.join(arguments)})"

    def sign(self, sign: str) -> str:
        return sign


FUNCTIONS = {name: rf"\{name}" for name in ("tanh", "exp", "log", "max", "min")} | {"σ": r"\sigma"}
SIGNS = {"≤": r"\leq", "≥": r"\geq"}


class Latex(Style):
    """LaTeX for math mode; no package is needed."""

    sigma = r"\sum_{t}"

    def symbol(self, symbol: Symbol) -> str:
        moment = _moment(symbol)
        mark = rf"^{{\langle {moment} \rangle}}" if moment else ""
        return symbol.latex.replace("@", mark) if "@" in symbol.latex else symbol.latex + mark

    def number(self, value: float) -> str:
        digits, _, exponent = Text().number(value).partition("e")
        return rf"{digits} \cdot 10^{{{int(exponent)}}}" if exponent else digits.replace("inf", r"\infty")

    def grouped(self, text: str) -> str:
        return rf"\left({text}\right)"

    def transposed(self, text: str) -> str:
        # a superscript of its own for the timestep is there already: {x^{⟨t⟩}}^⊤
        return rf"{{{text}}}^{{\top}}" if "^" in text else rf"{text}^{{\top}}"

    def listed(self, vectors: tuple[Expression, ...]) -> str:
        return rf"\left[{', '.join(self.argument(vector) for vector in vectors)}\right]"

    def quotient(self, top: Expression, bottom: Expression) -> str:
        return rf"\frac{{{self.of(top)}}}{{{self.of(bottom)}}}"

    def square(self, base: Expression) -> str:
        text = self.atom(base)
        return f"{self.grouped(text) if isinstance(base, Symbol) and '^' in text else text}^{{2}}"

    def call(self, name: str, arguments: list[str]) -> str:
        if name == "sqrt":
            return rf"\sqrt{{{arguments[0]}}}"
        return FUNCTIONS.get(name, upright(name)) + self.grouped(", ".join(arguments))

    def sign(self, sign: str) -> str:
        return SIGNS.get(sign, sign)


def upright(name: str) -> str:
    """A name in LaTeX: one letter as it is, a word upright."""
    return name if len(name) == 1 else r"\mathrm{" + name.replace("_", r"\_") + "}"


def text_of(equations: Sequence[Equation]) -> str:
    """Equations as plain text, one a line, aligned at their equals signs."""
    style = Text()
    widest = max((_width(style.symbol(equation.left)) for equation in equations), default=0)
    lines = []
    for equation in equations:
        left = style.symbol(equation.left)
        start = f"{left}{' ' * (widest - _width(left))} = "
        pieces = style.pieces(equation.right)
        for first, last in _rows(pieces, widest + 3):
            lines.append(start + " ".join(pieces[first:last]))
            start = " " * (widest + 3)
    return "\n".join(lines)


def latex_of(equations: Sequence[Equation]) -> str:
    """Equations as an `align*` of LaTeX (amsmath)."""
    style, rows = Latex(), []
    for equation in equations:
        start, pieces = f"{style.symbol(equation.left)} &= ", style.pieces(equation.right)
        for first, last in _rows(Text().pieces(equation.right), 12):
            rows.append(start + " ".join(pieces[first:last]))
            start = r"&\quad "
    return "\n".join([r"\begin{align*}", " \\\\\n".join(rows), r"\end{align*}"])


def _rows(pieces: list[str], indent: int) -> Iterator[tuple[int, int]]:
    """Which pieces go into each line: (first, last + 1), as many as the width takes."""
    starts, used = [0], indent + _width(pieces[0])
    for number, piece in enumerate(pieces[1:], 1):
        used += 1 + _width(piece)
        if used > WIDTH:
            starts.append(number)
            used = indent + _width(piece)
    return iter(pairwise([*starts, len(pieces)]))


def _width(text: str) -> int:
    """How many places a text takes on a terminal: the tilde over c takes none."""
    return sum(not unicodedata.combining(sign) for sign in text)
