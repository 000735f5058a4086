"""The tagger: a label for each timestep. Encoder, one affine map, and a CRF or a softmax over labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import Cell
from unrolled.models.encoder import Encoder, InputKind, head_of
from unrolled.models.settings import ModelSettings
from unrolled.nn.crf import LinearChainCRF

UNCOUNTED = -1
"""The target past a sequence's end."""

Transitions = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]
"""(L, L) which label may follow which, (L,) which may begin, (L,) which may end."""


class TagLoss(NamedTuple):
    """What a batch cost: the summed loss in nats. A sequence begins anew, so there is no state to go on with."""

    total: Tensor
    state: None = None


class Tagger(nn.Module):
    """P(y⟨1⟩, ..., y⟨T⟩ | x⟨1⟩, ..., x⟨T⟩).

    Args:
        settings: sizes and regularisation; `crf` scores neighbouring labels together, otherwise each is by itself.
        kind: symbols or frames.
        labels: how many labels, L.
        cell: the recurrence, or None.
        transitions: what a tag scheme allows; None for everything. Only a CRF can heed it.
        outside: the label of a step that is in no span, where labels are spans; None otherwise.

    `handicap` is how many nats that label is held back by when the best labels are chosen. Likelihood is won by silence
    where spans are rare, F1 is not. Training leaves it at 0.

    Shapes: see `Encoder`; targets are (T, B) label ids, `UNCOUNTED` past the end.
    """

    def __init__(
        self, settings: ModelSettings, kind: InputKind, labels: int, cell: Cell | None, *,
        transitions: Transitions | None = None, outside: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.labels, self.outside, self.handicap = labels, outside, 0.0
        self.encoder = Encoder(settings, kind, cell, bidirectional=settings.bidirectional)
        self.head = head_of(settings, self.encoder.output_size)
        self.output = nn.Linear(self.head.output_size, labels)
        masks = [None] * 3 if transitions is None else [torch.from_numpy(mask) for mask in transitions]
        self.crf = LinearChainCRF(labels, allowed=masks[0], first=masks[1], last=masks[2]) if settings.crf else None

    def forward(self, inputs: Tensor, lengths: Tensor, targets: Tensor, spellings: Tensor | None = None) -> TagLoss:
        """The loss of one batch, summed over timesteps."""
        return TagLoss(self.loss(self.scores(inputs, lengths, spellings), targets, lengths))

    def scores(self, inputs: Tensor, lengths: Tensor, spellings: Tensor | None = None) -> Tensor:
        """(T, B, L) how well each label fits each timestep."""
        found: Tensor = self.output(self.head(self.encoder(inputs, lengths, spellings)[0])).float()
        return found

    def loss(self, scores: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
        """The negative log-probability of the targets, summed."""
        if self.crf is not None:
            return self.crf.loss(scores, targets.clamp(min=0), lengths)
        return functional.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=UNCOUNTED, reduction="sum"
        )

    def held_back(self, scores: Tensor) -> Tensor:
        """The scores, those of `outside` less the handicap."""
        if self.outside is None or not self.handicap:
            return scores
        scores = scores.clone()
        scores[..., self.outside] -= self.handicap
        return scores

    def best(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """(T, B) the most probable labels; of a CRF the most probable sequence."""
        scores = self.held_back(scores)
        return scores.argmax(-1) if self.crf is None else self.crf.viterbi(scores, lengths)[0]

    def probabilities(self, scores: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, L) the probability of each label at each timestep by itself."""
        return scores.softmax(-1) if self.crf is None else self.crf.marginals(scores, lengths)
