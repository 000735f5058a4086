"""The plain baseline of translation: of the training sources the most similar one, and what it was translated to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.int64]


class TranslationMemory:
    """Finds the training source with the highest cosine between pieces weighted by idf.

    Args:
        sources: ids of each. order: pieces are n-grams of 1 to so many ids.
    """

    def __init__(self, sources: Sequence[Row], order: int) -> None:
        self.order = order
        rows: dict[tuple[int, ...], list[int]] = {}
        for number, source in enumerate(sources):
            for piece in self._pieces(source):
                rows.setdefault(piece, []).append(number)
        count = len(sources)
        self._idf = {piece: math.log(1 + count / len(where)) for piece, where in rows.items()}
        self._where = {piece: np.array(where) for piece, where in rows.items()}
        squares = np.zeros(count)
        for piece, where in self._where.items():
            squares[where] += self._idf[piece] ** 2
        self._norms = np.sqrt(np.maximum(squares, 1e-12))

    def _pieces(self, source: Row) -> set[tuple[int, ...]]:
        ids = source.tolist()
        return {
            tuple(ids[start : start + size])
            for size in range(1, self.order + 1)
            for start in range(len(ids) - size + 1)
        }

    def nearest(self, source: Row) -> int:
        """The number of the most similar training source; of equals the first; 0 where nothing is shared."""
        scores = np.zeros(len(self._norms))
        for piece in self._pieces(source):
            if piece in self._where:
                scores[self._where[piece]] += self._idf[piece] ** 2
        return int(np.argmax(scores / self._norms))
