"""What a language model expected at each symbol, how surprised it was, and where it changed its mind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from unrolled.decoding.scores import Candidate


@dataclass(frozen=True)
class Surprise:
    """One symbol under the distribution that was expected there.

    Attributes:
        symbol, shown: the symbol, and as people see it.
        log_probability: natural, of the symbol that came.
        entropy: bits; how unsure the model was before it came.
        change: bits, KL(now || one symbol before); how far the expectation moved. 0 for the first symbol.
        best: the most probable symbols, the most probable first.
    """

    symbol: str
    shown: str
    log_probability: float
    entropy: float
    change: float
    best: tuple[Candidate, ...]

    @property
    def bits(self) -> float:
        """What the symbol cost: -log₂ P."""
        return -self.log_probability / math.log(2)

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            "symbol": self.symbol,
            "bits": self.bits,
            "entropy": self.entropy,
            "change": self.change,
            "best": [{"symbol": one.symbol, "probability": one.probability} for one in self.best],
        }
