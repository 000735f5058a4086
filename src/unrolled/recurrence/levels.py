"""Where one timestep is cut: a matrix product needs the whole of a vector, so what computes it comes a level before.

Within a level every hidden unit is computed by itself. The LSTM has one level; the full GRU has two, since its
candidate takes all of Γ_r * c. Everything is done as late as possible, so that little is kept from level to level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from unrolled.recurrence.program import Instruction, values_of


@dataclass(frozen=True)
class Levels:
    """The values that each level computes.

    Attributes:
        values: for each level, its values in the order of computing them.
        crossing: values of one level that a later one uses unit by unit.
    """

    values: tuple[tuple[int, ...], ...]
    crossing: tuple[int, ...]

    def of(self, value: int) -> int | None:
        """The level that computes a value, or None if none does."""
        return self._levels.get(value)

    @cached_property
    def _levels(self) -> Mapping[int, int]:
        return {value: level for level, values in enumerate(self.values) for value in values}


def cut(
    instructions: Mapping[int, Instruction], whole: Mapping[int, tuple[int, ...]], results: Iterable[int]
) -> Levels:
    """Cut a timestep into levels.

    Args:
        instructions: what computes each value. Arguments that are not among them are there from the beginning.
        whole: for each matrix product, the values of this timestep that it needs the whole of.
        results: the values that are wanted; what none of them needs is left out.
    """
    wanted = _needed(instructions, whole, results)
    earliest: dict[int, int] = {}
    for value in wanted:
        if value in whole:
            earliest[value] = max((earliest[other] + 1 for other in whole[value]), default=0)
        else:
            earliest[value] = max((earliest[other] for other in _arguments(instructions, value)), default=0)
    last = max(earliest.values(), default=0)
    level = dict.fromkeys(wanted, last)
    for value in reversed(wanted):
        for other in whole.get(value, ()):
            level[other] = min(level[other], level[value] - 1)
        if value not in whole:
            for other in _arguments(instructions, value):
                level[other] = min(level[other], level[value])
    crossing = {
        other
        for value in wanted
        if value not in whole
        for other in _arguments(instructions, value)
        if level[other] < level[value]
    }
    values: list[list[int]] = [[] for _ in range(last + 1)]
    for value in wanted:
        values[level[value]].append(value)
    return Levels(tuple(map(tuple, values)), tuple(sorted(crossing)))


def _arguments(instructions: Mapping[int, Instruction], value: int) -> list[int]:
    return [other for other in values_of(instructions[value]) if other in instructions]


def _needed(
    instructions: Mapping[int, Instruction], whole: Mapping[int, tuple[int, ...]], results: Iterable[int]
) -> list[int]:
    """Every value that the results need, in the order of computing them."""
    found: set[int] = set()
    waiting = [value for value in results if value in instructions]
    while waiting:
        value = waiting.pop()
        if value not in found:
            found.add(value)
            waiting += whole[value] if value in whole else _arguments(instructions, value)
    return sorted(found)
