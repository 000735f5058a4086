"""Word vectors in a text file, as word2vec and GloVe write them: a word and its numbers a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.data.reading import TextFile, lines
from unrolled.errors import UserError
from unrolled.files import atomic_write_text


def read_vectors(path: Path) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The words and their (N, D) vectors; of a word that comes twice the first. word2vec's first line may be there.

    Raises:
        UserError: the file cannot be read, or a line is no word and D numbers.
    """
    words: dict[str, None] = {}  # a set in order
    rows: list[NDArray[np.float32]] = []
    for number, line in _rows(path):
        word, *numbers = line.split(" ")
        if not numbers:
            raise UserError(f"{path}, line {number:,}: expected a word and its numbers, found {line[:40]!r}")
        if word in words:
            continue
        try:
            row = np.array(numbers, dtype=np.float32)
        except ValueError:
            row = np.full(len(numbers), np.nan, dtype=np.float32)
        wanted = len(rows[0]) if rows else len(row)
        if len(row) != wanted or not np.isfinite(row).all():
            raise UserError(f"{path}, line {number:,}: expected a word and {wanted} numbers, found {line[:40]!r}")
        words[word] = None
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: it holds no vector")
    return tuple(words), np.stack(rows)


def vector_words(path: Path) -> tuple[str, ...]:
    """The words alone, without reading their numbers."""
    return tuple(dict.fromkeys(line.partition(" ")[0] for _, line in _rows(path)))


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, and their numbers; without word2vec's first: how many words, how many numbers."""
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        counts = number == 1 and re.fullmatch(r"\d+ \d+", line.strip())
        if line.strip() and not counts:
            yield number, line.rstrip()


def write_vectors(path: Path, words: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Write word2vec's text format."""
    head = f"{len(words)} {vectors.shape[1]}"
    rows = (f"{word} {' '.join(f'{x:.4f}' for x in row)}" for word, row in zip(words, vectors.tolist(), strict=True))
    atomic_write_text(path, "\n".join([head, *rows]) + "\n")
