"""What has to be read at once: predictions, translations, scores given a class. Rows of like wishes run as one list."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from unrolled.serving.scheduler import Row


@dataclass(eq=False)
class Whole(Row):
    """One sequence that is answered in one turn.

    Attributes:
        key: rows of equal keys are answered by one call.
        ask: that call: a list of sequences to the list of their answers. x: the sequence. steps: its timesteps.
    """

    key: Hashable
    ask: Callable[[list[Any]], list[Any]]
    x: Any
    steps: int
    found: Any = None

    @property
    def group(self) -> Hashable:
        return self.key

    @property
    def size(self) -> int:
        return max(1, self.steps)

    @property
    def turn(self) -> Callable[[Sequence[Any], int], None]:
        return _ask

    def answer(self) -> Any:
        return self.found


def _ask(rows: Sequence[Whole], most: int) -> None:
    found = rows[0].ask([row.x for row in rows])
    for row, one in zip(rows, found, strict=True):
        row.found, row.done = one, True
