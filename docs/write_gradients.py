"""Writes every cell's equations and gradient into docs/gradients.md: scripts/gradients runs it.

With --check it changes nothing, and ends with 1 where the page is not up to date.
"""

from textwrap import indent

from generated import write

from unrolled.cells import CELLS, Cell
from unrolled.recurrence.formulas import Equation, derive, text_of
from unrolled.recurrence.program import trace


def section(cell: Cell) -> str:
    """A heading, the equations, the recurrence of the gradients, and the sums."""
    derived = derive(trace(cell))
    backwards = f"Backwards, for t = T, ..., 1:\n\n{block(derived.recurrence)}"
    return f"### {cell.name}\n\n{block(derived.equations)}\n{backwards}\nThen:\n\n{block(derived.sums)}"


def block(equations: tuple[Equation, ...]) -> str:
    """Equations as preformatted text."""
    return indent(text_of(equations), "    ") + "\n"


if __name__ == "__main__":
    sections = "\n".join(section(cell) for cell in CELLS.values())
    write("gradients.md", "gradients", sections, script="scripts/gradients", source="the cells")
