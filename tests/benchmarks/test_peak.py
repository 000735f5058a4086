"""The micro-kernels compute what they claim to: otherwise their rate would mean nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peak


@pytest.mark.parametrize("threads", [1, 2])
def test_every_accumulator_takes_part_in_every_turn(threads: int) -> None:
    # v <- v / 2 + 1/2, from 1/2: after n steps 1 - 2^-(n + 1)
    result = peak.multiply_adds(threads, turns=2 * threads)().reshape(-1, peak.host().lanes("float32"))
    team = np.flatnonzero(result[:, 0])
    steps = 2 * threads * peak.UNROLL // len(team)
    expected = peak.accumulators() * (1 - 0.5 ** (steps + 1))
    np.testing.assert_allclose(result[team], expected, rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_number_of_the_buffer_is_read_in_every_pass(threads: int) -> None:
    size = 4 * 8 * 16 * 5
    assert peak.reads(threads, size)(3).sum() == 3 * size // 4


def test_operations_are_two_a_lane_and_multiply_add() -> None:
    assert peak.flops(10) == 2 * 10 * peak.UNROLL * peak.accumulators() * peak.host().lanes("float32")


def test_the_command_prints_a_line_a_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(peak, "_bandwidth", lambda *_: 1.0)
    monkeypatch.setattr(sys, "argv", ["peak", "--threads", "1", "--rounds", "1", "--json", str(tmp_path / "peak.json")])
    peak.main()
    assert "GB/s from memory" in capsys.readouterr().out
    assert (tmp_path / "peak.json").exists()
