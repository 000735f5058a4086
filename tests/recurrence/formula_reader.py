"""Computes what printed formulas say, from their characters alone: a second reader beside the one who looks at them."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NAME = "[^\\W\\d](?:(?![²ᵀ])[\\w\N{COMBINING TILDE}])*"
TOKEN = re.compile(
    r"(?P<sign>[\]²≤≥])"
    rf"|(?P<loss>∂L⟨t⟩/∂{NAME}⟨t⟩)"
    rf"|(?P<function>{NAME})\("
    rf"|(?P<transposed>{NAME})ᵀ "
    rf"|(?P<stacked>W_{NAME})\["
    rf"|(?P<matrix>W_{NAME}) (?=[^\W\d]|\()"
    rf"|(?P<symbol>{NAME})(?:⟨t(?P<moment>[+-]1)?⟩)?"
)
SIGNS = {"]": ")", "²": "**2", "≤": "<=", "≥": ">="}
FUNCTIONS = {
    "σ": lambda v: 1 / (1 + np.exp(-v)),
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "relu": lambda v: np.maximum(v, 0),
    "softplus": lambda v: np.log1p(np.exp(v)),
    "max": np.maximum,
    "min": np.minimum,
    "joined": lambda *vectors: np.concatenate(vectors),
    "where": lambda condition, a, b: np.where(condition != 0, a, b).view(Numbers),
}


class Numbers(np.ndarray[Any, np.dtype[np.float64]]):
    """An array whose comparisons are 1 where they hold and 0 elsewhere, as the formulas mean them."""

    def __lt__(self, other: Any) -> Any:
        return np.less(self, other) * 1.0

    def __le__(self, other: Any) -> Any:
        return np.less_equal(self, other) * 1.0

    def __gt__(self, other: Any) -> Any:
        return np.greater(self, other) * 1.0

    def __ge__(self, other: Any) -> Any:
        return np.greater_equal(self, other) * 1.0


def read(text: str) -> list[tuple[str, str]]:
    """The (left, right) of each equation; a line that begins with blanks goes on with the one before."""
    joined = re.sub(r"\n +", " ", text)
    return [(left.strip(), right) for left, _, right in (line.partition(" = ") for line in joined.splitlines())]


def _in_python(match: re.Match[str]) -> str:
    kind, found = str(match.lastgroup), match.groupdict()
    if kind == "sign":
        return SIGNS[found["sign"]]
    if kind == "function":
        return f"f[{found['function']!r}]("
    if kind == "stacked":
        return f"product(v({found['stacked']!r}), "
    if kind in ("transposed", "matrix"):
        return f"v({found[kind]!r}){'.T' if kind == 'transposed' else ''} @ "
    return f"v({(found['loss'] or found['symbol'])!r}, {int(found['moment'] or 0)})"


class Values:
    """What every symbol is at every timestep; parameters have no timestep, and what is not there is zero."""

    def __init__(self, parameters: Mapping[str, Array], width: int) -> None:
        self.parameters, self.zero = parameters, np.zeros(width)
        self.at: dict[tuple[str, int], Array] = {}

    def compute(self, formula: str, t: int) -> Any:
        """The right side of an equation at timestep t."""
        if formula.endswith("ᵀ"):
            left, _, right = formula.removesuffix("ᵀ").partition(" ")
            vectors = f"joined({right[1:-1]})" if right.startswith("[") else right
            return np.outer(self.compute(left, t), self.compute(vectors, t))

        def value(name: str, offset: int = 0) -> Array:
            known = self.parameters[name] if name in self.parameters else self.at.get((name, t + offset), self.zero)
            return known.view(Numbers)

        def product(matrix: Array, *vectors: Array) -> Array:
            return matrix @ np.concatenate(vectors)

        return eval(TOKEN.sub(_in_python, formula), {"v": value, "product": product, "f": FUNCTIONS})

    def set(self, left: str, right: str, t: int) -> None:
        """Carry an equation out at timestep t."""
        self.at[left.removesuffix("⟨t⟩"), t] = self.compute(right, t) + self.zero


def unroll(
    printed: tuple[str, str, str],
    parameters: Mapping[str, Array],
    x: Array,
    states: Mapping[str, Array],
    loss: tuple[str, Array],
) -> dict[str, Array]:
    """Run printed equations forwards over x (T, I), the printed recurrence backwards, and take the printed sums.

    `loss` is the output's name and ∂L⟨t⟩/∂output⟨t⟩ (T, H). Returns every sum, dx being (T, I).
    """
    equations, recurrence, sums = map(read, printed)
    values, steps = Values(parameters, loss[1].shape[1]), range(1, len(x) + 1)
    values.at |= {(name, 0): state for name, state in states.items()}
    values.at |= {("x", t): x[t - 1] for t in steps}
    values.at |= {(f"∂L⟨t⟩/∂{loss[0]}⟨t⟩", t): loss[1][t - 1] for t in steps}
    for t in steps:
        for left, right in equations:
            values.set(left, right, t)
    for name in {name for name, _ in values.at}:  # there is no gradient after the last timestep, whatever it multiplies
        values.at[name, len(x) + 1] = values.at[name, len(x)]
    for t in reversed(steps):
        for left, right in recurrence:
            values.set(left, right, t)
    results = {}
    for left, right in sums:
        parts = [values.compute(right.removeprefix("Σ_t "), t) for t in steps]
        results[left] = np.stack([part + 0 * x[0] for part in parts]) if left == "dx⟨t⟩" else sum(parts)
    return results
