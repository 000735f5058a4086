"""The cells that every test of the recurrence runs over: those of the package, and three of a user's own.

Each row has the equations once more, in plain NumPy, straight from the course notes; `unrolled.cells` is not asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn as torch_nn

import unrolled
from unrolled.cells import (
    Cell,
    affine,
    cell_named,
    exp,
    log,
    maximum,
    minimum,
    named,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    vector,
    where,
)
from unrolled.cells.operators import Value
from unrolled.nn import Recurrent

Array = NDArray[np.float64]
Weights = Callable[[str], Mapping[str, Array]]
Gates = dict[str, Array]
Equations = Callable[..., tuple[tuple[Array, ...], Gates]]
"""(weights, x⟨t⟩, *states) to the new states, and the gates that a person sees, by name."""


@unrolled.cell
def minimal(x: Value, h: Value) -> Value:
    """A gated unit of six lines."""
    forget = sigmoid(affine("forget", h, x))
    candidate = tanh(affine("candidate", forget * h, x))
    return (1 - forget) * h + forget * candidate


@unrolled.cell
def leaky(x: Value, h: Value, s: Value) -> tuple[Value, Value]:
    """A learned leak, a rate of its own, and a choice: no cell of the package has any of them."""
    leak = sigmoid(vector("leak"))
    rate = softplus(affine("rate", h, x))
    drive = affine("drive", x, bias=False) - affine("damping", named(h * s, "product"))
    fresh = where(s < 0.1, maximum(tanh(drive), -0.5), exp(-rate))
    return leak * h + (1 - leak) * fresh, 0.5 * s + 0.5 * rate * h


@unrolled.cell("saturating", two_biases=True)
def saturating(x: Value, a: Value, n: Value) -> tuple[Value, Value]:
    """The operators that no other cell uses, in torch's layout of biases, and a vector that belongs to a gate."""
    energy = affine("energy", a, x)
    scaled = named(a / sqrt(1 + energy**2), "scaled")
    drive = tanh(affine("drive", scaled, x) + vector("gain", gate="drive") * n)
    above = named((drive > 0) * 0.5 + (drive >= n), "above")
    bounded = minimum(drive + log(2 + n**2), 1)
    return bounded, where(above, -(0.5 * n) + bounded, 0) - 0.1 * above


@unrolled.cell
def highway(x: Value, a: Value) -> Value:
    """x itself, unit by unit: its width must be the state's."""
    carry = sigmoid(affine("carry", a, x))
    return carry * x + (1 - carry) * tanh(affine("hidden", a))


def _sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def _affine(gate: Mapping[str, Array], **vectors: Array) -> Array:
    """W[v₁, v₂, ...] + b, from what `parameters_of` calls them."""
    bias = gate.get("bias", 0.0) + gate.get("bias_hidden", 0.0)
    return sum((v @ gate[name].T for name, v in vectors.items()), start=np.asarray(bias))


def _rnn(g: Callable[[Array], Array]) -> Equations:
    def step(w: Weights, x: Array, a: Array) -> Any:
        a = g(_affine(w("hidden"), a=a, x=x))
        return (a,), {"hidden": a}

    return step


def _gru_simplified(w: Weights, x: Array, c: Array) -> Any:
    update = _sigmoid(_affine(w("update"), c=c, x=x))
    candidate = np.tanh(_affine(w("candidate"), c=c, x=x))
    return (update * candidate + (1 - update) * c,), {"update": update, "candidate": candidate}


def _gru(w: Weights, x: Array, c: Array) -> Any:
    relevance = _sigmoid(_affine(w("relevance"), c=c, x=x))
    update = _sigmoid(_affine(w("update"), c=c, x=x))
    candidate = np.tanh(_affine(w("candidate"), c=relevance * c, x=x))
    gates = {"relevance": relevance, "update": update, "candidate": candidate}
    return (update * candidate + (1 - update) * c,), gates


def _gru_torch(w: Weights, x: Array, c: Array) -> Any:
    relevance = _sigmoid(_affine(w("relevance"), c=c, x=x))
    keep = _sigmoid(_affine(w("keep"), c=c, x=x))
    hidden = _affine(w("candidate_hidden"), c=c)
    candidate = np.tanh(_affine(w("candidate"), x=x) + relevance * hidden)
    gates = {"relevance": relevance, "keep": keep, "candidate": candidate, "candidate_hidden": hidden}
    return ((1 - keep) * candidate + keep * c,), gates


