"""How good predicted labels are: accuracy of timesteps; where labels are spans, precision, recall and F1 of spans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.data.tag_labels import TagLabels
from unrolled.data.tag_schemes import repaired
from unrolled.tasks.intervals import interval
from unrolled.training.span_scores import SpanScores, counts, scores

Known = frozenset[Any]
"""What the training part has: words, or the (text, type) of spans."""


class Piece(NamedTuple):
    """What the model made of some sequences: the summed loss, their numbers, and labels beside the true ones."""

    nats: float
    counted: int
    numbers: NDArray[np.int64]
    guesses: list[NDArray[np.int64]]
    truth: list[NDArray[np.int64]]


@dataclass(frozen=True)
class TagFigures:
    """Predictions of a whole part beside its labels.

    Attributes:
        labels: what is predicted. nats: the summed loss.
        truth, guesses: of each sequence, as the files write labels; guesses are no broken spans.
        tokens: what each sequence's steps are called, None for frames.
        known: the words of the training part, or its spans where labels are spans; empty where tokens have no names.
    """

    labels: TagLabels
    nats: float
    truth: list[list[str]]
    guesses: list[list[str]]
    tokens: list[tuple[str, ...]] | None
    known: Known

    @property
    def counted(self) -> int:
        """How many timesteps there are."""
        return sum(map(len, self.truth))

    @property
    def loss(self) -> float:
        """Nats a timestep."""
        return self.nats / max(1, self.counted)

    @property
    def accuracy(self) -> float:
        """The share of timesteps with the right label."""
        return sum(self._right()) / max(1, self.counted)

    def _right(self) -> list[int]:
        return [sum(a == b for a, b in zip(*pair, strict=True)) for pair in zip(self.truth, self.guesses, strict=True)]

    def spans(self, *, seen: bool | None = None) -> SpanScores:
        """Precision, recall and F1 of spans; with `seen` only of those whose text training had (or had not)."""
        found = counts(self.truth, self.guesses, self.labels.written, tokens=self.tokens, known=self.known, seen=seen)
        return scores(found)

    @property
    def headline(self) -> str:
        """Span F1, or accuracy."""
        return f"span F1 {self.spans().f1:.2%}" if self.labels.scheme else f"accuracy {self.accuracy:.2%}"

    @property
    def criterion(self) -> float:
        """1 less span F1 or accuracy; of equals the more likely."""
        figure = self.spans().f1 if self.labels.scheme else self.accuracy
        return 1 - figure + 1e-6 * min(self.loss, 100.0)

    def interval(self, seed: int = 0) -> list[float] | None:
        """The middle 95 % of the headline's figure over resamplings of the sequences; see `tasks.intervals`."""
        if self.labels.scheme:
            each = counts(self.truth, self.guesses, self.labels.written)
            table = np.array([(one.correct, one.gold, one.predicted) for one in each])

            def f1(draws: NDArray[np.int64]) -> NDArray[np.float64]:
                correct, gold, predicted = (table[draws, column].sum(axis=1) for column in range(3))
                return np.asarray(2 * correct / np.maximum(gold + predicted, 1))

            return interval(len(self.truth), f1, seed)
        sizes, right = np.array([len(row) for row in self.truth]), np.array(self._right())
        return interval(
            len(sizes), lambda draws: right[draws].sum(axis=1) / np.maximum(sizes[draws].sum(axis=1), 1), seed
        )

    def by_word(self) -> dict[str, float]:
        """Accuracy of words that the training part has, and of those that it has not."""
        if self.tokens is None or self.labels.scheme or not self.known:
            return {}
        found = {True: [0, 0], False: [0, 0]}
        for words, truth, guesses in zip(self.tokens, self.truth, self.guesses, strict=True):
            for word, true, guess in zip(words, truth, guesses, strict=True):
                one = found[word in self.known]
                one[0], one[1] = one[0] + (true == guess), one[1] + 1
        names = {True: "seen_words", False: "unseen_words"}
        return {names[seen]: right / count for seen, (right, count) in found.items() if count}

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        figures: dict[str, Any] = {
            "sequences": len(self.truth), "timesteps": self.counted, "nats_per_timestep": self.loss,
            "accuracy": self.accuracy, "interval": self.interval(), **self.by_word(),
        }  # fmt: skip
        if self.labels.scheme:
            figures |= {"spans": self.spans().as_dict()}
            if self.tokens is not None and self.known:
                figures |= {
                    "seen_spans": self.spans(seen=True).as_dict(),
                    "unseen_spans": self.spans(seen=False).as_dict(),
                }
        else:
            figures |= {"classes": self._by_label()}
        return figures

    def _by_label(self) -> list[dict[str, Any]]:
        pairs: dict[tuple[str, str], int] = {}
        for truth, guesses in zip(self.truth, self.guesses, strict=True):
            for pair in zip(truth, guesses, strict=True):
                pairs[pair] = pairs.get(pair, 0) + 1
        return [_label_row(name, pairs) for name in self.labels.names]


def _label_row(name: str, pairs: dict[tuple[str, str], int]) -> dict[str, Any]:
    right = pairs.get((name, name), 0)
    true = sum(count for (truth, _), count in pairs.items() if truth == name)
    predicted = sum(count for (_, guess), count in pairs.items() if guess == name)
    f1 = 2 * right / (true + predicted) if true + predicted else math.nan
    return {
        "class": name, "precision": right / max(1, predicted), "recall": right / max(1, true),
        "f1": 0.0 if math.isnan(f1) else f1, "count": true,
    }  # fmt: skip


def whole_spans(labels: TagLabels, ids: Sequence[int]) -> list[str]:
    """Predicted ids as the files write labels; what breaks the scheme is mended as conlleval reads it."""
    names = [labels.names[id] for id in ids]
    if not labels.scheme:
        return names
    return labels.answer([labels.ids[name] for name in repaired(names, labels.scheme)])
