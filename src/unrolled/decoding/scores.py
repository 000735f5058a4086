"""How probable a model finds a sequence: log-probabilities of its symbols, whatever the model reads besides."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SymbolScore:
    """One symbol of a scored text and its natural log-probability given those before it.

    Attributes:
        symbol: its text as it is; the special symbols go by their names.
        shown: the same as a table shows it, blanks and control characters made visible.
    """

    symbol: str
    log_probability: float
    shown: str


@dataclass(frozen=True)
class Score:
    """How probable a model finds a text.

    Attributes:
        text: the text.
        symbols: every predicted symbol, <eos> too where the model's sequences end with it.
        unknown: how many symbols of the text the vocabulary does not have.
    """

    text: str
    symbols: tuple[SymbolScore, ...]
    unknown: int

    @property
    def log_probability(self) -> float:
        """log P(text), natural."""
        return math.fsum(symbol.log_probability for symbol in self.symbols)

    @property
    def perplexity(self) -> float:
        """exp of the mean nats a predicted symbol, <eos> counted."""
        return perplexity_of(self.log_probability, len(self.symbols))


def perplexity_of(log_probability: float, symbols: int) -> float:
    """exp of the mean nats of so many predicted symbols; of none, as in an empty text, not a number."""
    if not symbols:
        return math.nan
    mean = -log_probability / symbols
    return math.exp(mean) if mean < 700 else math.inf


@dataclass(frozen=True)
class Candidate:
    """A symbol that may come next, and its probability; `symbol` and `shown` as in `SymbolScore`."""

    symbol: str
    probability: float
    shown: str
