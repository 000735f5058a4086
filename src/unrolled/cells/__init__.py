"""Equations: in come x⟨t⟩ and the states of the timestep before, out come the new states. One file a family.

A cell is a function over the operators of this folder, nothing more: its gradient, its kernels, the names on its
plots and its page in the docs are derived from the equations.
"""

from unrolled.cells import gru, lstm, rnn
from unrolled.cells.cell import Cell, cell
from unrolled.cells.operators import (
    Value,
    affine,
    exp,
    log,
    maximum,
    minimum,
    named,
    relu,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    vector,
    where,
)

CELLS: dict[str, Cell] = {
    known.name: known
    for known in (
        *(rnn.rnn(nonlinearity) for nonlinearity in rnn.NONLINEARITIES),
        gru.gru_simplified,
        gru.gru,
        gru.gru_torch,
        lstm.lstm,
        lstm.lstm_peephole,
        lstm.lstm_peephole_previous,
    )
}
"""Every cell that comes with the package, by name."""


def cell_named(name: str) -> Cell:
    """The cell that comes with the package under `name`.

    Raises:
        ValueError: no such cell; the message lists the names there are.
    """
    if name not in CELLS:
        raise ValueError(
            f'there is no cell "{name}"; the cells are {", ".join(CELLS)}, or your own through @unrolled.cell'
        )
    return CELLS[name]


__all__ = [
    "CELLS",
    "Cell",
    "Value",
    "affine",
    "cell",
    "cell_named",
    "exp",
    "log",
    "maximum",
    "minimum",
    "named",
    "relu",
    "sigmoid",
    "softplus",
    "sqrt",
    "tanh",
    "vector",
    "where",
]
