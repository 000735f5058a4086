"""What tasks give to a look at gradients through time: pieces to read, and the losses of their timesteps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.examples import part_of
from unrolled.data.labelled import Example
from unrolled.errors import UserError

PIECES = 8
"""So many sequences are read where none is given."""


def refuse_label(run: Any, label: str | None) -> None:
    """Refuse a class where the model is not told one."""
    if label is not None:
        raise UserError(f"{run.folder} is a run of the task {run.recipe.task}: a class is for generators")


def pieces_of(offsets: NDArray[np.int64], length: int) -> Iterator[NDArray[np.int64]]:
    """The positions (T, B) of what to read: of running text pieces from everywhere, of documents the longest.

    Raises:
        UserError: there is nothing to look back over.
    """
    sizes = np.diff(offsets)
    if len(sizes) == 1:
        steps = min(length, int(sizes[0]))
        starts = np.unique(np.linspace(0, sizes[0] - steps, PIECES).astype(np.int64))
        check_steps(steps)
        yield starts + np.arange(steps)[:, None]
        return
    for document in np.argsort(-sizes, kind="stable")[:PIECES].tolist():
        steps = min(length, int(sizes[document]))
        check_steps(steps)
        yield offsets[document] + np.arange(steps)[:, None]


def check_steps(steps: int) -> None:
    """Refuse what has no timestep before its last."""
    if steps < 2:
        raise UserError("there is nothing to look back over: give a text of at least 2 symbols")


def next_symbol_loss(model: Any, targets: Tensor) -> Callable[[int, Sequence[Tensor]], Tensor]:
    """-log P(y⟨t⟩) of a language model, for targets (T, B)."""
    check_steps(len(targets))

    def loss(step: int, outputs: Sequence[Tensor]) -> Tensor:
        logs: Tensor = model.after_outputs(outputs[-1])
        return -logs.gather(-1, targets[step].unsqueeze(-1)).squeeze(-1)

    return loss


def encoder_inputs(run: Any, given: Sequence[Example] | None, length: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """What the encoder of a classifier or tagger reads, (T, 1, ...), and spellings: of what is given, or of the longest
    of the run's own.

    Raises:
        UserError: there is nothing to look back over.
    """
    own = given or run.part().examples
    chosen = sorted(own, key=lambda one: -len(one.x))[:PIECES]
    spell = run.recipe.model.characters > 0
    part = part_of("the sequence given", chosen, run.symbols.inputs, lambda _: 0, spell=spell)
    for number in range(len(chosen)):
        inputs = torch.from_numpy(part.inputs[number][:length]).unsqueeze(1)
        check_steps(len(inputs))
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        spelt = None if part.spellings is None else torch.from_numpy(part.spellings[number][:length]).unsqueeze(1)
        yield inputs, spelt


def likeliest_loss(scores: Tensor) -> Tensor:
    """-log P of what the model itself finds most probable, (B,): where labels are not given."""
    return -scores.log_softmax(-1).amax(-1)
