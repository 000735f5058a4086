"""The generator: a language model of whole sequences that is told their class, or nothing.

The class is a symbol that enters first (x⟨1⟩ = class instead of 0), or it makes the initial state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from unrolled.cells import Cell
from unrolled.data.vocabulary import BOS
from unrolled.errors import UserError
from unrolled.models.language_model import LanguageModel
from unrolled.models.settings import ModelSettings
from unrolled.nn.recurrent import State


class GenerationLoss(NamedTuple):
    """What a batch cost: the summed loss in nats. A sequence begins anew, so there is no state to go on with."""

    total: Tensor
    state: None = None


class Generator(LanguageModel):
    """P(y⟨1⟩, ..., y⟨T⟩ | class).

    Args:
        settings: sizes and regularisation; `condition` says how the class enters.
        vocabulary: symbols, V, special ones included.
        classes: how many; 0 for none.
        cell: the recurrence.

    Shapes: as for `LanguageModel`; labels are (B,) class ids, or None without classes.
    """

    def __init__(self, settings: ModelSettings, vocabulary: int, classes: int, cell: Cell) -> None:
        first = settings.condition == "input"
        if classes and first and settings.tied:
            raise UserError(
                'model.tied: classes are read by the embedding and never predicted; use model.condition = "state", or '
                "tied = false"
            )
        if settings.characters:
            raise UserError("model.characters is for language models, classify and tag; set it to 0")
        super().__init__(settings, vocabulary, cell, extra=classes if first else 0)
        self.classes, self.states = classes, len(cell.states)
        self.initial: nn.Parameter | None = None
        if classes and not first:
            size = self.states, settings.layers, classes, settings.hidden
            self.initial = nn.Parameter(torch.empty(size).normal_(std=0.1))

    def begin(self, batch: int, labels: Tensor | None) -> tuple[Tensor, State | None]:
        """The first symbols (B,) of sequences of some classes, and the state before them."""
        device = self.output.bias.device
        start = torch.full((batch,), BOS, device=device)
        if not self.classes:
            return start, None
        if labels is None:
            raise ValueError("this model has classes: say which one a sequence is of")
        if self.initial is None:
            return labels + self.vocabulary, None
        states = tuple(self.initial[:, :, labels].unbind(0))
        return start, states if self.states > 1 else states[0]

    def forward(self, inputs: Tensor, targets: Tensor, labels: Tensor | None) -> GenerationLoss:  # type: ignore[override]
        """The loss of one batch, summed. Of the inputs the first are <bos>, whose place the class may take."""
        features, _ = self.features_of(inputs, labels)
        return GenerationLoss(self.output.loss(features.flatten(0, 1), targets.flatten()))

    def features_of(self, inputs: Tensor, labels: Tensor | None) -> tuple[Tensor, State]:
        """(T, B) symbols, <bos> first, to the features that the softmax reads, and the state after them."""
        first, state = self.begin(inputs.shape[1], labels)
        return self.features(torch.cat([first.unsqueeze(0), inputs[1:]]), state)

    def target_log_probabilities(self, inputs: Tensor, targets: Tensor, labels: Tensor | None) -> Tensor:
        """(T, B) log P(y⟨t⟩ | class, y⟨1⟩, ..., y⟨t-1⟩), 0 past the end."""
        logs = self.output.log_probabilities(self.features_of(inputs, labels)[0])
        return logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).masked_fill(targets == 0, 0.0)
