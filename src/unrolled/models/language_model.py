"""The language model: P(y⟨t⟩ | y⟨1⟩, ..., y⟨t-1⟩), with x⟨t⟩ = y⟨t-1⟩ and x⟨1⟩ = 0.

Input, recurrent stack, feed-forward layers and softmax are `nn`'s; here they are only joined.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import Cell
from unrolled.errors import UserError
from unrolled.models.encoder import head_of, recurrent_of
from unrolled.models.settings import ModelSettings
from unrolled.nn import AdaptiveSoftmax, Softmax, SymbolInput, WordCharacterInput
from unrolled.nn.recurrent import State


class Loss(NamedTuple):
    """What a window cost: the summed loss in nats, how many symbols that counts, and the state to go on with."""

    total: Tensor
    symbols: Tensor
    state: State


class LanguageModel(nn.Module):
    """A recurrent language model.

    Args:
        settings: sizes and regularisation.
        vocabulary: symbols, V, special ones included.
        cell: the recurrence.
        spellings: (V, C) character ids of every symbol, for `settings.characters`; None otherwise.
        alphabet: how many character ids there are.
        extra: ids from V on that are read and never predicted.

    Shapes: symbols, inputs and targets are (T, B) ids; a target of 0 is not counted.
    """

    spellings: Tensor | None

    def __init__(
        self,
        settings: ModelSettings,
        vocabulary: int,
        cell: Cell,
        *,
        spellings: Tensor | None = None,
        alphabet: int = 0,
        extra: int = 0,
    ) -> None:
        super().__init__()
        if settings.bidirectional:
            raise UserError(
                "model.bidirectional: a language model may not see the symbols that it predicts; set it to false"
            )
        self.vocabulary, self.dropout = vocabulary, settings.dropout
        words = SymbolInput(
            vocabulary + extra, settings.embedding, dropout=settings.embedding_dropout,
            symbol_dropout=settings.symbol_dropout, scale=settings.embedding_scale,
        )  # fmt: skip
        self.register_buffer("spellings", spellings if settings.characters else None, persistent=False)
        self.input = WordCharacterInput(words, alphabet, settings.characters) if settings.characters else words
        self.recurrent = recurrent_of(settings, self.input.output_size, cell)
        self.head = head_of(settings, settings.hidden)
        self._add_output(settings, words)

    def _add_output(self, settings: ModelSettings, words: SymbolInput) -> None:
        features, shared = self.head.output_size, None
        self.bridge: nn.Module = nn.Identity()
        if settings.tied:
            if not settings.embedding:
                raise UserError("model.tied: there is no embedding to share; set model.embedding, or tied = false")
            shared = words.weight
            nn.init.uniform_(shared, -0.1, 0.1)  # it is the softmax's weight too, whose scores have to start small
            if features != settings.embedding:  # the tied weight's width is the embedding's
                self.bridge = nn.Linear(features, settings.embedding)
                features = settings.embedding
        if settings.softmax == "adaptive":
            cutoffs = settings.cutoffs or tuple(cut for cut in (2_000, 10_000) if cut < self.vocabulary)
            if not cutoffs:
                raise UserError(f'model.softmax = "adaptive": {self.vocabulary} symbols are too few for it; use "full"')
            self.output: AdaptiveSoftmax | Softmax = AdaptiveSoftmax(features, self.vocabulary, cutoffs, weight=shared)
        else:
            self.output = Softmax(features, self.vocabulary, weight=shared)

    def forward(self, inputs: Tensor, targets: Tensor, state: State | None, spellings: Tensor | None = None) -> Loss:
        """The loss of one window, and the state after it."""
        features, state = self.features(inputs, state, spellings)
        total = self.output.loss(features.flatten(0, 1), targets.flatten())
        return Loss(total, (targets != 0).sum(), state)

    def features(
        self, inputs: Tensor, state: State | None = None, spellings: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """(T, B) symbols to the (T, B, F) features that the softmax reads, and the state after them."""
        output, state = self.recurrent(self.vectors(inputs, spellings), state)
        output = functional.dropout(output, self.dropout, self.training)
        features: Tensor = self.bridge(self.head(output))
        return features, state

    def vectors(self, inputs: Tensor, spellings: Tensor | None = None) -> Tensor:
        """(T, B) symbols to what the recurrence reads."""
        if not isinstance(self.input, WordCharacterInput):
            found: Tensor = self.input(inputs)
            return found
        spelt: Tensor = self.input(inputs, self._known_spellings()[inputs] if spellings is None else spellings)
        return spelt

    def after_outputs(self, outputs: Tensor) -> Tensor:
        """(..., H) outputs of the recurrence to the (..., V) log-probabilities of what follows each."""
        return self.output.log_probabilities(self.bridge(self.head(outputs)))

    def _known_spellings(self) -> Tensor:
        if self.spellings is None:
            raise ValueError("this model reads characters: give it the spellings of its symbols")
        return self.spellings

    def log_probabilities(
        self, inputs: Tensor, state: State | None = None, spellings: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """(T, B) symbols to the (T, B, V) log-probabilities of what follows each, and the state after them."""
        features, state = self.features(inputs, state, spellings)
        return self.output.log_probabilities(features), state

    @torch.no_grad()
    def step(self, symbols: Tensor, state: State | None, spellings: Tensor | None = None) -> tuple[Tensor, State]:
        """(B,) symbols to the (B, V) log-probabilities of the next ones, and the state: what `decoding` asks for.

        spellings: (B, C), of words that are not spelt as the vocabulary spells their symbols: unknown ones.
        """
        spelt = None if spellings is None else spellings.unsqueeze(0)
        logs, state = self.log_probabilities(symbols.unsqueeze(0), state, spelt)
        return logs.squeeze(0), state
