"""Kernels for 64-bit ARM compute what the eager engine computes, on one thread and on two; each cell in a process."""

import subprocess
import sys
from pathlib import Path

import pytest
from arm import missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"ARM: {missing()}")
SCRIPT = Path(__file__).with_name("arm.py")


@pytest.mark.parametrize("name", ["lstm", "gru", "leaky"])
def test_arm_kernels_equal_the_equations(name: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), name], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
