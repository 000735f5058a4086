"""What classifier, tagger and translator share: a sequence's symbols or frames to features of every timestep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import Cell
from unrolled.data.vocabulary import UNK
from unrolled.errors import UserError
from unrolled.models.settings import ModelSettings
from unrolled.nn import (
    FeedForward,
    FrameInput,
    LookaheadBidirectional,
    Recurrent,
    SymbolInput,
    WordCharacterInput,
)
from unrolled.nn.recurrent import RecurrentOptions, State

if TYPE_CHECKING:
    from unrolled.data.examples import ExampleBatch


@dataclass(frozen=True)
class InputKind:
    """What comes in.

    Attributes:
        vocabulary: how many symbol ids there are; 0 for frames.
        frame: numbers a frame; 0 for symbols.
        alphabet: how many character ids words are spelt with; 0 without spellings.
    """

    vocabulary: int = 0
    frame: int = 0
    alphabet: int = 0

    def example(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """A sequence of one timestep, its length and its spelling, to try a model on."""
        length = torch.ones(1, dtype=torch.int64)
        if self.frame:
            return torch.zeros(1, 1, self.frame), length, None
        symbol = torch.full((1, 1), UNK)
        return symbol, length, torch.zeros(1, 1, 1, dtype=torch.int64) if self.alphabet else None


class Encoder(nn.Module):
    """Input and recurrent stack.

    Args:
        settings: sizes and regularisation.
        kind: symbols or frames.
        cell: the recurrence; None for none: every timestep by itself, the baseline that shows what recurrence adds.
        bidirectional: whether the stack reads from both ends.

    Shapes: (T, B) ids or (T, B, D) frames to (T, B, `output_size`).
    """

    def __init__(self, settings: ModelSettings, kind: InputKind, cell: Cell | None, *, bidirectional: bool) -> None:
        super().__init__()
        self.dropout, self.bidirectional = settings.dropout, bidirectional and cell is not None
        self.input = input_of(settings, kind)
        if cell is None and not settings.embedding and not kind.frame:
            raise UserError('model.cell = "none" needs vectors: set model.embedding')
        width = self.input.output_size
        self.recurrent: Recurrent | None = None
        if cell is not None:
            self.recurrent = recurrent_of(settings, width, cell, bidirectional=bidirectional)
            width = settings.hidden * (1 + bidirectional)
        self.output_size = width

    def forward(self, inputs: Tensor, lengths: Tensor, spellings: Tensor | None = None) -> tuple[Tensor, State | None]:
        """The features of every timestep, and the recurrence's final state; past a sequence's end they mean nothing."""
        return self.read(self.vectors(inputs, spellings), lengths)

    def vectors(self, inputs: Tensor, spellings: Tensor | None = None) -> Tensor:
        """What the recurrence reads: (T, B, I) vectors, or (T, B) ids that stand for one-hot ones (-1: zero)."""
        found: Tensor
        found = self.input(inputs, spellings) if isinstance(self.input, WordCharacterInput) else self.input(inputs)
        return found

    def read(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, State | None]:
        """The features and the final state from those."""
        final: State | None = None
        if self.recurrent is not None:
            vectors, final = self.recurrent(vectors, lengths=lengths)
        return functional.dropout(vectors, self.dropout, self.training), final


def reading(encoder: Encoder, batch: ExampleBatch) -> tuple[Recurrent | None, Callable[[], object]]:
    """The encoder's stack, and how to make it read a batch: what is observed of classifiers and taggers."""
    return encoder.recurrent, lambda: encoder(batch.inputs, batch.lengths, batch.spellings)


def input_of(settings: ModelSettings, kind: InputKind) -> SymbolInput | WordCharacterInput | FrameInput:
    """The input layer of some settings."""
    if kind.frame:
        return FrameInput(kind.frame, settings.embedding, dropout=settings.embedding_dropout)
    words = SymbolInput(
        kind.vocabulary, settings.embedding, dropout=settings.embedding_dropout,
        symbol_dropout=settings.symbol_dropout, scale=settings.embedding_scale,
    )  # fmt: skip
    return WordCharacterInput(words, kind.alphabet, settings.characters) if settings.characters else words


def recurrent_of(settings: ModelSettings, width: int, cell: Cell, *, bidirectional: bool = False) -> Recurrent:
    """The recurrent stack of some settings.

    Raises:
        UserError: chunk or lookahead is set where it means nothing.
    """
    if settings.chunk and not bidirectional:
        raise UserError("model.chunk is for layers that read from both ends: set model.bidirectional, or chunk = 0")
    if settings.lookahead and not settings.chunk:
        raise UserError("model.lookahead: say with model.chunk how many timesteps are answered together")
    options: RecurrentOptions = {
        "engine": settings.engine, "initial_state": settings.initial_state, "input_dropout": settings.input_dropout,
        "recurrent_dropout": settings.recurrent_dropout, "weight_drop": settings.weight_drop,
        "zoneout": settings.zoneout, "initialiser": settings.initialiser, "forget_bias": settings.forget_bias,
        "chrono": settings.chrono,
        "residual": settings.residual,
    }  # fmt: skip
    sizes = width, settings.hidden, settings.layers
    dropout = settings.dropout if settings.layers > 1 else 0.0  # between layers; heads have dropout of their own
    if bidirectional and settings.chunk:
        return LookaheadBidirectional(
            cell, *sizes, chunk=settings.chunk, lookahead=settings.lookahead, dropout=dropout, **options
        )
    return Recurrent(cell, *sizes, bidirectional=bidirectional, dropout=dropout, **options)


def head_of(settings: ModelSettings, width: int) -> FeedForward:
    """The feed-forward layers of some settings."""
    return FeedForward(width, [settings.head_size or settings.hidden] * settings.head_layers, dropout=settings.dropout)


def inside(lengths: Tensor, steps: int) -> Tensor:
    """(T, B) whether a timestep is before its sequence's end."""
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths
