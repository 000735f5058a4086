"""The pointwise functions of the kernels: how many units in the last place they are off, and torch's special values.

Every function is compiled alone and run over vectors, for this machine's instruction set and for an old one that it
also understands: without a fused multiply-add, rounding is different.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unrolled.recurrence.eager import POINTWISE
from unrolled.recurrence.kernels import machine
from unrolled.recurrence.kernels.builder import Builder
from unrolled.recurrence.kernels.functions import FUNCTIONS
from unrolled.recurrence.kernels.target import SSE2, Target, host

Array = NDArray[Any]

TARGETS = {"host": host()}
if host().triple.startswith("x86_64"):
    TARGETS["SSE2"] = SSE2

ULPS = 4
"""How many units in the last place the functions that are no single instruction may be off."""

DTYPES = ["float32", "float64"]
TWO = {"add", "subtract", "multiply", "divide", "maximum", "minimum", "less", "less_equal"}
ARITY = {name: 3 if name == "where" else 2 if name in TWO else 1 for name in FUNCTIONS}


def softplus(x: Array) -> Array:
    return np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20))))


# In a type wider than the one that is tested, so plain formulas are good enough.
EXACT: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "softplus": softplus,
}
WIDER = {"float32": np.float64, "float64": np.longdouble}
RANGES = {"sigmoid": (0, 1), "tanh": (-1, 1), "exp": (0, np.inf), "softplus": (0, np.inf)}


@lru_cache
def kernel(name: str, dtype: str, target: Target) -> machine.Kernel:
    """One function as a kernel: out[i] = f(in_0[i], ...) for `count` numbers, whole vectors of them."""
    module = machine.new_module(name, target)
    inputs = [f"in_{number}" for number in range(ARITY[name])]
    b = Builder(module, name, target, dtype, ["count", *inputs, "out"])
    with b.loop(0, b.argument("count"), b.lanes) as loop:
        values = [b.load(b.at(b.address(one), loop.index)) for one in inputs]
        b.store(FUNCTIONS[name](b, *values), b.at(b.address("out"), loop.index))
    b.finish()
    machine.add_entries(module, b.function)
    with mock.patch.object(machine, "host", return_value=target):
        return machine.Kernel(lambda: module, ["count", *inputs, "out"])


def apply(name: str, target: Target, *inputs: Array) -> Array:
    """A function of some arrays, by its kernel."""
    padded = [np.concatenate([one, np.zeros(-len(one) % 16, one.dtype)]) for one in inputs]
    out = np.full_like(padded[0], 7)
    places = {f"in_{number}": one.ctypes.data for number, one in enumerate(padded)}
    kernel(name, str(out.dtype), target)({"count": len(out), "out": out.ctypes.data, **places}, 1)
    return out[: len(inputs[0])]


def by_torch(name: str, *inputs: Array) -> Array:
    result = POINTWISE[name](*[torch.from_numpy(one) for one in inputs])
    return result.to(torch.from_numpy(inputs[0]).dtype).numpy()


def units_off(actual: Array, exact: Array) -> Array:
    """|actual - exact| in units of the last place of the exact value, which for subnormal numbers is the smallest."""
    kind = np.finfo(actual.dtype)
    _, exponent = np.frexp(exact)
    unit = np.ldexp(exact.dtype.type(1), np.maximum(exponent - 1, kind.minexp) - kind.nmant)
    return np.abs(actual.astype(exact.dtype) - exact) / unit


def everywhere(dtype: str) -> Array:
    """Numbers of every exponent and sign, and many more where functions bend, saturate and underflow."""
    random = np.random.default_rng(3)
    if dtype == "float32":
        bits = np.arange(0, 2**32, 2039, dtype=np.uint64).astype(np.uint32).view(np.float32)
        subnormal = np.arange(0, 2**23, 127, dtype=np.uint32).view(np.float32)
    else:
        bits = random.integers(0, 2**64, 200_000, dtype=np.uint64).view(np.float64)
        subnormal = random.integers(0, 2**52, 20_000, dtype=np.uint64).view(np.float64)
    low = -105 if dtype == "float32" else -746
    spread = 1.0 - 2.0 ** -random.uniform(0, 60, 50_000) * random.choice([-1, 1], 50_000)
    dense = [random.uniform(*ends, 150_000) for ends in ((low, -low), (-40, 40), (-10, 10), (-1.5, 1.5))]
    numbers = np.concatenate([bits, subnormal, -subnormal, spread.astype(dtype), *(one.astype(dtype) for one in dense)])
    return numbers[~np.isnan(numbers)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_functions_are_within_4_units_in_the_last_place(name: str, dtype: str, target: str) -> None:
    wider = WIDER[dtype]
    if np.finfo(wider).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip(f"NumPy has no wider type than {dtype} here to compare with")
    x = everywhere(dtype)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(wider))
        found = apply(name, TARGETS[target], x)
        # beyond the largest number, half a unit more rounds to infinity
        finite = np.abs(exact) <= wider(np.finfo(dtype).max)
    off = units_off(found[finite], exact[finite])
    worst = int(off.argmax())  # that of NaN, if there is any
    assert off[worst] <= ULPS, f"{name}({x[finite][worst]!r}) is {off[worst]:.3f} units off"
    if name in RANGES:
        below, above = RANGES[name]
        assert found.min() >= below
        assert found.max() <= above


def specials(dtype: str) -> Array:
    """Zeros, infinities, NaN, the smallest and largest numbers, and numbers on both sides of every end of a range."""
    kind, one = np.finfo(dtype), np.dtype(dtype).type
    positive = [0, kind.smallest_subnormal, kind.tiny, 0.5, 1, 2, 20, np.nextafter(one(20), one(21)), 1000, kind.max]
    return np.array([*positive, *(-number for number in positive), np.inf, -np.inf, np.nan], dtype) * one(1)


def differing(name: str, found: Array, expected: Array) -> Array:
    """Where a function is not what torch's is: NaN, infinities and signed zeros exactly, numbers within rounding."""
    equal = (found == expected) & (np.signbit(found) == np.signbit(expected))
    if name in ("maximum", "minimum"):  # of 0 and -0 torch gives the one or the other, by the place in the tensor
        equal = found == expected
    close = np.zeros_like(equal)
    if name in EXACT or name == "sqrt":  # torch's square root may be the last place off, by its vector library
        bound = (2 * ULPS if name in EXACT else 1) * np.spacing(np.abs(expected))
        close = (np.abs(found - expected) <= bound) & (expected != 0) & np.isfinite(expected)
    return ~(equal | close | (np.isnan(found) & np.isnan(expected)))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_torchs(name: str, dtype: str, target: str) -> None:
    inputs = [np.ascontiguousarray(one.ravel()) for one in np.meshgrid(*[specials(dtype)] * ARITY[name])]
    with np.errstate(all="ignore"):
        found, expected = apply(name, TARGETS[target], *inputs), by_torch(name, *inputs)
        wrong = differing(name, found, expected)
    cases = [(*(one[place] for one in inputs), found[place], expected[place]) for place in np.flatnonzero(wrong)]
    assert not cases, f"{name}: arguments, result, torch's result: {cases[:5]}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - EXACT.keys()))
