"""How close is equal: one table, used by every test that compares numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """Relative and absolute: |actual - expected| <= absolute + relative * |expected|."""

    relative: float
    absolute: float


# A few roundings of each type, for sums of some dozens of numbers of about 1.
TOLERANCES = {
    torch.float64: Tolerance(relative=1e-10, absolute=1e-11),
    torch.float32: Tolerance(relative=2e-5, absolute=2e-6),
    torch.bfloat16: Tolerance(relative=2e-2, absolute=2e-2),
}


def assert_equal(actual: Any, expected: Any, message: str = "") -> None:
    """Two tensors (or arrays, or equally built tuples of them) are equal within the tolerance of their type."""
    if isinstance(actual, tuple | list):
        assert len(actual) == len(expected), message
        for position, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_equal(one, other, f"{message}[{position}]")
        return
    actual, expected = _tensor(actual), _tensor(expected)
    tolerance = TOLERANCES[actual.dtype]
    torch.testing.assert_close(
        actual, expected, rtol=tolerance.relative, atol=tolerance.absolute, msg=lambda text: f"{message}: {text}"
    )


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value.detach()
