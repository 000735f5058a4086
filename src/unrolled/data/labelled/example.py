"""What files of labelled sequences hold, and what becomes of rows that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UserError

SHOWN = 60
"""Characters of a bad row that a message shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One sequence and its label.

    Attributes:
        x: a text; tokens; or frames (T, D).
        y: a label or a target text; a label for each step; None where there is none.
        line: where it begins in its file, from 1; of files without lines its number.
        rows: the line of each of its steps, where each has one.
    """

    x: str | tuple[str, ...] | NDArray[np.float32]
    y: str | tuple[str, ...] | None
    line: int
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """What a file holds.

    Attributes:
        name: the file's, with its folder's. format: how it was read.
        text, label: the columns, by name or number; empty where there are none.
        examples: in the file's order. skipped: what was wrong with each row that was left out.
        digest: changes when the content does.
        description: for people: "read as TSV: label 1, text 2; 8,530 rows; 2 classes".
    """

    name: str
    format: str
    text: str
    label: str
    examples: tuple[Example, ...]
    skipped: tuple[str, ...]
    digest: str
    description: str


@dataclass(frozen=True)
class Content:
    """What a reader of one format gives: examples, the columns they came from, and anything worth saying."""

    examples: list[Example]
    text: str = ""
    label: str = ""
    note: str = ""


class BadRows:
    """Rows that cannot be read: up to so many are skipped, with more the file is refused.

    Args:
        name: the file's, for messages. allowed: how many may be skipped.
    """

    def __init__(self, name: str, allowed: int) -> None:
        self.name, self.allowed = name, allowed
        self.found: list[tuple[int, str]] = []
        self.empty: set[int] = set()

    def blank(self, line: int) -> None:
        """Note a row in which there is nothing. It is no fault, but who asks for an answer to every row gets one."""
        self.empty.add(line)

    def add(self, line: int, expected: str, row: object, *, place: int | None = None) -> None:
        """Note a row: what was expected of it, and what it is; `place` is where its sequence begins, if not there."""
        self.empty.add(line if place is None else place)
        text = row if isinstance(row, str) else repr(row)
        shown = repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
        self.found.append((line, f"expected {expected}, found {shown}"))

    def told(self) -> tuple[str, ...]:
        """Each row that was skipped.

        Raises:
            UserError: there are more than allowed.
        """
        if len(self.found) > self.allowed:
            line, fault = self.found[0]
            more = len(self.found) - 1
            others = f" (and {more:,} more bad row{'s' * (more > 1)})" if more else ""
            raise UserError(
                f"{self.name}, line {line:,}: {fault}{others}; correct the file, or tolerate them: "
                f"--skip-bad-rows {len(self.found)}"
            )
        return tuple(f"{self.name}, line {line:,}: {fault}" for line, fault in self.found)
