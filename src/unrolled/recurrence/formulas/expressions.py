"""Formulas as people read them: a handful of forms. `algebra` builds them, `typesetting` writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Expression:
    """A formula; each subclass is one form."""


@dataclass(frozen=True)
class Number(Expression):
    """A constant."""

    value: float


@dataclass(frozen=True)
class Symbol(Expression):
    """A letter, in text and in LaTeX.

    Attributes:
        time: 0 for timestep t, 1 for t+1, -1 for t-1; None for a parameter, which is the same at every timestep.
        silent: whether timestep t itself goes without saying, as in Γ_u.
    """

    text: str
    latex: str
    time: int | None = None
    silent: bool = False


@dataclass(frozen=True)
class Sum(Expression):
    """Terms added up; those with a negative coefficient are subtracted."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Product(Expression):
    """Factors, element by element; a number comes first."""

    factors: tuple[Expression, ...]


@dataclass(frozen=True)
class Quotient(Expression):
    """top / bottom, element by element."""

    top: Expression
    bottom: Expression


@dataclass(frozen=True)
class Square(Expression):
    """base², element by element."""

    base: Expression


@dataclass(frozen=True)
class Call(Expression):
    """A function, element by element."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Comparison(Expression):
    """1 where it holds, 0 elsewhere."""

    left: Expression
    sign: str
    right: Expression


@dataclass(frozen=True)
class Stacked(Expression):
    """W[v₁, v₂]: one matrix for several vectors."""

    matrix: Symbol
    vectors: tuple[Expression, ...]


@dataclass(frozen=True)
class MatrixProduct(Expression):
    """W v, or Wᵀ v."""

    matrix: Symbol
    vector: Expression
    transposed: bool = False


@dataclass(frozen=True)
class Outer(Expression):
    """δ vᵀ, or δ [v₁, v₂]ᵀ: the gradient of a matrix in one timestep."""

    left: Expression
    vectors: tuple[Expression, ...]


@dataclass(frozen=True)
class OverTime(Expression):
    """Σ_t term."""

    term: Expression


ZERO, ONE = Number(0.0), Number(1.0)


def rebuilt(expression: Expression, change: Callable[[Symbol], Symbol]) -> Expression:
    """The same formula with every symbol changed."""
    if isinstance(expression, Symbol):
        return change(expression)

    def new(part: object) -> object:
        if isinstance(part, tuple):
            return tuple(new(one) for one in part)
        return rebuilt(part, change) if isinstance(part, Expression) else part

    parts = {field.name: new(getattr(expression, field.name)) for field in dataclasses.fields(expression)}
    return replace(expression, **parts)


def symbols_in(expression: Expression) -> list[Symbol]:
    """Every symbol of a formula, in order, as often as it stands there."""
    found: list[Symbol] = []

    def note(symbol: Symbol) -> Symbol:
        found.append(symbol)
        return symbol

    rebuilt(expression, note)
    return found


def later(expression: Expression) -> Expression:
    """The same formula one timestep later."""
    return rebuilt(expression, lambda s: s if s.time is None else replace(s, time=s.time + 1))


def walk(expression: Expression) -> Iterator[Expression]:
    """A formula and all its parts."""
    yield expression
    for field in dataclasses.fields(expression):
        value = getattr(expression, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Expression):
                yield from walk(part)
