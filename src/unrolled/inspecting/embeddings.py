"""The vectors of a model's symbols: which are near each other, and all in a plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.data.vocabulary import SPECIALS, Vocabulary
from unrolled.errors import UserError
from unrolled.nn import Recurrent, SymbolInput, WordCharacterInput

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Embeddings:
    """The vectors of V symbols, the most frequent first.

    Attributes:
        texts: the symbols. shown: the same as people see them.
        vectors: (V, E).
        one_hot: whether the model reads one-hot vectors: a symbol's vector is then its column of the first recurrent
            layer's input weights, of all gates and directions.
    """

    texts: tuple[str, ...]
    shown: tuple[str, ...]
    vectors: Numbers
    one_hot: bool

    @cached_property
    def _directions(self) -> Numbers:
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        found: Numbers = self.vectors / np.maximum(lengths, 1e-12)
        return found

    def place(self, text: str) -> int:
        """Where a symbol is, by its text or as people see it; of a word's subword, without its blank too.

        Raises:
            UserError: the model knows no such symbol.
        """
        for names, wanted in ((self.texts, text), (self.shown, text), (self.texts, f" {text}")):
            if wanted in names:
                return names.index(wanted)
        some = ", ".join(self.shown[:5])
        raise UserError(f"the model knows no symbol {text!r}; those that it knows begin with {some}")

    def neighbours(self, text: str, count: int = 8) -> list[tuple[str, float]]:
        """The symbols nearest to one, by cosine, the nearest first.

        Raises:
            UserError: the model knows no such symbol.
        """
        place = self.place(text)
        cosines = self._directions @ self._directions[place]
        order = np.argsort(-cosines, kind="stable")
        return [(self.shown[one], float(cosines[one])) for one in order if one != place][:count]

    def plane(self, count: int = 150) -> tuple[Numbers, Numbers]:
        """(N, 2) where the `count` most frequent symbols lie in the plane of their first two principal components, and
        which shares of their variance these have, (2,)."""
        chosen = self.vectors[:count]
        centred = chosen - chosen.mean(axis=0)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        found = np.zeros((len(chosen), 2))
        shares = np.zeros(2)
        for axis in range(min(2, len(sizes))):
            along = left[:, axis] * sizes[axis]
            sign = np.sign(along[np.argmax(np.abs(along))]) or 1.0  # a component's sign is free: always the same one
            found[:, axis] = sign * along
            shares[axis] = sizes[axis] ** 2 / max(float((sizes**2).sum()), 1e-300)
        return found, shares

    def as_dict(self, texts: list[str], count: int) -> dict[str, Any]:
        """For JSON: the neighbours of some symbols, and every symbol's vector."""
        return {
            "one_hot": self.one_hot,
            "neighbours": {
                text: [{"symbol": name, "cosine": cosine} for name, cosine in self.neighbours(text, count)]
                for text in texts
            },
            "symbols": list(self.texts),
            "vectors": self.vectors.tolist(),
        }


def embeddings_of(vocabulary: Vocabulary, layer: Any, recurrent: Recurrent | None) -> Embeddings:
    """The ordinary symbols' vectors of an input layer; of one-hot vectors the columns of the weights above it."""
    words: SymbolInput = layer.words if isinstance(layer, WordCharacterInput) else layer
    ids = range(len(SPECIALS), len(vocabulary))
    if words.size:
        table = words.weight.detach()
    else:
        assert recurrent is not None
        weights = [weight for name, weight in recurrent.named_parameters() if name.startswith("weight_ih_l0")]
        table = torch.cat([weight.detach() for weight in weights]).t()
    vectors = table[list(ids)].double().cpu().numpy()
    return Embeddings(
        tuple(map(vocabulary.text, ids)), tuple(map(vocabulary.symbol, ids)), vectors, one_hot=not words.size
    )
