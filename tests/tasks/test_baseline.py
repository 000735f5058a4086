"""The n-gram beside the figures: of the best order, and of all of the training text, or said how much of it."""

import math
from pathlib import Path

import pytest

from unrolled.data.corpus import open_corpus
from unrolled.data.settings import DataSettings
from unrolled.models.ngram import WittenBell
from unrolled.tasks.language_model.baseline import NGram


@pytest.mark.parametrize("format", ["text", "lines"])
def test_of_a_long_text_a_part_is_counted_and_said(story: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    corpus = open_corpus(DataSettings(path=str(story), level="word", format=format))
    assert corpus.valid
    everything = NGram(corpus.train, order=2)
    assert "counted" not in everything.figures(corpus.valid)
    monkeypatch.setattr("unrolled.tasks.language_model.baseline.MOST_SYMBOLS", 500)
    figures = NGram(corpus.train, order=2).figures(corpus.valid)
    offsets = corpus.train.offsets[corpus.train.offsets <= 500] if format == "lines" else None
    counted = 500 if offsets is None else int(offsets[-1])
    assert 480 < figures["counted"] == counted <= 500
    model = WittenBell(2, len(corpus.vocabulary)).fit(corpus.train.ids(0, counted), offsets)
    documents = corpus.valid.offsets if format == "lines" else None
    assert figures["nats_per_symbol"] == pytest.approx(model.nats(corpus.valid.ids(0, len(corpus.valid)), documents))
    assert figures["perplexity"] == math.exp(figures["nats_per_symbol"])


@pytest.mark.parametrize("level", ["character", "word"])
def test_the_order_is_the_best_on_the_validation_part(story: Path, level: str) -> None:
    corpus = open_corpus(DataSettings(path=str(story), level=level))
    assert corpus.valid
    chosen = NGram(corpus.train, corpus.valid)
    nats = {order: NGram(corpus.train, order=order).figures(corpus.valid)["nats_per_symbol"] for order in range(2, 7)}
    rising = next((order for order in range(2, 6) if nats[order + 1] >= nats[order]), 6)
    assert chosen.order == rising
    assert chosen.figures(corpus.valid)["nats_per_symbol"] == pytest.approx(nats[rising], rel=1e-12)
    assert NGram(corpus.train, corpus.valid, seconds=0.0).order == 2  # no time to look further
    assert NGram(corpus.train).order == 2  # nothing to choose by
