"""Gradients through time: against finite differences, and against the closed form of a linear recurrence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import unrolled
from unrolled.cells import affine
from unrolled.errors import UserError
from unrolled.inspecting.gradients import GradientDecay, Watched, draw_gradients, gradient_decay, multiply_recurrent
from unrolled.nn import LSTM, Recurrent


@unrolled.cell
def linear(x, h):  # type: ignore[no-untyped-def]
    return affine("hidden", h, x)


def watched(steps: int, batch: int, size: int, way: Tensor) -> Watched:
    vectors = torch.randn(steps, batch, size, dtype=torch.float64)
    return Watched(vectors, None, lambda step, outputs: outputs[-1] @ way, ends=True)


def test_a_linear_recurrence_has_the_powers_of_its_matrix() -> None:
    torch.manual_seed(1)
    layer = Recurrent(linear, 3, 4, dtype=torch.float64)
    way = torch.randn(4, dtype=torch.float64)
    found = gradient_decay("linear", layer, [watched(9, 2, 3, way)])
    matrix = layer.parameters_of("hidden")["h"]
    expected = [float((torch.linalg.matrix_power(matrix.T, distance) @ way).norm()) for distance in range(1, 9)]
    assert found.median == pytest.approx(expected, rel=1e-9)
    assert found.low == pytest.approx(found.high, rel=1e-9)  # the same at every sequence: it is linear
    assert found.distances == tuple(range(1, 9))


def test_all_states_of_all_layers_are_differentiated() -> None:
    torch.manual_seed(2)
    layer = LSTM(2, 3, num_layers=2, dtype=torch.float64).requires_grad_(False)
    way, steps, moment = torch.randn(3, dtype=torch.float64), 4, 1
    one = watched(steps, 1, 2, way)
    found = gradient_decay("lstm", layer, [one])

    def loss(states: tuple[Tensor, ...]) -> float:
        return float((layer(one.vectors[moment + 1 :], states)[0][-1] @ way).sum())

    before = layer(one.vectors[: moment + 1])[1]
    squares, small = 0.0, 1e-6
    for place, part in enumerate(before):
        for index in np.ndindex(*part.shape):
            ends = []
            for sign in (1, -1):
                moved = [state.clone() for state in before]
                moved[place][index] += sign * small
                ends.append(loss(tuple(moved)))
            squares += ((ends[0] - ends[1]) / (2 * small)) ** 2
    distance = steps - 1 - moment
    assert found.median[found.distances.index(distance)] == pytest.approx(np.sqrt(squares), rel=1e-6)


def test_what_vanishes_and_what_explodes_is_said_in_numbers() -> None:
    distances = tuple(range(1, 11))
    falling = np.array([0.5**distance for distance in distances])
    vanishing = GradientDecay("falls", distances, falling, falling, falling, 1)
    assert vanishing.factor == pytest.approx(0.5)
    assert vanishing.reach == 8
    exploding = GradientDecay("grows", distances, 1 / falling, falling, 1 / falling, 1)
    assert exploding.factor == pytest.approx(2)
    assert exploding.reach is None


def test_a_gain_multiplies_the_weights_on_the_state() -> None:
    layer = Recurrent(linear, 3, 4, initialiser="orthogonal")
    before = {name: parameter.clone() for name, parameter in layer.named_parameters()}
    multiply_recurrent(layer, "1.5")
    for name, parameter in layer.named_parameters():
        assert torch.equal(parameter, before[name] * (1.5 if "weight_hh" in name else 1.0))
    for gain in ("0", "nan", "big", "-1", "inf"):
        with pytest.raises(UserError, match="is no positive number"):
            multiply_recurrent(layer, gain)


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_pictures(tmp_path: Path, count: int, ending: str) -> None:
    norms = np.array([0.7**distance for distance in range(count)])
    norms[-1] = 0.0  # what has vanished altogether is left out
    one = GradientDecay("a run", tuple(range(1, count + 1)), norms, norms, norms, 3)
    draw_gradients([one, one], tmp_path / f"gradients.{ending}")
    assert (tmp_path / f"gradients.{ending}").stat().st_size > 1000


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    norms = np.array([1.0])
    with pytest.raises(UserError, match=r"\.png or \.svg"):
        draw_gradients([GradientDecay("a run", (1,), norms, norms, norms, 1)], tmp_path / "gradients.gif")
