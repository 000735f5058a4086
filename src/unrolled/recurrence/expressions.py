"""Formulas as people read them: a handful of forms, and as much algebra as makes them look like a textbook's.

The constructors in lower case (`add`, `multiply`, ...) fold what needs no saying: a factor 1, a term 0, a minus of a
minus. They change how a formula is written, never what it means.
"""

from __future__ import annotations

import dataclasses
import math
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
OPPOSITE = {"<": "≥", "≥": "<", ">": "≤", "≤": ">"}


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


def terms_of(expression: Expression) -> tuple[Expression, ...]:
    """The terms of a sum; anything else is its own only term."""
    return expression.terms if isinstance(expression, Sum) else (expression,)


def coefficient(expression: Expression) -> float:
    """The number that a term is multiplied by: 1 where there is none."""
    first = expression.factors[0] if isinstance(expression, Product) else expression
    return first.value if isinstance(first, Number) else 1.0


def factors_of(expression: Expression) -> tuple[Expression, ...]:
    """The factors of a term, without its coefficient."""
    factors = expression.factors if isinstance(expression, Product) else (expression,)
    return tuple(factor for factor in factors if not isinstance(factor, Number))


def add(*terms: Expression) -> Expression:
    """A sum, a positive term first where there is one."""
    flat = [part for term in terms for part in terms_of(term) if part != ZERO]
    numbers = [part for part in flat if isinstance(part, Number)]
    if len(numbers) > 1:
        total = Number(math.fsum(number.value for number in numbers))
        return add(*(part for part in flat if not isinstance(part, Number)), total)
    if _has_bias(flat):
        flat.sort(key=_rank)
    positive = next((part for part in flat if coefficient(part) > 0), None)
    if positive is not None and coefficient(flat[0]) < 0:
        flat.remove(positive)
        flat.insert(0, positive)
    return Sum(tuple(flat)) if len(flat) > 1 else next(iter(flat), ZERO)


def _is_parameter(expression: Expression) -> bool:
    return isinstance(expression, Symbol) and expression.time is None


def _rank(term: Expression) -> int:
    """Pre-activations are written W v + p * c + b: first what a parameter multiplies, then biases, then the rest."""
    factors = factors_of(term)
    if factors and (
        isinstance(factors[0], Stacked | MatrixProduct) or (len(factors) > 1 and _is_parameter(factors[0]))
    ):
        return 0
    return 1 if factors and _is_parameter(factors[0]) else 2


def _has_bias(terms: list[Expression]) -> bool:
    ranks = [_rank(term) for term in terms]
    return 1 in ranks and 0 in ranks


def multiply(*factors: Expression) -> Expression:
    """A product: the number first, then parameters, then the rest as it came."""
    flat = [part for factor in factors for part in (factor.factors if isinstance(factor, Product) else (factor,))]
    number = math.prod(part.value for part in flat if isinstance(part, Number))
    rest = [part for part in flat if not isinstance(part, Number)]
    rest.sort(key=lambda part: not _is_parameter(part))
    if number == 0 or not rest:
        return Number(number)
    if number != 1:
        rest.insert(0, Number(number))
    return Product(tuple(rest)) if len(rest) > 1 else rest[0]


def negate(expression: Expression) -> Expression:
    """The same with the other sign, term by term."""
    return add(*(multiply(Number(-1.0), term) for term in terms_of(expression)))


def subtract(left: Expression, right: Expression) -> Expression:
    """left - right."""
    return add(left, negate(right))


def divide(top: Expression, bottom: Expression) -> Expression:
    """top / bottom."""
    return top if bottom == ONE or top == ZERO else Quotient(top, bottom)


def compare(sign: str, left: Expression, right: Expression) -> Expression:
    """A comparison; a number goes to the right: a > 0, not 0 < a."""
    if isinstance(left, Number):
        return Comparison(right, {"<": ">", "≤": "≥"}[sign], left)
    return Comparison(left, sign, right)


def where(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """A choice. Where one side is 0, the other side times the comparison: the derivative of relu is (a > 0)."""
    if isinstance(condition, Comparison):
        if otherwise == ZERO:
            return multiply(then, condition)
        if then == ZERO:
            return multiply(otherwise, replace(condition, sign=OPPOSITE[condition.sign]))
        if condition == Comparison(condition.left, ">", Number(20.0)) and otherwise == multiply(
            then, Call("σ", (condition.left,))
        ):
            return otherwise  # softplus' gradient: above 20, σ is 1 as far as a number on the machine can tell
    return Call("where", (condition, then, otherwise))


def factored(expression: Expression) -> Expression:
    """A sum with what all its terms have in common taken out: d * (c̃ - c), not d * c̃ - d * c."""
    terms = terms_of(expression)
    if len(terms) < 2:
        return expression
    common = [factor for factor in dict.fromkeys(factors_of(terms[0])) if _in_all(factor, terms)]
    sizes = {abs(coefficient(term)) for term in terms}
    number = sizes.pop() if common and len(sizes) == 1 else 1.0
    rest = add(*(_without(term, common, number) for term in terms))
    return multiply(Number(number), *common, rest) if common else expression


def _in_all(factor: Expression, terms: tuple[Expression, ...]) -> bool:
    return all(factor in factors_of(term) for term in terms)


def _without(term: Expression, common: list[Expression], number: float) -> Expression:
    factors = list(factors_of(term))
    for factor in common:
        factors.remove(factor)
    return multiply(Number(coefficient(term) / number), *factors)


def leaves(expression: Expression) -> int:
    """How many symbols a formula shows: how long it is to read."""
    return len(symbols_in(expression))


def walk(expression: Expression) -> Iterator[Expression]:
    """A formula and all its parts."""
    yield expression
    for field in dataclasses.fields(expression):
        value = getattr(expression, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Expression):
                yield from walk(part)
