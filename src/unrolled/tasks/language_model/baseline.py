"""The plain baseline beside every figure: the n-gram of the best order, counted on the training part."""

from __future__ import annotations

import math
from typing import Any

from unrolled.data.streams import Stream
from unrolled.models.ngram import Text, WittenBell, best_ngram

MOST_SYMBOLS = 20_000_000
"""Of a longer text only the first so many symbols are counted."""
CHOOSING_SYMBOLS = 500_000
"""The order is chosen on at most about so many symbols of the validation part."""


class NGram:
    """The n-grams of a training text, to be put beside the figures of any number of texts.

    Args:
        train: what is counted. valid: what the order is chosen by, up to 6.
        order: this one instead; 0: the best.
        seconds: about how long choosing may take.

    Attributes:
        counted: how many symbols of the training text were counted.
    """

    def __init__(
        self, train: Stream, valid: Stream | None = None, *, order: int = 0, seconds: float = math.inf
    ) -> None:
        self.counted, self._length = len(train), len(train)
        offsets = train.offsets if train.documents else None
        if len(train) > MOST_SYMBOLS:
            self.counted = MOST_SYMBOLS
            if offsets is not None:
                offsets = offsets[offsets <= MOST_SYMBOLS]
                self.counted = int(offsets[-1])
        size = len(train.vocabulary)
        if order:
            self._model = WittenBell(order, size).fit_blocks(train.ids, self.counted, offsets)
            return
        if valid is not None and len(valid) > CHOOSING_SYMBOLS:
            valid = valid.sample(CHOOSING_SYMBOLS / len(valid))
        held_out = None if valid is None else _text(valid)
        self._model = best_ngram(Text(train.ids, self.counted, offsets), held_out, size, seconds=seconds)

    @property
    def order(self) -> int:
        """The length of its n-grams."""
        return self._model.order

    def figures(self, stream: Stream) -> dict[str, Any]:
        """Order, nats a symbol and perplexity of a text, and how many symbols were counted if that is not all."""
        text = _text(stream)
        nats = self._model.nats_of_blocks(text.read, text.length, text.offsets)
        part = {} if self.counted == self._length else {"counted": self.counted}
        return {"order": self.order, "nats_per_symbol": nats, "perplexity": math.exp(nats), **part}


def _text(stream: Stream) -> Text:
    return Text(stream.ids, len(stream), stream.offsets if stream.documents else None)
