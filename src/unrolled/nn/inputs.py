"""Symbols become vectors: one-hot, an embedding, or a word's embedding joined with an encoding of its characters.
Frames, which are vectors already, may be mapped to others.

<pad> and <bos> enter as the zero vector: x⟨1⟩ = 0, as the course notes start a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.data.vocabulary import BOS, PAD
from unrolled.nn.recurrent import Recurrent
from unrolled.nn.torch_layers import LSTM

LARGEST_TABLE = 2**22
"""Numbers of products that are made ahead of the symbols, at most."""


class SymbolInput(nn.Module):
    """Symbol ids to the input of a recurrent layer.

    Args:
        vocabulary: how many ids there are.
        size: numbers a symbol; 0 for one-hot vectors, which stay ids (the layer gathers columns), with -1 for zero.
        dropout: on the embedded vectors.
        symbol_dropout: on whole symbols: one draw a symbol and call (Gal and Ghahramani 2016).
        scale: the deviation of the vectors' numbers at the start. Less than 1 keeps symbols that training sees seldom
            from speaking louder than what it has learned.

    Shapes: (T, B) ids to (T, B, size), or to (T, B) ids if size is 0. `output_size` is what the layer above takes.
    """

    def __init__(
        self, vocabulary: int, size: int, *, dropout: float = 0.0, symbol_dropout: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.size, self.dropout, self.symbol_dropout = size, dropout, symbol_dropout
        self.output_size = size or vocabulary
        self._names: Tensor | None = None  # while symbols are looked up: of each its id, or -1
        if size:
            self.weight = nn.Parameter(torch.empty(vocabulary, size))
            nn.init.normal_(self.weight, std=scale)

    def forward(self, symbols: Tensor) -> Tensor:
        """Embed, or mark the symbols that are zero."""
        if self._names is not None:
            return self._names[symbols]
        silent = (symbols == PAD) | (symbols == BOS)
        if not self.size:
            return symbols.masked_fill(silent, -1)
        vectors = functional.embedding(symbols, self.weight) * ~silent.unsqueeze(-1)
        if self.training and self.symbol_dropout:
            kept = functional.dropout(vectors.new_ones(self.weight.shape[0], 1), self.symbol_dropout)
            vectors = vectors * functional.embedding(symbols, kept)
        return functional.dropout(vectors, self.dropout, self.training)

    @contextmanager
    def looked_up(self, layer: Recurrent) -> Iterator[None]:
        """Inside, symbols pass as ids to the layer above, which has multiplied every embedding by its weights ahead.

        For inference with weights that stay as they are, see `Recurrent.packed`, and where nothing else reads the
        symbols when the block ends. It is done where it pays: by compiled kernels, and for as many symbols as
        characters or bytes are.
        """
        if self._names is not None or not self._pays(layer):
            yield
            return
        with layer.packed(table=self.weight.detach()):
            names = torch.arange(len(self.weight))
            names[[PAD, BOS]] = -1
            self._names = names
            try:
                yield
            finally:
                self._names = None

    def _pays(self, layer: Recurrent) -> bool:
        weights = getattr(layer, "weight_ih_l0", None)
        if not self.size or weights is None or not layer.only_multiplies:
            return False
        if len(self.weight) * len(weights) * layer.num_directions > LARGEST_TABLE:
            return False
        return layer.engine_for(self.weight[:1].detach().unsqueeze(0)).name == "compiled"


class WordCharacterInput(nn.Module):
    """A word's embedding joined with an encoding of its characters, so that unknown words are not blank.

    The characters run through a bidirectional LSTM, whose two final states are the encoding (Lample et al. 2016).

    Args:
        words: what embeds the word itself.
        alphabet: how many character ids there are, 0 being no character.
        size: numbers of the encoding, an even number.
        character_size: numbers a character.

    Shapes: (T, B) ids and (T, B, C) character ids to (T, B, words.output_size + size).
    """

    def __init__(self, words: SymbolInput, alphabet: int, size: int, *, character_size: int = 24) -> None:
        super().__init__()
        if not words.size:
            raise ValueError("characters: they are joined to a word's embedding, so embedding must not be 0")
        if size % 2:
            raise ValueError(f"characters={size} must be even: half of it reads forwards, half backwards")
        self.words = words
        self.characters = nn.Embedding(alphabet, character_size, padding_idx=0)
        self.encoder = LSTM(character_size, size // 2, bidirectional=True)
        self.output_size = words.output_size + size

    def forward(self, symbols: Tensor, spellings: Tensor) -> Tensor:
        """Embed words and encode their characters; each distinct spelling is encoded once."""
        distinct, place = torch.unique(spellings.flatten(0, -2), dim=0, return_inverse=True)
        lengths = (distinct != 0).sum(-1).clamp(min=1)
        _, (final, _) = self.encoder(self.characters(distinct.t()), lengths=lengths)
        encoded = torch.cat(final.unbind(0), -1)
        encoded = functional.embedding(place.view(symbols.shape), encoded)
        encoded = encoded * ((symbols != PAD) & (symbols != BOS)).unsqueeze(-1)
        encoded = functional.dropout(encoded, self.words.dropout, self.training)
        return torch.cat([self.words(symbols), encoded], -1)


class FrameInput(nn.Module):
    """Frames (real vectors, one a timestep) to the input of a recurrent layer: as they are, or tanh(W x + b).

    Args:
        frame: numbers a frame, D.
        size: numbers a timestep that come out; 0 leaves frames as they are.
        dropout: on what comes out.

    Shapes: (T, B, D) to (T, B, output_size).
    """

    def __init__(self, frame: int, size: int = 0, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.output_size = size or frame
        self.linear = nn.Linear(frame, size) if size else None

    def forward(self, frames: Tensor) -> Tensor:
        """Map every frame."""
        vectors = frames if self.linear is None else self.linear(frames).tanh()
        return functional.dropout(vectors, self.dropout, self.training)
