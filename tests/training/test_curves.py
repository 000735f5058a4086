"""The picture of a run: drawn from any log, with the right numbers in it."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.training.curves import _perplexity_ticks, _smoothed, draw_curves
from unrolled.training.log import append_log

PNG = b"\x89PNG\r\n\x1a\n"


def entry(step: int, loss: float | None, kind: str = "train") -> dict[str, Any]:
    return {"step": step, "kind": kind, "loss": loss, "learning_rate": 1e-3, "norm": 0.5, "seconds": 1.0}


def width_and_height(picture: bytes) -> tuple[int, int]:
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")


LOGS = {
    "nothing": [],
    "one entry": [entry(1, 4.0)],
    "validation only": [entry(5, 4.0, "valid")],
    "no validation": [entry(step, 4.0 / step) for step in range(1, 100)],
    "usual": [entry(step, 4.0 / step, kind) for step in range(1, 100) for kind in ("train", "valid")],
    "not a number": [entry(1, None), entry(2, math.nan), entry(3, math.inf)],
    "gaps": [entry(step, None if step % 3 else 2.0) for step in range(50)],
    "explosion": [{**entry(step, 10.0**step), "norm": 10.0**step} for step in range(300)],
    "all the same": [entry(step, 2.0) for step in range(40)],
    "an alarm": [entry(1, 2.0), {"step": 2, "kind": "alarm", "loss": None, "norm": None, "norms": [1.0]}],
    "bare": [{"step": 1, "kind": "train", "loss": 1.0}],
}


@pytest.mark.parametrize("unit", ["", "bits per character", "perplexity"])
@pytest.mark.parametrize("name", LOGS)
def test_any_log_can_be_drawn(tmp_path: Path, name: str, unit: str) -> None:
    draw_curves(LOGS[name], tmp_path / "curves.png", unit=unit, title=name)
    picture = (tmp_path / "curves.png").read_bytes()
    assert picture.startswith(PNG)
    assert width_and_height(picture) == (900, 640)


def test_a_run_folder_is_drawn_from_its_log(tmp_path: Path) -> None:
    for logged in LOGS["usual"]:
        append_log(tmp_path, logged)
    draw_curves(tmp_path, tmp_path / "from_folder.png")
    draw_curves(LOGS["usual"], tmp_path / "from_entries.png")
    assert (tmp_path / "from_folder.png").read_bytes() == (tmp_path / "from_entries.png").read_bytes()


def test_no_window_system_is_touched(tmp_path: Path) -> None:
    draw_curves(LOGS["usual"], tmp_path / "curves.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"curves\.png cannot be written"):
        draw_curves([], tmp_path / "gone" / "curves.png")


@hypothesis_settings(max_examples=50)
@given(values=st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=300))
def test_the_smooth_curve_stays_within_the_values(values: list[float]) -> None:
    smooth, numbers = _smoothed(values), [value for value in values if math.isfinite(value)]
    assert [math.isnan(value) for value in smooth] == [math.isnan(value) for value in values]
    for value in smooth:
        assert math.isnan(value) or min(numbers) - 1e-6 <= value <= max(numbers) + 1e-6


def test_the_smooth_curve_does_not_lag_behind() -> None:
    line = [3.0 - step / 500 for step in range(400)]
    assert _smoothed(line)[:380] == pytest.approx(line[:380])


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (4.4, 4.9), (4.4, 7.0), (0.5, 4.0), (3.0, 20.0), (-0.2, 0.5)])
def test_perplexities_beside_the_losses_are_few_and_in_place(low: float, high: float) -> None:
    ticks = _perplexity_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    assert all(low <= math.log(tick) <= high for tick in ticks)
