"""What a recurrent stack did while a model read one sequence: every gate and state of every timestep.

A model calls its stack as it always does; while `observing` is open, the stack is asked to observe, so nothing in
`models/` has to know of it.

How long a unit remembers is derived from the cell's own equations. `kept` is ∂s⟨t⟩/∂s⟨t-1⟩ of each unit along the path
that goes through no gate: Γ_f for an LSTM's memory, 1 - Γ_u for a GRU's; a plain RNN has none, and a cell of the user's
has what its equations say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.inspecting.cell_search import UnitName
from unrolled.nn.recurrent import Recurrent
from unrolled.nn.seen import Seen
from unrolled.recurrence.eager import pointwise
from unrolled.recurrence.program import Constant, Program, outline

Numbers = NDArray[np.float64]
_WATCHING = threading.Lock()


@dataclass(frozen=True)
class ObservedLayer:
    """One layer in one direction.

    Attributes:
        layer: its number, the first is 0. reverse: whether it reads from the end.
        values: every gate, named value and state by name, (T, H); states are those after each timestep.
        gates: the names of those that are sigmoids, and so between 0 and 1. states: those of the states.
        kept: of every state that is kept by a path of its own, which share of each unit passes each timestep, (T, H).
    """

    layer: int
    reverse: bool
    values: Mapping[str, Numbers]
    gates: tuple[str, ...]
    states: tuple[str, ...]
    kept: Mapping[str, Numbers]

    @property
    def name(self) -> str:
        """For people: "layer 0", "layer 0 backwards"."""
        return _layer_name(self.layer, self.reverse)

    @cached_property
    def half_lives(self) -> dict[str, Numbers]:
        """Of every state that is kept, after how many timesteps half of each unit's content is left, (H,).

        ln 2 over the mean of -ln kept: infinity where all was kept, 0 where nothing was.
        """
        with np.errstate(divide="ignore"):
            rates = {name: -np.log(np.clip(kept, 0.0, 1.0)).mean(axis=0) for name, kept in self.kept.items()}
            return {name: np.log(2) / np.abs(rate) for name, rate in rates.items()}  # abs: of -0 the inverse is -∞


@dataclass(frozen=True)
class Observation:
    """A sequence and what each layer did with it.

    Attributes:
        symbols: what was read, one a timestep, as people see it.
        cell: the cell's name.
        layers: layer by layer, of two directions the forward one first.
    """

    symbols: tuple[str, ...]
    cell: str
    layers: tuple[ObservedLayer, ...]

    def layer(self, layer: int = 0, *, reverse: bool = False) -> ObservedLayer:
        """One of the layers.

        Raises:
            IndexError: there is none such.
        """
        for one in self.layers:
            if (one.layer, one.reverse) == (layer, reverse):
                return one
        wanted, there = _layer_name(layer, reverse), "; ".join(one.name for one in self.layers)
        raise IndexError(f"there is no {wanted}, but {there}")

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            "symbols": list(self.symbols),
            "cell": self.cell,
            "layers": [
                {
                    "layer": one.layer, "reverse": one.reverse, "gates": list(one.gates), "states": list(one.states),
                    "values": {name: value.tolist() for name, value in one.values.items()},
                    "kept": {name: value.tolist() for name, value in one.kept.items()},
                }
                for one in self.layers
            ],
        }  # fmt: skip


def _layer_name(layer: int, reverse: bool) -> str:
    return f"layer {layer}" + (" backwards" if reverse else "")


@contextmanager
def observing(recurrent: Recurrent) -> Iterator[list[Seen]]:
    """Meanwhile every call of the stack is observed; what was seen is appended to the list, call by call.

    Another thread that uses the model in the meantime is not: a server answers several requests at once. One thread
    watches at a time.
    """
    found: list[Seen] = []
    watcher, plain, engine = threading.get_ident(), recurrent.forward, recurrent.engine

    def forward(*arguments: Any, **keywords: Any) -> Any:
        if threading.get_ident() != watcher:
            return plain(*arguments, **keywords)
        output, state, seen = plain(*arguments, observe=True, **keywords)
        found.append(seen)
        return output, state

    with _WATCHING:
        recurrent.forward = forward  # type: ignore[method-assign]
        if engine == "vendor":
            recurrent.engine = "auto"  # torch.nn's kernels show nothing
        try:
            yield found
        finally:
            del recurrent.forward
            recurrent.engine = engine


def observation(symbols: Sequence[str], recurrent: Recurrent, found: Sequence[Seen]) -> Observation:
    """Gather what was seen of one sequence, read in one call or in several that follow each other."""
    steps, layers = len(symbols), []
    for layer in range(found[0].num_layers):
        for reverse in (False, True)[: recurrent.num_directions]:
            parts = [seen.layer(layer, reverse=reverse) for seen in found]
            values = {name: torch.cat([part[name] for part in parts])[:steps, 0] for name in parts[0]}
            layers.append(_observed(recurrent, layer, reverse, values))
    return Observation(tuple(symbols), recurrent.cell.name, tuple(layers))


def unit_states(recurrent: Recurrent, seen: Seen) -> tuple[list[UnitName], NDArray[np.float32]]:
    """Every hidden unit of a one-way stack over one sequence: their names, and their values (T, U)."""
    names, values = [], []
    for layer in range(seen.num_layers):
        for state in outline(recurrent.cell).states:
            own = seen.layer(layer)[state][:, 0].float().cpu().numpy()
            names += [UnitName(layer, state, unit) for unit in range(own.shape[1])]
            values.append(own)
    return names, np.concatenate(values, axis=1)


def _observed(recurrent: Recurrent, layer: int, reverse: bool, values: Mapping[str, Tensor]) -> ObservedLayer:
    program = outline(recurrent.cell)
    values = {name: value.detach().double().cpu() for name, value in values.items()}
    sigmoids = [
        name for name, number in program.observed.items()
        if (made := program.instruction(number)) is not None and made.operation == "sigmoid"
    ]  # fmt: skip

    def vector(name: str, gate: str | None) -> Tensor:
        return recurrent.parameters_of(gate or name, layer=layer, reverse=reverse)[name].double().cpu()

    kept = {} if program.opaque else _kept(program, values, reverse, vector)
    return ObservedLayer(
        layer, reverse, {name: value.numpy() for name, value in values.items()}, tuple(sigmoids), program.states,
        {name: value.numpy() for name, value in kept.items()},
    )  # fmt: skip


def _kept(
    program: Program, seen: Mapping[str, Tensor], reverse: bool, vector: Callable[[str, str | None], Tensor]
) -> dict[str, Tensor]:
    """See `ObservedLayer.kept`: the step is run once more, with every gate a constant, and differentiated."""
    before = [_before(seen[state], reverse).requires_grad_() for state in program.states]
    constants = {number: seen[name] for name, number in program.observed.items()}
    values: list[Any] = [torch.zeros_like(before[0]), *before]
    for number, instruction in enumerate(program.instructions, program.first):
        arguments = [one.value if isinstance(one, Constant) else values[one] for one in instruction.arguments]
        if number in constants:
            values.append(constants[number])
        elif instruction.operation == "affine":
            values.append(torch.zeros_like(before[0]))  # it only enters a gate, which is known
        elif instruction.operation == "vector":
            values.append(vector(instruction.name, instruction.gate))
        elif instruction.operation == "named":
            values.append(arguments[0])
        else:
            values.append(pointwise(instruction.operation, arguments, before[0].dtype))
    found = {}
    for place, (state, output) in enumerate(zip(program.states, program.outputs, strict=True)):
        if isinstance(new := values[output], Tensor) and new.requires_grad:
            (share,) = torch.autograd.grad(new.sum(), before[place], allow_unused=True, retain_graph=True)
            if share is not None:
                found[state] = share
    return found


def _before(state: Tensor, reverse: bool) -> Tensor:
    """A state before each timestep, (T, H): that of the neighbour that was read before, 0 for the first."""
    first = torch.zeros_like(state[:1])
    return torch.cat([state[1:], first] if reverse else [first, state[:-1]])
