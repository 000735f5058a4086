"""Which gates decide for how long a state is kept: found in a cell's equations, so that no cell has to say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unrolled.recurrence.program import Instruction, Program


@dataclass(frozen=True)
class Keeping:
    """How the equation of one state keeps it: c⟨t⟩ = Γ_f * c⟨t-1⟩ + Γ_u * c̃⟨t⟩, or (1 - Γ_u) * c⟨t-1⟩ + Γ_u * c̃⟨t⟩.

    Attributes:
        gate: the gate that the old state is multiplied by.
        inverted: whether it is multiplied by 1 minus that gate.
        admitting: the other gates, by which what is added is multiplied.
    """

    gate: str
    inverted: bool
    admitting: tuple[str, ...]


def keeping_of(program: Program) -> list[Keeping]:
    """The gates that keep a cell's states; none of a cell that always computes its state anew."""
    found = []
    for state, new in enumerate(program.outputs, start=1):
        terms = [_factors(program, term) for term in _terms(program, new)]
        kept = [gate for factors in terms if state in factors for gate in _gates(program, factors)]
        others = [name for factors in terms if state not in factors for name, _ in _gates(program, factors)]
        if kept:
            name, inverted = kept[0]
            found.append(Keeping(name, inverted, tuple(dict.fromkeys(other for other in others if other != name))))
    return found


def _terms(program: Program, value: int) -> Iterator[int]:
    """What a value is the sum of."""
    value, instruction = _unnamed(program, value)
    if instruction is not None and instruction.operation in ("add", "subtract") and not _complement(instruction):
        for argument in instruction.arguments:
            if type(argument) is int:
                yield from _terms(program, argument)
    else:
        yield value


def _factors(program: Program, value: int) -> list[int]:
    """What a value is the product of."""
    value, instruction = _unnamed(program, value)
    if instruction is None or instruction.operation != "multiply":
        return [value]
    return [factor for part in instruction.arguments if type(part) is int for factor in _factors(program, part)]


def _gates(program: Program, factors: list[int]) -> Iterator[tuple[str, bool]]:
    """The gates among factors, each by its affine map's name, and whether 1 minus the gate stands there."""
    names = {program.observed[affine.name]: affine.name for affine in program.affines}
    for factor in factors:
        instruction = program.instruction(factor)
        inverted = instruction is not None and _complement(instruction)
        if instruction is not None and inverted:
            argument = next(part for part in instruction.arguments if type(part) is int)
            factor, instruction = _unnamed(program, argument)
        if instruction is not None and instruction.operation == "sigmoid" and factor in names:
            yield names[factor], inverted


def _complement(instruction: Instruction) -> bool:
    """Whether it is 1 - value."""
    if instruction.operation != "subtract":
        return False
    one, value = instruction.arguments
    return type(one) is float and one == 1.0 and type(value) is int


def _unnamed(program: Program, value: int) -> tuple[int, Instruction | None]:
    """A value behind its names, and the instruction that computes it."""
    instruction = program.instruction(value)
    while instruction is not None and instruction.operation == "named":
        value = int(instruction.arguments[0])
        instruction = program.instruction(value)
    return value, instruction
