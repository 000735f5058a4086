"""Memory for thousands of equal states: rows of large blocks, so that they neither scatter nor leave holes.

A state that is replaced at every append would otherwise be freed and taken anew between the large, short-lived arrays
of the turns, and the process would grow to several times what its streams hold.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 256
"""Rows of a block."""


class Slab:
    """Rows of `width` numbers."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._blocks: list[Tensor] = []
        self._free: list[int] = []

    def take(self) -> int:
        """A row that nobody has."""
        if not self._free:
            first = len(self._blocks) * ROWS
            self._blocks.append(torch.zeros(ROWS, self._width))
            self._free = list(range(first + ROWS - 1, first - 1, -1))
        return self._free.pop()

    def give_back(self, row: int) -> None:
        """A row is free again."""
        self._free.append(row)

    def write(self, row: int, parts: tuple[Tensor, ...]) -> None:
        """Keep numbers, one part after the other."""
        torch.cat([part.reshape(-1) for part in parts], out=self._blocks[row // ROWS][row % ROWS])

    def read(self, row: int, shapes: tuple[torch.Size, ...]) -> tuple[Tensor, ...]:
        """What is kept, as parts of these shapes: views, to be read before the row is written again."""
        parts = self._blocks[row // ROWS][row % ROWS].split([shape.numel() for shape in shapes])  # type: ignore[no-untyped-call]
        return tuple(part.view(shape) for part, shape in zip(parts, shapes, strict=True))
