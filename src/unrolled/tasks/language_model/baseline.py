"""The plain baseline beside every figure: a bigram with Witten-Bell smoothing, counted on the training part."""

from __future__ import annotations

import math
from typing import Any

from unrolled.data.streams import Ids, Stream
from unrolled.models.ngram import WittenBell

MOST_PAIRS = 10_000_000
"""A vocabulary that cannot make more pairs than this is counted on the whole training text: characters and bytes."""
MOST_SYMBOLS = 20_000_000
"""Of a longer text in a larger vocabulary only the first so many are counted: of words some 5 million pairs."""


class Bigram:
    """The bigrams of a training text, to be put beside the figures of any number of texts.

    counted: how many of its symbols were counted.
    """

    def __init__(self, train: Stream) -> None:
        offsets = _offsets(train)
        self.counted, self._length = len(train), len(train)
        if len(train.vocabulary) ** 2 > MOST_PAIRS and len(train) > MOST_SYMBOLS:
            self.counted = MOST_SYMBOLS
            if offsets is not None:
                offsets = offsets[offsets <= MOST_SYMBOLS]
                self.counted = int(offsets[-1])
        self._model = WittenBell(2, len(train.vocabulary)).fit_blocks(train.ids, self.counted, offsets)

    def figures(self, stream: Stream) -> dict[str, Any]:
        """Nats a symbol and perplexity of a text, and how many symbols were counted if that is not all of them."""
        nats = self._model.nats_of_blocks(stream.ids, len(stream), _offsets(stream))
        part = {} if self.counted == self._length else {"counted": self.counted}
        return {"nats_per_symbol": nats, "perplexity": math.exp(nats), **part}


def _offsets(stream: Stream) -> Ids | None:
    return stream.offsets if stream.documents else None
