"""How good predictions are: accuracy, F1 and confusions of classes, the mean error of numbers, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.data.labels import Labels
from unrolled.tasks.intervals import interval

Numbers = NDArray[np.float64]
Ids = NDArray[np.int64]

BINS = 15
"""Bins of the calibration error, of equal width (Guo et al. 2017)."""


class Piece(NamedTuple):
    """What the model made of some examples.

    Attributes:
        nats: the summed loss. numbers: which examples. targets: (B,).
        scores: (B, classes) calibrated log-probabilities, or (B, 1) standardised numbers.
    """

    nats: float
    numbers: Ids
    targets: Numbers
    scores: Numbers

    @property
    def counted(self) -> int:
        """How many examples there are."""
        return len(self.numbers)


@dataclass(frozen=True)
class ClassFigures:
    """Predictions of a whole part beside its labels.

    Attributes:
        labels: what is predicted. nats: the summed loss; of classes that of the calibrated probabilities.
        truth: (N,) class ids, or numbers. scores: (N, classes) log-probabilities, or (N, 1) numbers.
    """

    labels: Labels
    nats: float
    truth: NDArray[Any]
    scores: Numbers

    @property
    def loss(self) -> float:
        """Nats an example (numbers: half the squared error, in deviations)."""
        return self.nats / max(1, len(self.truth))

    @property
    def guesses(self) -> NDArray[Any]:
        """(N,) the most probable class, or the number."""
        if self.labels.kind == "number":
            return np.asarray(self.scores[:, 0] * self.labels.deviation + self.labels.mean)
        return np.asarray(self.scores.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        """The share of examples whose most probable class is the true one."""
        return float((self.guesses == self.truth).mean()) if len(self.truth) else math.nan

    @property
    def headline(self) -> str:
        """Accuracy, or the mean error of a number."""
        if self.labels.kind == "number":
            return f"mean error {self.mean_error:.3g}"
        return f"accuracy {self.accuracy:.2%}"

    @property
    def criterion(self) -> float:
        """What is wrong, as a share, of equals the more likely; of numbers the loss."""
        return self.loss if self.labels.kind == "number" else 1 - self.accuracy + 1e-6 * min(self.loss, 100.0)

    @property
    def mean_error(self) -> float:
        """The mean absolute error, in stars or in the number's unit."""
        if self.labels.kind == "number":
            return float(np.abs(self.guesses - self.truth).mean())
        values = np.array(self.labels.values)
        return float(np.abs(values[self.guesses] - values[self.truth]).mean())

    @property
    def confusions(self) -> Ids:
        """(classes, classes) how often the row's class was taken for the column's."""
        count = len(self.labels.names)
        flat = np.bincount(self.truth.astype(np.int64) * count + self.guesses, minlength=count * count)
        return flat.reshape(count, count)

    def by_class(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and count of every class."""
        table = self.confusions
        right, predicted, true = np.diag(table), table.sum(axis=0), table.sum(axis=1)
        found = []
        for number, name in enumerate(self.labels.names):
            precision, recall = right[number] / max(1, predicted[number]), right[number] / max(1, true[number])
            f1 = 2 * precision * recall / max(1e-12, precision + recall)
            figures = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
            found.append({"class": name, **figures, "count": int(true[number])})
        return found

    def calibration_error(self) -> float:
        """The mean distance between how sure the predictions are and how often they are right, over `BINS` bins."""
        sure, right = np.exp(self.scores.max(axis=1)), self.guesses == self.truth
        bins = np.minimum((sure * BINS).astype(int), BINS - 1)
        gaps = [abs(sure[bins == b].mean() - right[bins == b].mean()) * (bins == b).sum() for b in set(bins.tolist())]
        return float(sum(gaps) / max(1, len(sure)))

    def interval(self, seed: int = 0) -> list[float] | None:
        """The middle 95 % of the figure over resamplings of the examples; see `tasks.intervals`."""
        number = self.labels.kind == "number"
        each = np.abs(self.guesses - self.truth) if number else (self.guesses == self.truth).astype(np.float64)
        return interval(len(each), lambda draws: each[draws].mean(axis=1), seed)

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        if self.labels.kind == "number":
            spread = float(((self.guesses - self.truth) ** 2).mean() ** 0.5)
            figures = {"mean_absolute_error": self.mean_error, "root_mean_square_error": spread}
            return {"examples": len(self.truth), "loss": self.loss, **figures, "interval": self.interval()}
        table = self.by_class()
        stars = {"mean_absolute_error": self.mean_error} if self.labels.kind == "stars" else {}
        return {
            "examples": len(self.truth), "nats_per_example": self.loss, "accuracy": self.accuracy,
            "interval": self.interval(), "macro_f1": float(np.mean([row["f1"] for row in table])), **stars,
            "calibration_error": self.calibration_error(), "classes": table, "confusions": self.confusions.tolist(),
        }  # fmt: skip
