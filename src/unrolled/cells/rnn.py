"""The plain recurrent network.

Elman, "Finding structure in time" (Cognitive Science 14, 1990).
"""

from collections.abc import Callable

from unrolled.cells.cell import Cell
from unrolled.cells.operators import Value, affine, exp, relu, sigmoid, softplus, tanh

NONLINEARITIES: dict[str, Callable[[Value], Value]] = {
    "tanh": tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "exp": exp,
}


def rnn(nonlinearity: str = "tanh") -> Cell:
    """The plain recurrent network with any activation of the operator set.

    Raises:
        ValueError: no such activation.
    """
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f'nonlinearity="{nonlinearity}" is none of {", ".join(NONLINEARITIES)}')
    g = NONLINEARITIES[nonlinearity]

    def step(x: Value, a: Value) -> Value:
        """a⟨t⟩ = g(W_a[a⟨t-1⟩, x⟨t⟩] + b_a)"""
        return g(affine("hidden", a, x))

    return Cell("rnn" if nonlinearity == "tanh" else f"rnn-{nonlinearity}", step, ("a",), two_biases=True)
