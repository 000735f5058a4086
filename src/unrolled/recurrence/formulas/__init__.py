"""A traced program comes in, its equations and its backpropagation through time go out, to be read: text or LaTeX.

`equations` writes a program as the course notes would, and `derive` adds what `adjoint.differentiate` makes of it: the
recurrence of the gradients, which runs from the last timestep to the first, and the sums after it.

    print(text_of(derive(trace(cell)).recurrence))
"""

from dataclasses import dataclass
from functools import lru_cache

from unrolled.recurrence.adjoint import differentiate
from unrolled.recurrence.formulas.expressions import Comparison, walk
from unrolled.recurrence.formulas.gradient import Gradient
from unrolled.recurrence.formulas.step import Step
from unrolled.recurrence.formulas.typesetting import Equation, latex_of, text_of
from unrolled.recurrence.program import Program, TraceError

READING = """a gate without ⟨ ⟩ is that of timestep t; W_ga is the part of W_g that multiplies a
what t+1 would add at t = T is the gradient of the final state: 0, unless the loss depends on it"""
COMPARING = "a comparison is 1 where it holds, 0 elsewhere, and 0 times anything is 0"


@dataclass(frozen=True)
class Derivation:
    """A cell and its gradient.

    Attributes:
        equations: the step itself, with a symbol for everything that the gradient refers to.
        recurrence: the gradients of one timestep, in an order in which they can be computed; those of t+1 come first.
        sums: the parameters' gradients, and x⟨t⟩'s.
    """

    equations: tuple[Equation, ...]
    recurrence: tuple[Equation, ...]
    sums: tuple[Equation, ...]

    @property
    def reading(self) -> str:
        """How to read the formulas: what their signs leave unsaid."""
        every = (*self.equations, *self.recurrence, *self.sums)
        compares = any(isinstance(part, Comparison) for equation in every for part in walk(equation.right))
        return f"{READING}\n{COMPARING}" if compares else READING


@lru_cache(maxsize=256)
def equations(program: Program) -> tuple[Equation, ...]:
    """A program's equations. An operation that is not one of `unrolled.cells` is written as a function by its name."""
    return tuple(Step(program).equations())


@lru_cache(maxsize=256)
def derive(program: Program) -> Derivation:
    """A program's equations and its gradient.

    Raises:
        TraceError: the program holds an operation whose gradient is not known.
    """
    if program.opaque:
        raise TraceError(f'no gradient can be derived for the cell "{program.cell}": it uses {program.opaque}')
    gradient = Gradient(differentiate(program))
    return Derivation(
        tuple(gradient.equations()), tuple(gradient.recurrence()), tuple(Equation(*pair) for pair in gradient.sums())
    )


__all__ = ["Derivation", "Equation", "derive", "equations", "latex_of", "text_of"]
