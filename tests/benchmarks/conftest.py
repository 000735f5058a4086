"""The benchmarks stand beside the package, not in it: their folder is the project's root."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A benchmark sets torch's number of threads; the tests after it want theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
