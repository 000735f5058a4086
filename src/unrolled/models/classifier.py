"""The classifier: a sequence to one class, a number of stars, or a number. Encoder, pooling, one affine map."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import Cell
from unrolled.models.encoder import Encoder, InputKind, head_of
from unrolled.models.settings import ModelSettings
from unrolled.nn import Pooling


class ClassLoss(NamedTuple):
    """What a batch cost: the summed loss. A sequence begins anew, so there is no state to go on with."""

    total: Tensor
    state: None = None


class Classifier(nn.Module):
    """P(class | x⟨1⟩, ..., x⟨T⟩), or a number.

    Args:
        settings: sizes and regularisation; `pooling` says how a sequence becomes one vector.
        kind: symbols or frames.
        classes: how many classes; 0 predicts a number (in standard deviations from the training part's mean).
        cell: the recurrence, or None.
        weights: (classes,) what a mistake in each class costs, 1 on average; None for all the same.

    `temperature` divides the scores before they become probabilities; training leaves it alone.

    Shapes: see `Encoder`; targets are (B,) class ids or numbers.
    """

    weights: Tensor | None

    def __init__(
        self, settings: ModelSettings, kind: InputKind, classes: int, cell: Cell | None, *,
        weights: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes, self.smoothing = classes, settings.label_smoothing
        self.encoder = Encoder(settings, kind, cell, bidirectional=settings.bidirectional)
        width, both = self.encoder.output_size, self.encoder.bidirectional
        self.pooling = Pooling(width, settings.pooling, bidirectional=both)
        self.head = head_of(settings, width)
        self.output = nn.Linear(self.head.output_size, classes or 1)
        self.register_buffer("weights", weights, persistent=False)
        self.temperature = 1.0

    def forward(self, inputs: Tensor, lengths: Tensor, targets: Tensor, spellings: Tensor | None = None) -> ClassLoss:
        """The loss of one batch, summed: nats, or half the squared error."""
        return ClassLoss(self.loss(self.scores(inputs, lengths, spellings), targets))

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The same from the scores. Weights and smoothing only apply while training: a measured loss is the nats of the
        probabilities that the model gives."""
        if not self.classes:
            return 0.5 * (scores.squeeze(-1) - targets).square().sum()
        if not self.training:
            return functional.nll_loss(self.log_probabilities(scores), targets, reduction="sum")
        return functional.cross_entropy(
            scores.float(), targets, weight=self.weights, label_smoothing=self.smoothing, reduction="sum"
        )

    def scores(self, inputs: Tensor, lengths: Tensor, spellings: Tensor | None = None) -> Tensor:
        """(B, classes): softmax makes probabilities of them; or (B, 1) numbers."""
        return self.scores_of(self.encoder.vectors(inputs, spellings), lengths)

    def scores_of(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """The same from the vectors that the recurrence reads; see `Encoder.vectors`."""
        outputs, _ = self.encoder.read(vectors, lengths)
        found: Tensor = self.output(self.head(self.pooling(outputs, lengths)))
        return found

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """(B, classes) scores as log-probabilities."""
        return (scores.double() / self.temperature).log_softmax(-1)


def balanced(counts: Tensor) -> Tensor:
    """Weights by which every class costs the same in all: N / (classes * count), as it is commonly defined."""
    return counts.sum() / (len(counts) * counts.clamp(min=1).to(torch.float32))
