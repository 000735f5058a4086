"""Every cell, and three of a user's own, computes the equations of the course notes."""

from typing import Any

import pytest
import torch

from cell_table import NAMES, OF, given, run_in_numpy, states_of, tuple_of, x_of
from tolerances import assert_equal

SHAPES: dict[str, dict[str, Any]] = {
    "one layer": {},
    "no bias": {"bias": False},
    "two layers": {"num_layers": 2},
    "two directions": {"bidirectional": True},
    "both": {"num_layers": 2, "bidirectional": True},
}


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in NAMES for shape, options in SHAPES.items() if OF[name].takes(**options)],
)
def test_layer_computes_the_equations(name: str, shape: str) -> None:
    row, options = OF[name], SHAPES[shape]
    torch.manual_seed(3)
    layer = row.layer(**options)
    x, states, lengths = x_of(layer, 4, 3), states_of(layer, 3), [2, 4, 0]
    output, final, seen = layer(x, given(states), lengths=torch.tensor(lengths), observe=True)
    expected = run_in_numpy(row, layer, x.numpy(), tuple(state.numpy() for state in states), lengths)
    assert_equal(output, expected[0], "output")
    assert_equal(tuple_of(final), expected[1], "final state")
    for number, ways in enumerate(expected[2]):
        for way, gates in enumerate(ways):
            found = seen.layer(number, reverse=bool(way))
            assert found.keys() == gates.keys()
            for gate, value in gates.items():
                assert_equal(found[gate], value, f"layer {number}, way {way}, {gate}")


@pytest.mark.parametrize("name", NAMES)
def test_the_first_state_is_zero_and_the_output(name: str) -> None:
    row = OF[name]
    layer = row.layer()
    x = x_of(layer, 3, 2)
    zeros = tuple(torch.zeros_like(state) for state in states_of(layer, 2))
    output, final = layer(x)
    assert_equal(layer(x, given(zeros)), (output, final))
    assert_equal(tuple_of(final)[0][0], output[-1])