def _lstm(sees_old: str = "", output_sees_new: bool = False) -> Equations:
    """`sees_old`: the gates with a peephole on c⟨t-1⟩, by their first letters."""

    def step(w: Weights, x: Array, a: Array, c: Array) -> Any:
        def gate(name: str, cell_state: Array | None) -> Array:
            peephole = 0.0 if cell_state is None else w(name)["peephole"] * cell_state
            return _sigmoid(_affine(w(name), a=a, x=x) + peephole)

        update = gate("update", c if "u" in sees_old else None)
        forget = gate("forget", c if "f" in sees_old else None)
        candidate = np.tanh(_affine(w("candidate"), a=a, x=x))
        new = update * candidate + forget * c
        output = gate("output", new if output_sees_new else c if "o" in sees_old else None)
        gates = {"update": update, "forget": forget, "candidate": candidate, "output": output}
        return (output * np.tanh(new), new), gates

    return step


def _minimal(w: Weights, x: Array, h: Array) -> Any:
    forget = _sigmoid(_affine(w("forget"), h=h, x=x))
    candidate = np.tanh(_affine(w("candidate"), h=forget * h, x=x))
    return ((1 - forget) * h + forget * candidate,), {"forget": forget, "candidate": candidate}


def _leaky(w: Weights, x: Array, h: Array, s: Array) -> Any:
    leak = _sigmoid(w("leak")["leak"])
    rate = np.log1p(np.exp(_affine(w("rate"), h=h, x=x)))
    given, damping = _affine(w("drive"), x=x), _affine(w("damping"), product=h * s)
    fresh = np.where(s < 0.1, np.maximum(np.tanh(given - damping), -0.5), np.exp(-rate))
    # two affine maps meet in one sum, so both name the gate that is its activation
    both = np.tanh(given - damping)
    gates = {"rate": rate, "drive": both, "damping": both, "product": h * s}
    return (leak * h + (1 - leak) * fresh, 0.5 * s + 0.5 * rate * h), gates


def _saturating(w: Weights, x: Array, a: Array, n: Array) -> Any:
    energy = _affine(w("energy"), a=a, x=x)
    scaled = a / np.sqrt(1 + energy**2)
    drive = np.tanh(_affine(w("drive"), scaled=scaled, x=x) + w("drive")["gain"] * n)
    above = 0.5 * (drive > 0) + (drive >= n)
    bounded = np.minimum(drive + np.log(2 + n**2), 1)
    gates = {"energy": energy, "scaled": scaled, "drive": drive, "above": above}
    return (bounded, np.where(above != 0, bounded - 0.5 * n, 0) - 0.1 * above), gates


def _highway(w: Weights, x: Array, a: Array) -> Any:
    carry = _sigmoid(_affine(w("carry"), a=a, x=x))
    hidden = np.tanh(_affine(w("hidden"), a=a))
    return (carry * x + (1 - carry) * hidden,), {"carry": carry, "hidden": hidden}


@dataclass(frozen=True)
class Row:
    """One cell of the table.

    Attributes:
        cell: the cell.
        equations: its step in NumPy.
        torch_layer: torch.nn's layer of the same equations, where there is one.
        same_width: the cell takes only inputs as wide as its state.
        scale: factor on the initial weights, for a cell that would overflow with torch's.
    """

    cell: Cell
    equations: Equations
    torch_layer: Callable[..., torch_nn.RNNBase] | None = None
    same_width: bool = False
    scale: float = 1.0

    def layer(self, input_size: int = 3, hidden_size: int = 4, num_layers: int = 1, **options: Any) -> Recurrent:
        """A layer of this cell; the table's defaults suit every row."""
        options = {"dtype": torch.float64, "engine": "eager", **options}
        width = hidden_size if self.same_width else input_size
        layer = Recurrent(self.cell, width, hidden_size, num_layers, **options)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(self.scale)
        return layer

    def takes(self, num_layers: int = 1, bidirectional: bool = False, **_: Any) -> bool:
        """Whether the cell can be stacked so: a second layer above two directions gets twice the width."""
        return not (self.same_width and num_layers > 1 and bidirectional)