def test_single_instructions_are_torchs(name: str, dtype: str) -> None:
    random = np.random.default_rng(4)
    bits = f"uint{8 * np.dtype(dtype).itemsize}"
    inputs = [random.integers(0, np.iinfo(bits).max, 50_000, bits, True).view(dtype) for _ in range(ARITY[name])]
    inputs[-1][::3] = inputs[0][::3]  # what is equal, too
    with np.errstate(all="ignore"):
        wrong = differing(name, apply(name, host(), *inputs), by_torch(name, *inputs))
    assert not wrong.any()


def test_saturated_values_are_exact() -> None:
    for dtype in DTYPES:
        far = np.array([-1e4, -np.inf, 1e4, np.inf, np.nan], dtype)
        assert apply("sigmoid", host(), far).tolist()[:4] == [0, 0, 1, 1]
        assert apply("tanh", host(), far).tolist()[:4] == [-1, -1, 1, 1]
        assert apply("exp", host(), far).tolist()[:4] == [0, 0, np.inf, np.inf]
        assert apply("softplus", host(), far).tolist()[:4] == [0, 0, far[2], np.inf]
        assert apply("relu", host(), far).tolist()[:4] == [0, 0, far[2], np.inf]
        assert all(np.isnan(apply(name, host(), far)[4]) for name in [*EXACT, "relu", "sqrt", "square", "negate"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_square_roots_are_rounded_correctly(dtype: str) -> None:
    x = np.abs(everywhere(dtype))
    assert np.array_equal(apply("sqrt", host(), x), np.sqrt(x))


def test_every_operator_has_its_function() -> None:
    assert FUNCTIONS.keys() == POINTWISE.keys()
