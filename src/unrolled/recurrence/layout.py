"""Where a cell's parameters live: which rows of which tensor belong to which affine map.

Weights on the input are stacked in gate order in `weight_ih`, weights on recurrent vectors in `weight_hh`, as torch
does. Torch's own cells have two biases, `bias_ih` and `bias_hh`; all others have one, `bias`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from torch import Tensor

from unrolled.recurrence.program import Program, values_of


@dataclass(frozen=True)
class Block:
    """`hidden_size` rows of a stacked parameter: those of one affine map, for one of its vectors or its bias.

    Attributes:
        parameter: the stacked parameter's name, without layer and direction.
        gate: the affine map's name; "" for a vector that belongs to none.
        entry: "x", a recurrent vector's name, "bias", "bias_hidden", or a vector's own name.
        position, stacked: this is block `position` of `stacked`.
    """

    parameter: str
    gate: str
    entry: str
    position: int
    stacked: int

    def rows(self, tensor: Tensor) -> Tensor:
        """This block's rows of the stacked parameter: a view."""
        hidden = tensor.shape[0] // self.stacked
        return tensor[self.position * hidden : (self.position + 1) * hidden]


@dataclass(frozen=True)
class Layout:
    """The blocks of every parameter of one layer and direction."""

    blocks: tuple[Block, ...]

    @cached_property
    def parameters(self) -> dict[str, int]:
        """Each parameter's name and how many blocks it stacks, in torch's order."""
        return {block.parameter: block.stacked for block in self.blocks}

    @cached_property
    def _gates(self) -> dict[str, dict[str, Block]]:
        found: dict[str, dict[str, Block]] = {}
        for block in self.blocks:
            found.setdefault(block.gate, {}).setdefault(block.entry, block)
        return found

    def of(self, gate: str) -> Iterator[Block]:
        """The blocks of one gate."""
        return iter(self._gates.get(gate, {}).values())

    def find(self, gate: str, entry: str) -> Block | None:
        """The block of one gate and entry, or None."""
        return self._gates.get(gate, {}).get(entry)


@lru_cache(maxsize=256)
def layout_of(program: Program, bias: bool = True) -> Layout:
    """The layout of a program's parameters. `bias=False` leaves every affine map's bias out, as torch does."""
    found: dict[str, list[tuple[str, str]]] = {"weight_ih": [], "weight_hh": []}
    for affine in program.affines:
        labels = [program.label(argument) or "" for argument in values_of(affine)]
        recurrent = [label for label in labels if label != "x"]
        found["weight_ih"] += [(affine.name, "x")] * ("x" in labels)
        found["weight_hh"] += [(affine.name, label) for label in recurrent]
        if bias and affine.bias:
            for parameter, entry in _biases(program.two_biases, "x" in labels, bool(recurrent)):
                found.setdefault(parameter, []).append((affine.name, entry))
    vectors = dict.fromkeys(made for made in program.instructions if made.operation == "vector")
    for vector in vectors:
        parameter = f"weight_{vector.name}" if vector.gate else vector.name
        found.setdefault(parameter, []).append((vector.gate or "", vector.name))
    order = {affine.name: place for place, affine in enumerate(program.affines)}
    for parameter, blocks in found.items():
        if parameter not in ("weight_ih", "weight_hh"):
            blocks.sort(key=lambda block: order.get(block[0], -1))
    return Layout(
        tuple(
            Block(parameter, gate, entry, position, len(blocks))
            for parameter, blocks in found.items()
            for position, (gate, entry) in enumerate(blocks)
        )
    )


def _biases(two: bool, on_input: bool, on_states: bool) -> list[tuple[str, str]]:
    """Parameter and entry of an affine map's biases. Where torch's map has just one, it is called "bias"."""
    if not two:
        return [("bias", "bias")]
    both = [("bias_ih", "bias")] if on_input else []
    if on_states:
        both.append(("bias_hh", "bias_hidden" if on_input else "bias"))
    return both


def bias_of(layout: Layout, gate: str, parameters: Mapping[str, Tensor]) -> Tensor | None:
    """The whole bias of one affine map: one vector, or the sum of torch's two. None if it has none."""
    parts = [
        block.rows(parameters[block.parameter]) for block in layout.of(gate) if block.entry in ("bias", "bias_hidden")
    ]
    return sum(parts[1:], parts[0]) if parts else None
