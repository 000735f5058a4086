"""The bigram beside the figures: all of the training text, or said how much of it."""

import math
from pathlib import Path

import pytest

from unrolled.data.corpus import open_corpus
from unrolled.data.settings import DataSettings
from unrolled.models.ngram import WittenBell
from unrolled.tasks.language_model.baseline import Bigram


@pytest.mark.parametrize("format", ["text", "lines"])
def test_of_a_long_text_a_part_is_counted_and_said(story: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    corpus = open_corpus(DataSettings(path=str(story), level="word", format=format))
    assert corpus.valid
    everything = Bigram(corpus.train)
    assert "counted" not in everything.figures(corpus.valid)
    monkeypatch.setattr("unrolled.tasks.language_model.baseline.MOST_SYMBOLS", 500)
    assert "counted" not in Bigram(corpus.train).figures(corpus.valid)  # a small vocabulary has few pairs
    monkeypatch.setattr("unrolled.tasks.language_model.baseline.MOST_PAIRS", 100)
    figures = Bigram(corpus.train).figures(corpus.valid)
    offsets = corpus.train.offsets[corpus.train.offsets <= 500] if format == "lines" else None
    counted = 500 if offsets is None else int(offsets[-1])
    assert 480 < figures["counted"] == counted <= 500
    model = WittenBell(2, len(corpus.vocabulary)).fit(corpus.train.ids(0, counted), offsets)
    documents = corpus.valid.offsets if format == "lines" else None
    assert figures["nats_per_symbol"] == pytest.approx(model.nats(corpus.valid.ids(0, len(corpus.valid)), documents))
    assert figures["perplexity"] == math.exp(figures["nats_per_symbol"])
