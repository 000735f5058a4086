"""The plain baseline beside every figure: a bigram with Witten-Bell smoothing, counted on the training part."""

from __future__ import annotations

import math

from unrolled.data.streams import Stream
from unrolled.models.ngram import WittenBell

MOST_SYMBOLS = 20_000_000
"""Of a longer training text only the first so many are counted: the table would not fit in memory."""


def bigram_figures(train: Stream, stream: Stream) -> dict[str, float]:
    """Nats a symbol and perplexity of `stream` under the bigrams of `train`."""
    used = min(len(train), MOST_SYMBOLS)
    offsets = train.offsets[train.offsets <= used] if train.documents else None
    if offsets is not None:
        used = int(offsets[-1])
    model = WittenBell(2, len(train.vocabulary)).fit(train.ids(0, used), offsets)
    size = min(len(stream), MOST_SYMBOLS)
    inside = stream.offsets[stream.offsets <= size] if stream.documents else None
    nats = model.nats(stream.ids(0, size if inside is None else int(inside[-1])), inside)
    return {"nats_per_symbol": nats, "perplexity": math.exp(nats)}
