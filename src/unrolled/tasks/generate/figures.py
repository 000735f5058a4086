"""How well a generator knows its sequences: perplexity, and how often Bayes' rule finds the class again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.tasks.intervals import interval
from unrolled.tasks.symbol_figures import SymbolFigures

Numbers = NDArray[np.float64]


class Piece(NamedTuple):
    """What the model made of some sequences.

    Attributes:
        nats, counted: summed over the predicted symbols, under the true classes.
        truth: (B,) class ids; none without classes. likelihoods: (B, classes) log P(sequence | class), where it was
            asked for.
    """

    nats: float
    counted: int
    truth: NDArray[np.int64]
    likelihoods: Numbers | None


@dataclass(frozen=True)
class GenerationFigures(SymbolFigures):
    """A part's figures.

    Attributes:
        nats, symbols, characters: <eos> counted among the symbols, not among the characters.
        truth, guesses: (N,) class ids; the most probable ones by Bayes' rule; None where that was not asked for.
    """

    characters: int
    sequences: int
    truth: NDArray[np.int64] | None = field(default=None, repr=False)
    guesses: NDArray[np.int64] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        found: dict[str, Any] = {
            "sequences": self.sequences, "symbols": self.symbols, "characters": self.characters,
            "nats_per_symbol": self.loss, "perplexity": self.perplexity,
            "bits_per_character": self.nats / math.log(2) / max(1, self.characters),
        }  # fmt: skip
        if self.guesses is not None and self.truth is not None and len(self.truth):
            right = (self.guesses == self.truth).astype(np.float64)
            shares = interval(len(right), lambda draws: right[draws].mean(axis=1))
            found |= {"accuracy": float(right.mean()), "interval": shares}
        return found
