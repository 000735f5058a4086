"""How well a generator knows its sequences: perplexity, and how often Bayes' rule finds the class again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.tasks.classify.figures import BOOTSTRAPS

Numbers = NDArray[np.float64]


class Piece(NamedTuple):
    """What the model made of some sequences.

    Attributes:
        nats, counted: summed over the predicted symbols, under the true classes.
        truth: (B,) class ids; none without classes. joint: (B, classes) log P(class) + log P(sequence | class), where
            it was asked for.
    """

    nats: float
    counted: int
    truth: NDArray[np.int64]
    joint: Numbers | None


@dataclass(frozen=True)
class GenerationFigures:
    """A part's figures.

    Attributes:
        nats, symbols, characters: <eos> counted among the symbols, not among the characters.
        truth, guesses: (N,) class ids; the most probable ones by Bayes' rule; None where that was not asked for.
    """

    nats: float
    symbols: int
    characters: int
    sequences: int
    truth: NDArray[np.int64] | None = field(default=None, repr=False)
    guesses: NDArray[np.int64] | None = field(default=None, repr=False)

    @property
    def loss(self) -> float:
        """Nats a symbol."""
        return self.nats / max(1, self.symbols)

    @property
    def perplexity(self) -> float:
        """exp of the nats a symbol; infinity past what a float holds."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def headline(self) -> str:
        """Nothing beside the loss while training."""
        return ""

    @property
    def criterion(self) -> float:
        """The best weights are those of the lowest loss."""
        return self.loss

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        found: dict[str, Any] = {
            "sequences": self.sequences, "symbols": self.symbols, "characters": self.characters,
            "nats_per_symbol": self.loss, "perplexity": self.perplexity,
            "bits_per_character": self.nats / math.log(2) / max(1, self.characters),
        }  # fmt: skip
        if self.guesses is not None and self.truth is not None and len(self.truth):
            right = (self.guesses == self.truth).astype(np.float64)
            draws = np.random.default_rng(0).integers(len(right), size=(BOOTSTRAPS, len(right)))
            low, high = np.quantile(right[draws].mean(axis=1), [0.025, 0.975])
            found |= {"accuracy": float(right.mean()), "interval": [float(low), float(high)]}
        return found
