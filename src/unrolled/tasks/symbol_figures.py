"""What every model that predicts symbols is measured by."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SymbolFigures:
    """What predicted symbols cost.

    Attributes:
        nats: the summed negative log-probability, natural logarithm.
        symbols: predicted symbols, <eos> counted, <bos> not.
    """

    nats: float
    symbols: int

    @property
    def loss(self) -> float:
        """Nats a symbol."""
        return self.nats / max(1, self.symbols)

    @property
    def headline(self) -> str:
        """Nothing beside the loss, which is shown in the run's unit."""
        return ""

    @property
    def criterion(self) -> float:
        """The best weights are those of the lowest loss."""
        return self.loss

    @property
    def perplexity(self) -> float:
        """exp of the nats a symbol; infinity past what a float holds."""
        return math.exp(self.loss) if self.loss < 700 else math.inf
