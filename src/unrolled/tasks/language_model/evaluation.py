"""How well a language model predicts a stream: every symbol counted exactly once."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from unrolled.data.streams import Stream
from unrolled.data.vocabulary import UNK
from unrolled.data.windows import whole
from unrolled.models.language_model import LanguageModel
from unrolled.nn.recurrent import State
from unrolled.tasks.language_model.guesses import right_guesses
from unrolled.tasks.symbol_figures import SymbolFigures
from unrolled.tasks.task import Measured, evaluating

LANE_SYMBOLS = 2_000
"""A lane of an evaluation is at least this long, so that its warm-up is a small part of the work."""
MOST_LANES = 64
EVALUATION_WINDOW = 200
MOST_SCORES = 4_000_000
"""Scores of symbols that are held at once: a row of a large vocabulary is long."""


class Piece(NamedTuple):
    """What one window cost: nats, predicted symbols, and how many of them were the most probable one."""

    nats: float
    counted: int
    correct: int


@dataclass(frozen=True)
class Evaluation(SymbolFigures):
    """What a stream cost.

    Attributes:
        nats, symbols: see `SymbolFigures`.
        characters: characters of the user's text.
        correct: symbols that were the most probable one, or None if that was not asked for.
        unknown: predicted symbols that are none of the vocabulary's, and so <unk>.
    """

    characters: int
    correct: int | None = None
    unknown: int = 0

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
            "unknown_share": self.unknown / max(1, self.symbols),
        }
        return figures | ({} if self.correct is None else {"accuracy": self.correct / max(1, self.symbols)})


def lanes_for(symbols: int) -> int:
    """How many lanes to cut a running text of so many symbols into."""
    return max(1, min(MOST_LANES, symbols // LANE_SYMBOLS))


def evaluate_stream(
    model: LanguageModel,
    stream: Stream,
    *,
    accuracy: bool = False,
    spell: bool = False,
    progress: Measured | None = None,
) -> Evaluation:
    """Run the model over a stream, in evaluation mode, and count.

    Args:
        accuracy: also count how often the true symbol was the most probable one.
        spell: whether the model reads the characters of its words.
        progress: hears after every window how far it is.
    """
    pieces, done = [], 0
    for piece in measured_windows(model, stream, accuracy=accuracy, spell=spell):
        pieces.append(piece)
        done += piece.counted
        if progress:
            progress(done, len(stream))
    return combined(stream, pieces, accuracy=accuracy)


def combined(stream: Stream, pieces: Iterable[Piece], *, accuracy: bool) -> Evaluation:
    """All windows of a stream together."""
    nats, symbols, correct = 0.0, 0, 0
    for piece in pieces:
        nats, symbols, correct = nats + piece.nats, symbols + piece.counted, correct + piece.correct
    unknown = int(stream.counts()[UNK])
    return Evaluation(nats, symbols, stream.characters, correct if accuracy else None, unknown)


def measured_windows(
    model: LanguageModel, stream: Stream, *, accuracy: bool = False, spell: bool = False
) -> Generator[Piece, None, None]:
    """Nats, symbols and right guesses of one window after the other; the model is left in evaluation mode meanwhile."""
    rows = max(1, MOST_SCORES // model.vocabulary)
    state: State | None = None
    with evaluating(model) as device:
        for window in whole(stream, lanes=lanes_for(len(stream)), window=EVALUATION_WINDOW, spellings=spell):
            here = window.to(device)
            nats, correct = 0.0, 0
            with torch.no_grad():  # not across the yield, where it would leak into the caller's code
                features, state = model.features(here.inputs, None if window.fresh else state, here.spellings)
                counted = here.targets != 0
                features, targets = features[counted], here.targets[counted]
                for some, wanted in zip(torch.split(features, rows), torch.split(targets, rows), strict=True):
                    nats += float(model.output.loss(some, wanted))
                    correct += right_guesses(model.output, some, wanted) if accuracy else 0
            yield Piece(nats, len(targets), correct)
