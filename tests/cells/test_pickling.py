"""Cells and layers in other processes, in torch.save's files, and copied."""

import copy
import io
import pickle
from dataclasses import replace

import pytest
import torch

import cell_table
import unrolled
from unrolled.cells import Cell, affine, cell_named, tanh
from unrolled.cells.operators import Value
from unrolled.cells.rnn import NONLINEARITIES
from unrolled.nn import GRU, LSTM, RNN, Recurrent


@unrolled.cell
def summing(x: Value, h: Value) -> Value:
    return tanh(affine("hidden", h, x)) + torch.cumsum(h, -1)  # type: ignore[call-overload]


@unrolled.cell("lstm")
def impostor(x: Value, a: Value, c: Value) -> tuple[Value, Value]:
    """It has a name of the package's, and other equations."""
    return tanh(affine("update", a, x)), c


def assert_same(ours: Recurrent, theirs: Recurrent) -> None:
    x = cell_table.x_of(ours, 5, 2)
    for left, right in zip(
        (ours(x)[0], *cell_table.tuple_of(ours(x)[1])), (theirs(x)[0], *cell_table.tuple_of(theirs(x)[1])), strict=True
    ):
        assert torch.equal(left, right)


@pytest.mark.parametrize("name", cell_table.NAMES)
def test_a_layer_comes_back_the_same(name: str) -> None:
    layer = cell_table.OF[name].layer()
    assert_same(layer, pickle.loads(pickle.dumps(layer)))
    assert_same(layer, copy.deepcopy(layer))
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert_same(layer, torch.load(file, weights_only=False))


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_the_packages_cells_travel_by_name(nonlinearity: str) -> None:
    name = "rnn" if nonlinearity == "tanh" else f"rnn-{nonlinearity}"
    assert pickle.loads(pickle.dumps(RNN(3, 4, nonlinearity=nonlinearity).cell)) is cell_named(name)
    for layer in (LSTM(3, 5), LSTM(3, 5, peephole="previous"), GRU(3, 5, reset="before")):
        assert pickle.loads(pickle.dumps(layer)).cell is layer.cell


@pytest.mark.parametrize("cell", [impostor, replace(cell_named("lstm"), two_biases=False)], ids=["equations", "biases"])
def test_a_name_of_the_packages_on_another_cell_is_not_mistaken(cell: Cell) -> None:
    layer = Recurrent(cell, 3, 4, engine="eager", dtype=torch.float64)
    assert_same(layer, pickle.loads(pickle.dumps(layer)))


def test_copies_keep_the_step() -> None:
    layer = Recurrent(summing, 3, 4, engine="eager")
    assert copy.deepcopy(layer).cell is summing
    assert copy.copy(summing) is summing


def test_a_cell_that_has_no_program_says_why() -> None:
    with pytest.raises(TypeError, match=r"summing.*cumsum.*test_pickling"):
        pickle.dumps(Recurrent(summing, 3, 4, engine="eager"))
