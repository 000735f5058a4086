"""As much algebra as makes a formula look like a textbook's.

The constructors fold what needs no saying: a factor 1, a term 0, a minus of a minus. They change how a formula is
written, never what it means.
"""

from __future__ import annotations

import math
from dataclasses import replace

from unrolled.recurrence.formulas.expressions import (
    ONE,
    ZERO,
    Call,
    Comparison,
    Expression,
    MatrixProduct,
    Number,
    Product,
    Quotient,
    Stacked,
    Sum,
    Symbol,
    symbols_in,
    walk,
)

OPPOSITE = {"<": "≥", "≥": "<", ">": "≤", "≤": ">"}


def terms_of(expression: Expression) -> tuple[Expression, ...]:
    """The terms of a sum, or of one with a minus before it; anything else is its own only term."""
    match expression:
        case Sum(terms):
            return terms
        case Product((Number(-1.0), Sum(terms))):
            return tuple(multiply(Number(-1.0), term) for term in terms)
    return (expression,)


def coefficient(expression: Expression) -> float:
    """The number that a term is multiplied by: 1 where there is none."""
    first = _parts(expression)[0]
    return first.value if isinstance(first, Number) else 1.0


def factors_of(expression: Expression) -> tuple[Expression, ...]:
    """The factors of a term, without its coefficient."""
    return tuple(factor for factor in _parts(expression) if not isinstance(factor, Number))


def add(*terms: Expression) -> Expression:
    """A sum, a positive term first where there is one."""
    flat = [part for term in terms for part in terms_of(term) if part != ZERO]
    numbers = [part for part in flat if isinstance(part, Number)]
    if len(numbers) > 1:
        return add(*(part for part in flat if not isinstance(part, Number)), Number(_total(numbers)))
    if _has_bias(flat):
        flat.sort(key=_rank)
    positive = next((part for part in flat if coefficient(part) > 0), None)
    if positive is not None and coefficient(flat[0]) < 0:
        flat.remove(positive)
        flat.insert(0, positive)
    return Sum(tuple(flat)) if len(flat) > 1 else next(iter(flat), ZERO)


def _total(numbers: list[Number]) -> float:
    try:
        return math.fsum(number.value for number in numbers)
    except (OverflowError, ValueError):  # too large, or infinities of both signs
        return sum(number.value for number in numbers)


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
    """A product: the number first, then parameters, then the rest as it came; quotients become one."""
    flat = [part for factor in factors for part in _parts(factor)]
    above = [part for factor in flat for part in _parts(factor.top if isinstance(factor, Quotient) else factor)]
    below = [part for factor in flat if isinstance(factor, Quotient) for part in _parts(factor.bottom)]
    number = _numbers(above) / (_numbers(below) or math.nan)
    top, bottom = _without_numbers(above), _without_roots(_without_numbers(below))
    if number == 0 or not (top or bottom):
        return Number(number)
    if bottom:
        top = [Quotient(_product(top), _product(bottom))]
    return _product([*([Number(number)] if number != 1 else []), *top])


def _parts(expression: Expression) -> tuple[Expression, ...]:
    return expression.factors if isinstance(expression, Product) else (expression,)


def _numbers(factors: list[Expression]) -> float:
    return math.prod(factor.value for factor in factors if isinstance(factor, Number))


def _without_numbers(factors: list[Expression]) -> list[Expression]:
    rest = [factor for factor in factors if not isinstance(factor, Number)]
    return sorted(rest, key=lambda factor: not _is_parameter(factor))


def _without_roots(factors: list[Expression]) -> list[Expression]:
    """The same with sqrt(v) * sqrt(v) written v."""
    for factor in factors:
        if isinstance(factor, Call) and factor.name == "sqrt" and factors.count(factor) > 1:
            rest = list(factors)
            rest.remove(factor)
            rest.remove(factor)
            return _without_roots([factor.arguments[0], *rest])
    return factors


def _product(factors: list[Expression]) -> Expression:
    return Product(tuple(factors)) if len(factors) > 1 else next(iter(factors), ONE)


def negate(expression: Expression) -> Expression:
    """The same with the other sign, term by term."""
    return add(*(multiply(Number(-1.0), term) for term in terms_of(expression)))


def subtract(left: Expression, right: Expression) -> Expression:
    """left - right."""
    return add(left, negate(right))


def divide(top: Expression, bottom: Expression) -> Expression:
    """top / bottom."""
    return multiply(top, Quotient(ONE, bottom))


def compare(sign: str, left: Expression, right: Expression) -> Expression:
    """A comparison; a number goes to the right: a > 0, not 0 < a."""
    if isinstance(left, Number):
        return Comparison(right, {"<": ">", "≤": "≥"}[sign], left)
    return Comparison(left, sign, right)


def where(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """A choice. Where one side is 0, the other side times the comparison: the derivative of relu is (a > 0)."""
    chained = isinstance(otherwise, Call) and otherwise.name == "where"
    if isinstance(condition, Comparison) and not chained:
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


def is_short(expression: Expression) -> bool:
    """Whether a formula is quicker read in full than looked up: Γ_u * (1 - Γ_u), W_ccᵀ δ_c⟨t⟩, tanh(c⟨t⟩)."""
    parts = [part for part in walk(expression) if isinstance(part, Symbol | Call | Number) and part != Number(-1.0)]
    return len(symbols_in(expression)) <= 2 and len(parts) <= 3