def _torch_rnn(*arguments: Any, **options: Any) -> torch_nn.RNN:
    return torch_nn.RNN(*arguments, nonlinearity="relu", **options)


ROWS = [
    Row(cell_named("rnn"), _rnn(np.tanh), torch_nn.RNN),
    Row(cell_named("rnn-relu"), _rnn(lambda v: np.maximum(v, 0)), _torch_rnn),
    Row(cell_named("rnn-sigmoid"), _rnn(_sigmoid)),
    Row(cell_named("rnn-softplus"), _rnn(lambda v: np.log1p(np.exp(v)))),
    Row(cell_named("rnn-exp"), _rnn(np.exp), scale=0.2),
    Row(cell_named("gru-simplified"), _gru_simplified),
    Row(cell_named("gru"), _gru),
    Row(cell_named("gru-torch"), _gru_torch, torch_nn.GRU),
    Row(cell_named("lstm"), _lstm(), torch_nn.LSTM),
    Row(cell_named("lstm-peephole"), _lstm("uf", output_sees_new=True)),
    Row(cell_named("lstm-peephole-previous"), _lstm("ufo")),
    Row(minimal, _minimal),
    Row(leaky, _leaky),
    Row(saturating, _saturating),
    Row(highway, _highway, same_width=True),
]
OF = {row.cell.name: row for row in ROWS}
NAMES = list(OF)
TORCH_NAMES = [name for name, row in OF.items() if row.torch_layer]


def x_of(layer: Recurrent, steps: int, batch: int, seed: int = 0) -> torch.Tensor:
    """Random input (T, B, I) for a layer, of its type."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, layer.input_size, generator=generator, dtype=torch.float64)
    return x.to(next(layer.parameters()).dtype)


def states_of(layer: Recurrent, batch: int, seed: int = 1) -> tuple[torch.Tensor, ...]:
    """Random initial states for a layer, as a tuple whatever their number."""
    generator = torch.Generator().manual_seed(seed)
    shape = (layer.num_layers * layer.num_directions, batch, layer.hidden_size)
    states = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in layer.cell.states)
    return tuple(0.5 * state.to(next(layer.parameters()).dtype) for state in states)


def given(states: tuple[torch.Tensor, ...]) -> Any:
    """A tuple of states as a layer takes and returns them: one alone is no tuple."""
    return states if len(states) > 1 else states[0]


def tuple_of(state: Any) -> tuple[torch.Tensor, ...]:
    """The states that a layer returned, as a tuple whatever their number."""
    return state if isinstance(state, tuple) else (state,)


def run_in_numpy(
    row: Row, layer: Recurrent, x: Array, states: tuple[Array, ...], lengths: list[int]
) -> tuple[Array, tuple[Array, ...], list[list[Gates]]]:
    """A whole stack by the equations, one sequence at a time and each only as long as it is.

    Returns (T, B, directions · H) outputs, the final states, and for each layer and direction the gates (T, B, H).
    """
    final = [np.zeros_like(state) for state in states]
    gates: list[list[Gates]] = []
    for number in range(layer.num_layers):
        ways = []
        for way in range(layer.num_directions):
            place = number * layer.num_directions + way
            weights = _weights(layer, number, bool(way))
            output, seen = np.zeros((*x.shape[:2], layer.hidden_size)), {}
            for sequence, length in enumerate(lengths):
                current = tuple(state[place, sequence] for state in states)
                for t in reversed(range(length)) if way else range(length):
                    current, named_values = row.equations(weights, x[t, sequence], *current)
                    output[t, sequence] = current[0]
                    for name, value in {**named_values, **dict(zip(layer.cell.states, current, strict=True))}.items():
                        seen.setdefault(name, np.zeros_like(output))[t, sequence] = value
                for state, value in zip(final, current, strict=True):
                    state[place, sequence] = value
            ways.append((output, seen))
        x = np.concatenate([output for output, _ in ways], -1)
        gates.append([seen for _, seen in ways])
    return x, tuple(final), gates


def _weights(layer: Recurrent, number: int, reverse: bool) -> Weights:
    return lambda gate: {
        name: tensor.numpy() for name, tensor in layer.parameters_of(gate, layer=number, reverse=reverse).items()
    }
