"""Naive Bayes over n-grams: the plain baseline of a classifier, by counting alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence


class NaiveBayes:
    """P(class) · Π P(n-gram | class) over all n-grams of a sequence, add-one smoothed.

    Args:
        order: n-grams of 1 to so many symbols.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.classes: Counter[int] = Counter()
        self.grams: dict[int, Counter[tuple[int, ...]]] = {}
        self.known: set[tuple[int, ...]] = set()

    def fit(self, sequences: Iterable[Sequence[int]], classes: Iterable[int]) -> NaiveBayes:
        """Count a training part."""
        for sequence, label in zip(sequences, classes, strict=True):
            self.classes[label] += 1
            self.grams.setdefault(label, Counter()).update(self._of(sequence))
        self.known = set().union(*self.grams.values())
        self._totals = {label: math.log(sum(c.values()) + len(self.known)) for label, c in self.grams.items()}
        return self

    def predict(self, sequence: Sequence[int]) -> int:
        """The most probable class; n-grams that training never saw say nothing."""
        grams = [gram for gram in self._of(sequence) if gram in self.known]
        return max(self.classes, key=lambda label: (self._score(label, grams), -label))

    def _score(self, label: int, grams: list[tuple[int, ...]]) -> float:
        counts, total = self.grams[label], self._totals[label]
        return math.log(self.classes[label]) + sum(math.log(counts[gram] + 1) - total for gram in grams)

    def _of(self, sequence: Sequence[int]) -> Iterator[tuple[int, ...]]:
        for size in range(1, self.order + 1):
            for start in range(len(sequence) - size + 1):
                yield tuple(sequence[start : start + size])
