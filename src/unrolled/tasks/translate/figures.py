"""How good translations are: perplexity of the references; BLEU, chrF and exact answers of what the search found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.decoding.error_analysis import by_words
from unrolled.tasks.intervals import interval as bootstrap
from unrolled.tasks.symbol_figures import SymbolFigures


class Piece(NamedTuple):
    """What the model made of some pairs: summed nats, predicted symbols, and answers by the number of their pair."""

    nats: float
    counted: int
    answers: dict[int, str]


class Answered(NamedTuple):
    """A distinct source, the answer to it, and what people translated it to."""

    source: str
    answer: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class TranslationFigures(SymbolFigures):
    """A part's figures.

    Attributes:
        nats, symbols: of all references, <eos> counted. pairs: how many there are.
        answered: every distinct source; empty where nothing was searched for.
        search: how: "beam 5, alpha 0.7". remark: what was done to the texts before they were compared.
    """

    pairs: int
    answered: tuple[Answered, ...] = field(default=(), repr=False)
    search: str = ""
    remark: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        found: dict[str, Any] = {
            "pairs": self.pairs, "symbols": self.symbols, "nats_per_symbol": self.loss, "perplexity": self.perplexity,
        }  # fmt: skip
        if self.answered:
            found |= {"sources": len(self.answered), "search": self.search, **quality(self.answered, interval=True)}
            found |= {"remark": self.remark} if self.remark else {}
            found["by_length"] = by_length(self.answered)
        return found


def quality(answered: Sequence[Answered], *, interval: bool = False) -> dict[str, Any]:
    """BLEU and chrF by sacrebleu, with their signatures, and the share of answers that equal a reference."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    answers, streams = [one.answer for one in answered], streams_of(answered)
    bleu, chrf = BLEU(), CHRF()
    exact = sum(one.answer in one.references for one in answered) / max(1, len(answered))
    score = bleu.corpus_score(answers, streams)
    found: dict[str, Any] = {
        "bleu": score.score, "chrf": chrf.corpus_score(answers, streams).score, "exact": exact,
        "bleu_signature": str(bleu.get_signature()), "chrf_signature": str(chrf.get_signature()),
    }  # fmt: skip
    if interval:
        found["interval"] = bootstrap(len(answered), resampled_bleu(answered))
    return found


def resampled_bleu(answered: Sequence[Answered]) -> Callable[[NDArray[np.int64]], list[float]]:
    """From numbers of sources, (N, sources), to the BLEU of each of the N resamplings: as `quality` has it, smoothed in
    the same way."""
    from sacrebleu.metrics.bleu import BLEU

    whole, single = BLEU(), BLEU(effective_order=True)  # sacrebleu asks for that of sentences; its counts are the same
    each = [single.sentence_score(one.answer, list(one.references)) for one in answered]
    counts = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in each])

    def score(sums: list[int]) -> float:
        return whole.compute_bleu(
            sums[:4], sums[4:8], sums[8], sums[9], smooth_method=whole.smooth_method, smooth_value=whole.smooth_value,
            effective_order=whole.effective_order, max_ngram_order=whole.max_ngram_order,
        ).score  # fmt: skip

    return lambda draws: [score(counts[draw].sum(axis=0).tolist()) for draw in draws]


def streams_of(answered: Sequence[Answered]) -> Any:
    """References as sacrebleu wants them: the first of every source, the second, ..., None where there is no more."""
    most = max((len(one.references) for one in answered), default=0)
    return [[one.references[n] if n < len(one.references) else None for one in answered] for n in range(most)]


def by_length(answered: Sequence[Answered]) -> list[dict[str, Any]]:
    """The same for short and long sources."""
    found = []
    for words, own in by_words(answered, lambda one: one.source):
        figures = quality(own)
        found.append({"words": words, "sources": len(own), **{key: figures[key] for key in ("bleu", "chrf", "exact")}})
    return found
