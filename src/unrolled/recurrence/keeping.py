"""Which gates decide for how long a state is kept: found in a cell's equations, so that no cell has to say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from unrolled.recurrence.program import Constant, Instruction, Program, values_of


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
    return list(_Search(program).found())


class _Search:
    """Looks through sums and products; at what they share, once, so that it takes no longer than the program is."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = {program.observed[affine.name]: affine.name for affine in program.affines}
        self.behind = list(range(program.first))
        """Of each value, the one that it is another name of, or itself."""
        for number, made in enumerate(program.instructions, program.first):
            renames = made.operation == "named" and not isinstance(made.arguments[0], Constant)
            self.behind.append(self.behind[values_of(made)[0]] if renames else number)

    def found(self) -> Iterator[Keeping]:
        for state, new in enumerate(self.program.outputs, start=1):
            terms, holding = list(self._parts([new], self._addends)), self._holding(state)
            kept = next(self._gates(term for term in terms if term in holding), None)
            if kept is not None:
                name, inverted = kept
                others = dict.fromkeys(name for name, _ in self._gates(term for term in terms if term not in holding))
                yield Keeping(name, inverted, tuple(other for other in others if other != name))

    def _parts(self, values: Iterable[int], parts_of: Callable[[Instruction], list[int]]) -> Iterator[int]:
        """What is left of values when they are taken apart again and again, in order, each once."""
        waiting, seen = [*values][::-1], set[int]()
        while waiting:
            value = self.behind[waiting.pop()]
            if value not in seen:
                seen.add(value)
                made = self.program.instruction(value)
                parts = [] if made is None else parts_of(made)
                waiting += reversed(parts)
                if not parts:
                    yield value

    @staticmethod
    def _addends(made: Instruction) -> list[int]:
        return values_of(made) if made.operation in ("add", "subtract") and not _complement(made) else []

    @staticmethod
    def _factors(made: Instruction) -> list[int]:
        return values_of(made) if made.operation == "multiply" else []

    def _holding(self, state: int) -> set[int]:
        """The products that have a state among their factors, and the state."""
        found = {state}
        for number, made in enumerate(self.program.instructions, self.program.first):
            if any(self.behind[part] in found for part in self._factors(made)):
                found.add(number)
        return found

    def _gates(self, terms: Iterable[int]) -> Iterator[tuple[str, bool]]:
        """The gates among the factors of terms, each by its affine map's name, and whether it is 1 minus the gate."""
        for factor in self._parts(terms, self._factors):
            made = self.program.instruction(factor)
            inverted = made is not None and _complement(made)
            if made is not None and inverted:
                factor = self.behind[values_of(made)[0]]
                made = self.program.instruction(factor)
            if made is not None and made.operation == "sigmoid" and factor in self.names:
                yield self.names[factor], inverted


def _complement(instruction: Instruction) -> bool:
    """Whether it is 1 - value."""
    if instruction.operation != "subtract":
        return False
    one, value = instruction.arguments
    return one == Constant(1.0) and not isinstance(value, Constant)
