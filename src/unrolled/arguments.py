"""What callers give from Python: texts that are texts, frames that are numbers, and numbers in their ranges.

What is of a wrong type raises TypeError, what is out of range UserError: each names the argument and what it may be.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UserError, short

MOST_SYMBOLS = 10**9
"""Symbols of a sequence that is drawn, and other counts that nobody can mean more of."""
MOST_SEED = 2**63 - 1


def whole(name: str, value: object, low: int, high: int = MOST_SYMBOLS, *, hint: str = "") -> int:
    """A whole number in its range, NumPy's among them.

    >>> whole("length", 80, 1)
    80
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, not {_kind(value)}")
    number = int(value)
    if not low <= number <= high:
        raise UserError(f"{name} {short(value)}: must be from {low:,} to {high:,}{hint}")
    return number


def real(name: str, value: object, low: float, high: float, *, hint: str = "") -> float:
    """A number in its range; NaN is in none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    if not low <= number <= high:
        raise UserError(f"{name} {short(value)}: must be from {low:g} to {high:g}{hint}")
    return number


def checked_text(value: object, name: str = "the text given") -> str:
    """A text: neither bytes nor a path nor a list, and nothing that is no Unicode."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text (str), not {_kind(value)}{_advice(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{name} is not valid Unicode at character {error.start + 1}; give UTF-8 text") from None
    return value


def checked_frames(value: NDArray[Any], name: str = "the frames given") -> NDArray[np.float32]:
    """Frames (T, D) of numbers that float32 can hold."""
    if value.dtype.kind not in "fiu" or value.ndim != 2:
        raise UserError(f"{name} must be an array (T, D) of numbers, not {value.dtype} {value.shape}")
    if not len(value):
        raise UserError(f"{name} have no timestep: there is nothing to read")
    with np.errstate(over="ignore"):
        found = value.astype(np.float32)
    if not np.isfinite(found).all():
        raise UserError(f"{name} hold a number that is not finite, or too large; replace it")
    return found


def checked_sequence(value: object, name: str = "the sequence given") -> Any:
    """A text or frames."""
    return checked_frames(value, name) if isinstance(value, np.ndarray) else checked_text(value, name)


def several(value: object, what: str) -> list[Any]:
    """The items of a list, or of anything that gives them one by one."""
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{what} or a list of them must be given, not {_kind(value)}{_advice(value)}")
    return list(value)


def _advice(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return "; decode it first"
    return "; for a file see predict_file" if hasattr(value, "__fspath__") else ""


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
