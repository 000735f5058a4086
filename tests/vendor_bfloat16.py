"""torch's own LSTM in bfloat16 on the CPU is oneDNN's, which has it for some processors only."""

from functools import cache

import pytest
import torch


@cache
def available() -> bool:
    """Whether torch.nn.LSTM runs under autocast here."""
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(2, 2)(torch.zeros(1, 1, 2))
    except RuntimeError:
        return False
    return True


def skip_without(engine: str) -> None:
    """Skip what the vendor engine cannot do on this processor."""
    if engine == "vendor" and not available():
        pytest.skip("torch.nn.LSTM has no bfloat16 kernel for this processor (oneDNN needs AVX-512)")
