"""Precision, recall and F1 of spans by exact match of first token, last token and type, as CoNLL's tasks score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from unrolled.data.tag_schemes import Span, spans_of

Known = frozenset[Any]


@dataclass(frozen=True)
class SpanCounts:
    """One sentence's spans: how many are right, in the reference, and predicted; by type each as well."""

    correct: int
    gold: int
    predicted: int
    types: dict[str, tuple[int, int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class SpanScores:
    """The counts of many sentences, and what follows from them."""

    correct: int
    gold: int
    predicted: int
    by_type: dict[str, SpanScores] = field(default_factory=dict)

    @property
    def precision(self) -> float:
        """The share of predicted spans that are right."""
        return self.correct / max(1, self.predicted)

    @property
    def recall(self) -> float:
        """The share of true spans that are found."""
        return self.correct / max(1, self.gold)

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 where there is no span."""
        return 2 * self.correct / max(1, self.gold + self.predicted)

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        figures: dict[str, Any] = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        figures |= {"gold": self.gold, "predicted": self.predicted, "correct": self.correct}
        if self.by_type:
            figures["types"] = {type: scores.as_dict() for type, scores in self.by_type.items()}
        return figures


def counts(
    truth: Sequence[Sequence[str]], guesses: Sequence[Sequence[str]], scheme: str, *,
    tokens: Sequence[Sequence[str]] | None = None, known: Known = frozenset(), seen: bool | None = None,
) -> list[SpanCounts]:  # fmt: skip
    """The spans of every sentence.

    Args:
        truth, guesses: tags that keep to the scheme.
        tokens, known, seen: with `seen` only spans whose (text, type) is among the known (True), or is not (False).
    """
    found = []
    for number, pair in enumerate(zip(truth, guesses, strict=True)):
        gold, predicted = (set(spans_of(tags, scheme)) for tags in pair)
        if seen is not None and tokens is not None:
            words = tokens[number]
            gold, predicted = (
                {span for span in spans if (_key(words, span) in known) == seen} for spans in (gold, predicted)
            )
        found.append(_counted(gold, predicted))
    return found


def _key(words: Sequence[str], span: Span) -> tuple[str, str]:
    return " ".join(words[span.first : span.last]), span.type


def _counted(gold: set[Span], predicted: set[Span]) -> SpanCounts:
    right = gold & predicted
    parts = [Counter(span.type for span in spans) for spans in (right, gold, predicted)]
    types = {type: (parts[0][type], parts[1][type], parts[2][type]) for type in sorted(parts[1] | parts[2])}
    return SpanCounts(len(right), len(gold), len(predicted), types)


def scores(found: Iterable[SpanCounts]) -> SpanScores:
    """All sentences together."""
    total = [0, 0, 0]
    types: dict[str, list[int]] = {}
    for one in found:
        for place, number in enumerate((one.correct, one.gold, one.predicted)):
            total[place] += number
        for type, numbers in one.types.items():
            own = types.setdefault(type, [0, 0, 0])
            for place, number in enumerate(numbers):
                own[place] += number
    each = {type: SpanScores(right, gold, predicted) for type, (right, gold, predicted) in sorted(types.items())}
    return SpanScores(total[0], total[1], total[2], each)
