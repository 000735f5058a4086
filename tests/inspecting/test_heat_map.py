"""The picture of gates, at the lengths that there are."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from unrolled.errors import UserError
from unrolled.inspecting.heat_map import draw_gates
from unrolled.inspecting.observation import ObservedLayer


def layer(steps: int, units: int = 12) -> ObservedLayer:
    random = np.random.default_rng(steps)
    values = {"forget": random.random((steps, units)), "c": random.normal(size=(steps, units))}
    return ObservedLayer(0, False, values, ("forget",), ("c",), {})


@pytest.mark.parametrize("steps", [1, 9, 700])
def test_any_length(steps: int, tmp_path: Path) -> None:
    symbols = ["$", "word", "\N{OPEN BOX}", "日"] * steps
    draw_gates(layer(steps), symbols[:steps], np.arange(12), tmp_path / "gates.png")
    height, width = imread(tmp_path / "gates.png").shape[:2]
    assert 300 < height < 700
    assert 400 < width <= 22 * 110


def test_svg_of_one_gate(tmp_path: Path) -> None:
    draw_gates(layer(5), list("a_b^c"), np.arange(12)[::-1], tmp_path / "gates.svg", names=["forget"])
    assert "<svg" in (tmp_path / "gates.svg").read_text()


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.png or \.svg"):
        draw_gates(layer(2), "ab", np.arange(12), tmp_path / "gates.gif")
    with pytest.raises(UserError, match="nothing is called 'update' in layer 0; there are forget, c"):
        draw_gates(layer(2), "ab", np.arange(12), tmp_path / "gates.png", names=["update"])
