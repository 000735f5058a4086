"""The pointwise operations of a program on vectors of numbers, in LLVM IR: no branch, no table, no call.

What each means, down to NaN, infinities and the sign of zero, is what the eager engine's operation does
(`recurrence.eager.POINTWISE`). sigmoid, tanh, exp, log and softplus are within 4 units in the last place over the whole
range, results below the smallest normal number included.

The polynomials are minimax fits of the relative error, by Remez's exchange in 50 digits; each `Fit` says on which
interval and how close. Those of float32 were then moved by a few units in their last places to where the rounded
polynomial is closest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, nan

from llvmlite import ir

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
        certain: the sigmoid of more is 1, and so is the tanh of more than half of it.
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

LN2, LOG2E = 0.6931471805599453, 1.4426950408889634
ROOT_HALF = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}
"""The bits of the square root of 1/2."""


@dataclass(frozen=True)
class Fit:
    """A quotient of polynomials.

    Attributes:
        above, below: the coefficients, lowest power first.
        interval: where it is used.
        error: the largest relative error there of the function that it is for, in exact arithmetic.
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

EXP_LESS_ONE = {
    "float32": Fit(
        (1.0, 0.4999999701976776, 0.1666652411222458, 0.04166730120778084, 0.008369135670363903, 0.001388892182148993),
        (1.0,),
        (-0.3467, 0.3467),
        1.8e-8,
    ),
    "float64": Fit(
        (
            1.0,
            0.5000000000000007,
            0.16666666666666696,
            0.04166666666656219,
            0.008333333333293128,
            0.0013888888936256253,
            0.00019841269987175432,
            2.480149965782965e-05,
            2.7557116663441617e-06,
            2.762826895064722e-07,
            2.5161428464255258e-08,
        ),
        (1.0,),
        (-0.3467, 0.3467),
        3e-17,
    ),
}
"""(exp(r) - 1) / r: exp near 0 without the loss of what 1 swallows."""

LOG = {
    "float32": Fit(
        (0.49999985098838806, 0.4874517619609833, 0.08803073316812515),
        (1.0, 1.641568660736084, 0.7704311013221741, 0.09288045763969421),
        (-0.2929, 1.0),
        2.1e-8,
    ),
    "float64": Fit(
        (
            0.5000000000000023,
            1.3085009319107035,
            1.2549483797503374,
            0.5367006490693921,
            0.09820046054683558,
            0.00574976868524076,
            2.565393520260907e-06,
        ),
        (
            1.0,
            3.2836685304880575,
            4.199009113160023,
            2.6309064416688144,
            0.8309680711288322,
            0.1207867847936604,
            0.00592949981740841,
        ),
        (-0.2929, 1.0),
        1.3e-16,
    ),
}
"""(f - log(1 + f)) / f^2: f from the root of 1/2, less 1, to 0.41 for log, from 0 to 1 for softplus."""


def polynomial(b: Builder, coefficients: tuple[float, ...], x: IR) -> IR:
    """By Horner's rule."""
    value = b.splat(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = b.fma(value, x, b.splat(coefficient))
    return value


def scaled(coefficients: tuple[float, ...], factor: float, first: int = 0) -> tuple[float, ...]:
    """The coefficients of powers from `first` on, for an argument that is to be multiplied by a factor."""
    return tuple(c * factor**k for k, c in enumerate(coefficients, first))


def at_least(b: Builder, bound: float, x: IR) -> IR:
    """The larger of a bound and x; NaN stays, and so does -0 for the bound 0."""
    return b.select(b.compare(">", b.splat(bound), x), b.splat(bound), x)


def at_most(b: Builder, bound: float, x: IR) -> IR:
    return b.select(b.compare("<", b.splat(bound), x), b.splat(bound), x)


def shifted(b: Builder, direction: str, value: IR, count: int) -> IR:
    shift = b.ir.shl if direction == "left" else b.ir.lshr
    return shift(value, b.int_splat(count))


def reduced(b: Builder, x: IR, factor: float, bias: int, ln2: tuple[float, ...]) -> tuple[IR, IR]:
    """factor * x = factor * r + n * log(2), |factor * r| up to half the logarithm; `ln2` is that in parts.

    Returns r, and an integer vector whose lowest bits are n + bias.
    """
    shift = b.splat(FORMATS[b.dtype].magic + bias)
    sum_ = b.fma(x, b.splat(factor * LOG2E), shift)
    n = b.fsub(sum_, shift)
    for part in ln2:
        x = b.fma(n, b.splat(-part / factor), x)
    return x, b.to_integers(sum_)


def power(b: Builder, x: IR, sign: float, bias: int) -> tuple[IR, IR]:
    """exp(sign * x) = p * 2^n, for x in range.

    Returns p, about 0.7 to 1.4, and an integer vector whose lowest bits are n + bias.
    """
    r, bits = reduced(b, x, sign, bias, FORMATS[b.dtype].ln2)
    return polynomial(b, scaled(EXP[b.dtype].above, sign), r), bits


def quotient(b: Builder, above: IR, below: IR) -> IR:
    """above / below, for a divisor that is finite and no smaller than a normal number.

    AVX-512 divides in three times the time that an estimate and two corrections take; they are off by at most 1 unit in
    the last place.
    """
    if b.target.name != "AVX-512" or b.dtype != "float32":
        return b.fdiv(above, below)
    inverse = b.joined([_inverse(b, part) for part in b.parts(below)])
    minus = b.ir.fneg(below)
    inverse = b.fma(b.fma(minus, inverse, b.splat(1.0)), inverse, inverse)
    first = b.fmul(above, inverse)
    return b.fma(b.fma(minus, first, above), inverse, first)


def _inverse(b: Builder, x: IR) -> IR:
    """AVX-512's estimate of 1 / x, for one vector."""
    with b.of_width(1):
        kind = [b.vector, b.vector, ir.IntType(16)]
        estimate = b.declared("llvm.x86.avx512.rcp14.ps.512", b.vector, kind)
        return b.ir.call(estimate, [x, b.splat(0.0), ir.IntType(16)(0xFFFF)])


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
    return quotient(b, one, b.fma(p, scale, one))


def tanh(b: Builder, x: IR) -> IR:
    """e / (e + 2), e = exp(2x) - 1: a quotient of polynomials in x would round too often where tanh is nearly 1.

    One part of log(2) will do: where n is large, e hardly matters.
    """
    form = FORMATS[b.dtype]
    x = at_most(b, form.certain / 2, at_least(b, -form.certain / 2, x))
    r, bits = reduced(b, x, 2.0, form.bias, (LN2,))
    scale = b.to_reals(shifted(b, "left", bits, form.mantissa))
    p = polynomial(b, scaled(EXP_LESS_ONE[b.dtype].above, 2.0, first=1), r)
    # scale * r * p - (1 - scale), in this order: -0 stays -0
    e = b.fma(b.fmul(scale, r), p, b.ir.fneg(b.fsub(b.splat(1.0), scale)))
    return quotient(b, e, b.fadd(e, b.splat(2.0)))


def log_of_one_plus(b: Builder, f: IR) -> IR:
    """log(1 + f), f from -0.29 to 1: f less a part that is small beside it, so that its rounding matters little."""
    fit = LOG[b.dtype]
    ratio = quotient(b, polynomial(b, fit.above, f), polynomial(b, fit.below, f))
    return b.fma(b.ir.fneg(b.fmul(f, f)), ratio, f)


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
        value = b.fma(n, b.splat(part), value)
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
