"""The pointwise operations of a program on vectors of numbers, in LLVM IR: no branch, no table, no call.

What each means, down to NaN, infinities and the sign of zero, is what the eager engine's operation does
(`recurrence.eager.POINTWISE`). sigmoid, tanh, exp, log and softplus are within 4 units in the last place over the whole
range, results below the smallest normal number included.

The polynomials are minimax fits of the relative error, by Remez's exchange in 50 digits; `COEFFICIENTS` says on which
interval and how close. Those of float32 were then moved by a few units in their last places to where the
rounded polynomial is closest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, nan

from unrolled.recurrence.kernels.builder import IR, Builder


@dataclass(frozen=True)
class Format:
    """What the functions must know of a type of number.

    Attributes:
        mantissa, bias: how many bits the mantissa has, and what is added to the exponent.
        magic: 1.5 times 2 to the power of `mantissa`; a small number added to it is rounded to an integer, which then
            stands in the lowest bits.
        ln2: the logarithm of 2 in two parts; the product of the first and an exponent is exact.
        lowest: exp of less is 0.
        highest: exp of more is infinite.
        certain: the sigmoid of more is 1.
    """

    mantissa: int
    bias: int
    magic: float
    ln2: tuple[float, float]
    lowest: float
    highest: float
    certain: float


FORMATS = {
    "float32": Format(23, 127, 1.5 * 2**23, (0.693145751953125, 1.428606765330187e-06), -104.5, 89.0, 20.0),
    "float64": Format(52, 1023, 1.5 * 2**52, (0.6931471805601177, -1.7239444525614835e-13), -746.0, 710.0, 40.0),
}

LOG2E = 1.4426950408889634
ROOT_HALF = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}
"""The bits of the square root of 1/2."""


@dataclass(frozen=True)
class Fit:
    """A quotient of polynomials, lowest power first; both begin with 1, so that the value at 0 is exact.

    Attributes:
        above, below: the coefficients.
        interval: where it is used.
        error: the largest relative error there, of exact arithmetic with these coefficients.
    """

    above: tuple[float, ...]
    below: tuple[float, ...]
    interval: tuple[float, float]
    error: float


EXP = {
    "float32": Fit(
        (1.0, 0.9999997019767761, 0.4999914765357971, 0.16667643189430237, 0.04189824312925339, 0.008290338329970837),
        (1.0,),
        (-0.3467, 0.3467),
        9.3e-8,
    ),
    "float64": Fit(
        (
            1.0,
            1.0,
            0.5000000000000012,
            0.16666666666666216,
            0.04166666666651754,
            0.008333333333550104,
            0.0013888888946436773,
            0.0001984126943622589,
            2.4801490542249895e-05,
            2.7557626978710684e-06,
            2.7631069977627717e-07,
            2.499140897248082e-08,
        ),
        (1.0,),
        (-0.3467, 0.3467),
        4e-17,
    ),
}
"""exp(r), |r| up to half the logarithm of 2."""

LOG = {
    "float32": Fit(
        (1.0, 1.1415655612945557, 0.28297746181488037, 0.004849666729569435),
        (1.0, 1.6415654420852661, 0.7704276442527771, 0.09287962317466736),
        (-0.2929, 1.0),
        2.3e-8,
    ),
    "float64": Fit(
        (
            1.0,
            3.0738148392272286,
            3.6390829305702495,
            2.080294189152117,
            0.5877022070665993,
            0.07440338497998418,
            0.0031118616991413282,
            8.947134325060561e-06,
        ),
        (
            1.0,
            3.5738148392272286,
            5.092657016850529,
            3.6853510845016295,
            1.4262791201741698,
            0.28416053660069734,
            0.02535078803976234,
            0.0006949178742984238,
        ),
        (-0.2929, 1.0),
        1e-16,
    ),
}
"""log(1 + f) / f: f from the root of 1/2, less 1, to 0.41 for log, from 0 to 1 for softplus."""

TANH = {
    "float32": Fit(
        (1.0, 0.13403214514255524, 0.0035219374112784863, 2.1043746528448537e-05, 1.3962059064454024e-08),
        (1.0, 0.4673653841018677, 0.02597722038626671, 0.0003328755556140095, 8.023883424357336e-07),
        (0.0, 8.7),
        3.2e-8,
    ),
    "float64": Fit(
        (
            1.0,
            0.15345562892233244,
            0.006224115463397268,
            0.00010329608445095347,
            8.312600167915985e-07,
            3.478655252833109e-09,
            7.649014662463207e-12,
            8.459673491499031e-15,
            4.183239653953647e-18,
            7.051025038764515e-22,
            1.7098886518751414e-26,
        ),
        (
            1.0,
            0.48678896225566576,
            0.03515376954861919,
            0.0008842782681558803,
            1.0083217387557377e-05,
            5.824529669972825e-08,
            1.770273375706352e-10,
            2.7862820223732304e-13,
            2.104645984830021e-16,
            6.391748726910866e-20,
            4.9987525798001445e-24,
        ),
        (0.0, 19.1),
        1e-16,
    ),
}
"""tanh(x) / x as a function of x squared; the interval is of x. At its end the quotient is 1 in its type."""


def multiply_add(b: Builder, left: IR, right: IR, addend: IR) -> IR:
    """left * right + addend: rounded once where the processor can; elsewhere twice (a true fma would be a call)."""
    return b.intrinsic("fmuladd", left, right, addend)


def polynomial(b: Builder, coefficients: tuple[float, ...], x: IR) -> IR:
    """By Horner's rule."""
    value = b.splat(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = multiply_add(b, value, x, b.splat(coefficient))
    return value


def at_least(b: Builder, bound: float, x: IR) -> IR:
    """The larger of a bound and x; NaN stays, and so does -0 for the bound 0."""
    return b.select(b.compare(">", b.splat(bound), x), b.splat(bound), x)


def at_most(b: Builder, bound: float, x: IR) -> IR:
    return b.select(b.compare("<", b.splat(bound), x), b.splat(bound), x)


def shifted(b: Builder, direction: str, value: IR, count: int) -> IR:
    shift = b.ir.shl if direction == "left" else b.ir.lshr
    return shift(value, b.int_splat(count))


def power(b: Builder, x: IR, sign: float, bias: int) -> tuple[IR, IR]:
    """exp(sign * x) = p * 2^n, for x in range.

    Returns p, about 0.7 to 1.4, and an integer vector whose lowest bits are n + bias.
    """
    form = FORMATS[b.dtype]
    shift = b.splat(form.magic + bias)
    sum_ = multiply_add(b, x, b.splat(sign * LOG2E), shift)
    n = b.fsub(sum_, shift)
    r = x
    for part in form.ln2:
        r = multiply_add(b, n, b.splat(-sign * part), r)
    above = EXP[b.dtype].above
    p = polynomial(b, tuple(c * sign**k for k, c in enumerate(above)), r)
    return p, b.to_integers(sum_)


def exp(b: Builder, x: IR) -> IR:
    form = FORMATS[b.dtype]
    x = at_most(b, form.highest, at_least(b, form.lowest, x))
    p, bits = power(b, x, 1.0, 2 * form.bias)
    half = shifted(b, "right", bits, 1)
    for part in (half, b.ir.sub(bits, half)):
        p = b.fmul(p, b.to_reals(shifted(b, "left", part, form.mantissa)))
    return p


def sigmoid(b: Builder, x: IR) -> IR:
    form = FORMATS[b.dtype]
    x = at_most(b, form.certain, at_least(b, form.lowest, x))
    down = form.mantissa + 1
    p, bits = power(b, x, -1.0, form.bias - down)
    scale = b.to_reals(shifted(b, "left", bits, form.mantissa))
    one = b.splat(2.0**-down)
    return b.fdiv(one, multiply_add(b, p, scale, one))


def tanh(b: Builder, x: IR) -> IR:
    fit = TANH[b.dtype]
    x = at_most(b, fit.interval[1], at_least(b, -fit.interval[1], x))
    square = b.fmul(x, x)
    return b.fdiv(b.fmul(x, polynomial(b, fit.above, square)), polynomial(b, fit.below, square))


def log_of_one_plus(b: Builder, f: IR) -> IR:
    """log(1 + f), f from -0.29 to 1."""
    fit = LOG[b.dtype]
    return b.fdiv(b.fmul(f, polynomial(b, fit.above, f)), polynomial(b, fit.below, f))


def log(b: Builder, x: IR) -> IR:
    form = FORMATS[b.dtype]
    root, one = ROOT_HALF[b.dtype], form.bias << form.mantissa
    tiny = b.compare("<", x, b.splat(2.0 ** (1 - form.bias)))
    up = form.mantissa + 1
    normal = b.select(tiny, b.fmul(x, b.splat(2.0**up)), x)
    bits = b.ir.add(b.to_integers(normal), b.int_splat(one - root))
    exponent = shifted(b, "right", bits, form.mantissa)
    m = b.to_reals(b.ir.add(b.ir.and_(bits, b.int_splat((1 << form.mantissa) - 1)), b.int_splat(root)))
    magic = b.to_integers(b.splat(form.magic))
    zero = form.magic + form.bias
    n = b.fsub(b.to_reals(b.ir.or_(exponent, magic)), b.select(tiny, b.splat(zero + up), b.splat(zero)))
    value = log_of_one_plus(b, b.fsub(m, b.splat(1.0)))
    for part in reversed(form.ln2):
        value = multiply_add(b, n, b.splat(part), value)
    value = b.select(b.compare("<", x, b.splat(inf)), value, x)
    pole = b.select(b.compare("==", x, b.splat(0.0)), b.splat(-inf), b.splat(nan))
    return b.select(b.compare("<=", x, b.splat(0.0)), pole, value)


def softplus(b: Builder, x: IR) -> IR:
    e = exp(b, b.ir.fneg(b.intrinsic("fabs", x)))
    value = b.fadd(log_of_one_plus(b, e), relu(b, x))
    return b.select(b.compare(">", x, b.splat(20.0)), x, value)


def relu(b: Builder, x: IR) -> IR:
    return at_least(b, 0.0, x)


def condition(b: Builder, holds: IR) -> IR:
    """A comparison as a number: 1 where it holds, 0 elsewhere."""
    return b.select(holds, b.splat(1.0), b.splat(0.0))


def where(b: Builder, chosen: IR, then: IR, otherwise: IR) -> IR:
    """NaN counts as not zero, as in torch."""
    return b.select(b.ir.fcmp_unordered("!=", chosen, b.splat(0.0)), then, otherwise)


def maximum(b: Builder, left: IR, right: IR) -> IR:
    return b.intrinsic("maximum", left, right)


def minimum(b: Builder, left: IR, right: IR) -> IR:
    return b.intrinsic("minimum", left, right)


FUNCTIONS: Mapping[str, Callable[..., IR]] = {
    "add": lambda b, left, right: b.fadd(left, right),
    "subtract": lambda b, left, right: b.fsub(left, right),
    "multiply": lambda b, left, right: b.fmul(left, right),
    "divide": lambda b, left, right: b.fdiv(left, right),
    "negate": lambda b, x: b.ir.fneg(x),
    "square": lambda b, x: b.fmul(x, x),
    "sqrt": lambda b, x: b.intrinsic("sqrt", x),
    "less": lambda b, left, right: condition(b, b.compare("<", left, right)),
    "less_equal": lambda b, left, right: condition(b, b.compare("<=", left, right)),
    "where": where,
    "maximum": maximum,
    "minimum": minimum,
    "relu": relu,
    "exp": exp,
    "log": log,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "tanh": tanh,
}
"""Every pointwise operation, by its name in a program."""
