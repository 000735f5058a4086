"""Two texts that differ in a few symbols: which units tell them apart, and what their gates do meanwhile.

The course's example: "The cat, which already ate ..., was full" against "The cats, which already ate ..., were full".
Between cat and was the two read the same, so what a unit then holds of the one and not of the other, it remembers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.errors import UserError
from unrolled.inspecting.observation import Numbers, Observation, ObservedLayer


@dataclass(frozen=True)
class Contrast:
    """What a layer did with two texts.

    Attributes:
        symbols: of both, timestep by timestep.
        first, last: the first timestep at which they differ, and the one before which they differ again (or T).
        state: the state that was compared. units: its units, those that tell the texts apart best first.
        kept: of each, how far apart the two are at least from `first` until before `last`.
        one, other: the layer on each text.
    """

    symbols: tuple[tuple[str, str], ...]
    first: int
    last: int
    state: str
    units: tuple[int, ...]
    kept: tuple[float, ...]
    one: ObservedLayer
    other: ObservedLayer

    def of_unit(self, name: str, unit: int) -> tuple[Numbers, Numbers]:
        """A gate or state of one unit on both texts, (T,) each."""
        return self.one.values[name][:, unit], self.other.values[name][:, unit]

    def as_dict(self, count: int = 5) -> dict[str, Any]:
        """The numbers of the best units, for JSON."""
        names = (*self.one.gates, *self.one.states)
        return {
            "symbols": [list(pair) for pair in self.symbols], "first": self.first, "last": self.last,
            "state": self.state,
            "units": [
                {
                    "unit": unit, "kept": kept,
                    "values": {name: [values.tolist() for values in self.of_unit(name, unit)] for name in names},
                }
                for unit, kept in list(zip(self.units, self.kept, strict=True))[:count]
            ],
        }  # fmt: skip


def contrast(one: Observation, other: Observation, layer: int = 0, *, reverse: bool = False) -> Contrast:
    """Compare what a layer did with two texts of as many symbols.

    Raises:
        UserError: they have not as many, or are the same.
        IndexError: there is no such layer.
    """
    if len(one.symbols) != len(other.symbols):
        raise UserError(
            f"the two texts are compared symbol by symbol, and have {len(one.symbols)} and {len(other.symbols)}: "
            "give texts of as many symbols"
        )
    pairs = tuple(zip(one.symbols, other.symbols, strict=True))
    differ = [place for place, (own, others) in enumerate(pairs) if own != others]
    if not differ:
        raise UserError("the two texts are the same to the model: there is nothing to tell apart")
    again = [place for place in differ if any(pairs[step][0] == pairs[step][1] for step in range(differ[0], place))]
    last = again[0] if again else len(pairs)
    mine, others = one.layer(layer, reverse=reverse), other.layer(layer, reverse=reverse)
    state = next(iter(mine.kept), mine.states[0])
    apart = np.abs(mine.values[state] - others.values[state])[differ[0] : last].min(axis=0)
    order = np.argsort(-apart, kind="stable")
    return Contrast(
        pairs, differ[0], last, state, tuple(order.tolist()), tuple(apart[order].tolist()), mine, others
    )  # fmt: skip
