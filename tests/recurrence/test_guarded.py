"""No kernel reads or writes outside of its buffers, whatever their shapes."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("guarded.py")


@pytest.mark.skipif(sys.platform != "linux", reason="guard pages are made by Linux's mmap and mprotect")
@pytest.mark.parametrize("name", ["rnn", "lstm-peephole", "gru", "leaky"])
def test_kernels_stay_inside_their_buffers(name: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), name], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-3000:]
    assert done.stdout.count("\n") == 48
