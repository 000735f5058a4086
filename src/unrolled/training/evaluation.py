"""How well a language model predicts a stream: every symbol counted exactly once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.data.streams import Stream
from unrolled.data.windows import whole
from unrolled.models.language_model import LanguageModel
from unrolled.nn.recurrent import State

LANE_SYMBOLS = 2_000
"""A lane of an evaluation is at least this long, so that its warm-up is a small part of the work."""
MOST_LANES = 64
EVALUATION_WINDOW = 200
CORRECT_ROWS = 128
"""Rows whose whole distribution is held at once when counting right guesses: a row of a large vocabulary is long."""


@dataclass(frozen=True)
class Evaluation:
    """What a stream cost.

    Attributes:
        nats: the summed negative log-probability, natural logarithm.
        symbols: predicted symbols, <eos> counted, <bos> not.
        characters: characters of the user's text.
        correct: symbols that were the most probable one, or None if that was not asked for.
    """

    nats: float
    symbols: int
    characters: int
    correct: int | None = None

    @property
    def loss(self) -> float:
        """Nats a symbol."""
        return self.nats / max(1, self.symbols)

    @property
    def perplexity(self) -> float:
        """exp of the nats a symbol; infinity past what a float holds."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_character(self) -> float:
        """Bits a character of the user's text, whatever the symbols were."""
        return self.nats / math.log(2) / max(1, self.characters)

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        figures = {
            "nats_per_symbol": self.loss,
            "perplexity": self.perplexity,
            "bits_per_character": self.bits_per_character,
            "symbols": self.symbols,
            "characters": self.characters,
        }
        return figures | ({} if self.correct is None else {"accuracy": self.correct / max(1, self.symbols)})


def lanes_for(symbols: int) -> int:
    """How many lanes to cut a running text of so many symbols into."""
    return max(1, min(MOST_LANES, symbols // LANE_SYMBOLS))


@torch.no_grad()
def evaluate_stream(model: LanguageModel, stream: Stream, *, accuracy: bool = False, spell: bool = False) -> Evaluation:
    """Run the model over a stream, in evaluation mode, and count.

    Args:
        accuracy: also count how often the true symbol was the most probable one.
        spell: whether the model reads the characters of its words.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    nats, symbols, correct = 0.0, 0, 0
    state: State | None = None
    try:
        for window in whole(stream, lanes=lanes_for(len(stream)), window=EVALUATION_WINDOW, spellings=spell):
            here = window.to(device)
            features, state = model.features(here.inputs, None if window.fresh else state, here.spellings)
            counted = here.targets != 0
            features, targets = features[counted], here.targets[counted]
            nats += float(model.output.loss(features, targets))
            symbols += len(targets)
            if accuracy:
                correct += _correct(model, features, targets)
    finally:
        model.train(was_training)
    return Evaluation(nats, symbols, stream.characters, correct if accuracy else None)


def _correct(model: LanguageModel, features: Tensor, targets: Tensor) -> int:
    """How many targets were the most probable symbol, a block at a time: a row of a large vocabulary is long."""
    right = 0
    for start in range(0, len(targets), CORRECT_ROWS):
        best = model.output.log_probabilities(features[start : start + CORRECT_ROWS]).argmax(-1)
        right += int((best == targets[start : start + CORRECT_ROWS]).sum())
    return right
