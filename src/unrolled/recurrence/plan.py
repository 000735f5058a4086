"""What a kernel has to compute, keep and fetch, decided from a program: which vectors enter products, what is saved.

Saved for the gradient are the states of every timestep and the gates after their activation; whatever follows from
those unit by unit, such as tanh(c⟨t⟩), is computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from unrolled.recurrence.adjoint import KEEP, Adjoint, differentiate, takers, value_seen, with_zoneout
from unrolled.recurrence.layout import Layout
from unrolled.recurrence.levels import Levels, cut
from unrolled.recurrence.program import Instruction, Program, values_of

LEAVES = frozenset({"vector", KEEP, "gradient", "gradient_seen"})
"""Operations that fetch: every level may do it for itself."""

MOST_OPERATIONS = 300
"""Kernels are written for steps of up to so many operations: LLVM takes longer than in proportion for more."""

MOST_LEVELS = 16
"""Kernels are written for steps of up to so many affine maps that need one another within a timestep."""


def beyond_kernels(program: Program) -> str | None:
    """Why no kernel is compiled for a step, in words; None if one is."""
    what, count, most = "operations", len(program.instructions), MOST_OPERATIONS
    if count <= most:
        what, count, most = "affine maps that need one another", program.depth, MOST_LEVELS
    if count <= most:
        return None
    return f'the step of cell "{program.cell}" has {count:,} {what}, and kernels are compiled for up to {most}'


@dataclass(frozen=True)
class Form:
    """One way of running a cell: everything that a kernel is compiled for.

    Attributes:
        traced: the cell's program.
        layout: where its parameters live.
        dtype: "float32" or "float64".
        saving: whether what the gradient needs is kept.
        seen: gates and states that are given out for every timestep.
        masked: whether recurrent vectors are multiplied by a constant mask.
        zoneout: whether new states keep a share of the old ones.
        projected: x comes multiplied by its weights already.
        half_weights: whether packed weights are stored as bfloat16; sums stay in the type of numbers.
    """

    traced: Program
    layout: Layout
    dtype: str
    saving: bool = False
    seen: tuple[str, ...] = ()
    masked: bool = False
    zoneout: bool = False
    projected: bool = False
    half_weights: bool = False

    @cached_property
    def program(self) -> Program:
        """The program with zoneout, if there is any."""
        return with_zoneout(self.traced) if self.zoneout else self.traced

    @cached_property
    def adjoint(self) -> Adjoint:
        return differentiate(self.program, self.seen)

    @cached_property
    def affines(self) -> tuple[int, ...]:
        """The numbers of the affine maps, in gate order."""
        return tuple(
            n for n, made in enumerate(self.program.instructions, self.program.first) if made.operation == "affine"
        )

    @cached_property
    def on_input(self) -> tuple[int, ...]:
        """The affine maps that take x."""
        return tuple(number for number in self.affines if 0 in self._made(number).arguments)

    @cached_property
    def operands(self) -> dict[int, tuple[int, ...]]:
        """Every vector other than x that enters affine maps, and these maps: states first."""
        values = {value for number in self.affines for value in values_of(self._made(number)) if value != 0}
        return {value: tuple(takers(self.program, value)) for value in sorted(values)}

    @cached_property
    def vectors(self) -> tuple[tuple[str, str], ...]:
        """The vectors that are parameters, by (gate or "", name)."""
        made = (made for made in self.program.instructions if made.operation == "vector")
        return tuple(dict.fromkeys((made.gate or "", made.name) for made in made))

    @cached_property
    def biased(self) -> tuple[int, ...]:
        """The affine maps that have a bias."""
        return tuple(number for number in self.affines if self.layout.find(self._made(number).name, "bias"))

    @cached_property
    def forward(self) -> Levels:
        """The levels of a timestep."""
        program = self.program
        made = dict(enumerate(program.instructions, program.first))
        computed = {n: i for n, i in made.items() if i.operation not in LEAVES or n in self.operands}
        whole = {n: tuple(value for value in values_of(made[n]) if value in computed) for n in self.affines}
        seen = [value_seen(program, name) for name in self.seen]
        saved = self.saved if self.saving else ()
        return cut(computed, whole, [*program.outputs, *seen, *saved])

    @cached_property
    def backward(self) -> Levels:
        """The levels of a timestep of the adjoint."""
        adjoint = self.adjoint
        made = dict(enumerate(adjoint.instructions, adjoint.first))
        deltas = {value for i in made.values() if i.operation == "transposed" for value in i.arguments}
        computed = {n: i for n, i in made.items() if i.operation not in LEAVES or n in self.carried or n in deltas}
        whole: dict[int, tuple[int, ...]] = {
            number: tuple(values_of(made[number])) for number in computed if computed[number].operation == "transposed"
        } | dict.fromkeys(self.carried, ())
        results = [*adjoint.deltas.values(), *adjoint.states, adjoint.x, *adjoint.vectors.values(), *self.carried]
        return cut(computed, whole, [value for value in results if type(value) is int])

    @cached_property
    def carried(self) -> dict[int, int]:
        """The adjoint's value "gradient of a state", for each state that enters affine maps: Wᵀδ is part of it."""
        return {
            number: state
            for number, made in enumerate(self.adjoint.instructions, self.adjoint.first)
            if made.operation == "gradient"
            for state in [self.program.states.index(made.name) + 1]
            if any(self.adjoint.deltas.get(taker) is not None for taker in self.operands.get(state, ()))
        }

    @cached_property
    def saved(self) -> tuple[int, ...]:
        """The values that the forward pass keeps for the gradient, beside the states of every timestep."""
        program, adjoint, saved = self.program, self.adjoint, []
        needed = {
            argument
            for made in adjoint.instructions
            if made.operation != "transposed"
            for argument in values_of(made)
            if argument < adjoint.first
        }
        at_hand = {*range(program.first), *program.outputs}
        for value, made in enumerate(program.instructions, program.first):
            leaf = made.operation in ("vector", KEEP)
            if leaf or (made.operation != "affine" and at_hand.issuperset(values_of(made))):
                at_hand.add(value)
            elif value in needed and value not in at_hand:
                saved.append(value)
                at_hand.add(value)
        return tuple(saved)

    def _made(self, number: int) -> Instruction:
        made = self.program.instruction(number)
        if made is None:
            raise AssertionError(f"value {number} is not computed")
        return made

    def name(self, number: int) -> str:
        """The name of an affine map."""
        return self._made(number).name

    def row(self, number: int, entry: str) -> tuple[str, int]:
        """The parameter and the position in it of an affine map's weights on the vector called `entry`."""
        block = self.layout.find(self._made(number).name, entry)
        if block is None:
            raise AssertionError(f"{self._made(number).name} has no weights on {entry}")
        return block.parameter, block.position

    def delta_of(self) -> Mapping[int, int]:
        """The plane of each affine map's δ, for those that a gradient reaches."""
        return self._planes

    @cached_property
    def _planes(self) -> Mapping[int, int]:
        reached = [number for number in self.affines if type(self.adjoint.deltas.get(number)) is int]
        return {number: plane for plane, number in enumerate(reached)}
