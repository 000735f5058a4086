"""Which timesteps speak for a class: by the gradient, and by leaving each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unrolled.data.examples import ExampleBatch
from unrolled.inspecting.heat_map import longest_of, width_for, write_symbols, write_title
from unrolled.lettering import LONGEST, shortened
from unrolled.models.classifier import Classifier
from unrolled.pictures import drawing, new_figure, save_figure

Numbers = NDArray[np.float64]
AT_ONCE = 64
"""Sequences that are read side by side, each without another timestep."""
FOR, AGAINST = "#d1495b", "#2a6f97"


@dataclass(frozen=True)
class Saliency:
    """How much each of the T timesteps speaks for a class, or raises a number that is predicted.

    Attributes:
        symbols: what was read. label: the class; empty where a number is predicted.
        score: before the softmax; of numbers the number, less the training part's mean.
        log_probability: natural, of the class; of numbers the same number again.
        gradient_input: (T,) ∂score/∂x⟨t⟩ · x⟨t⟩ of the vectors that the recurrence reads: what each timestep adds to
            the score, were the model linear.
        occlusion: (T,) how much `log_probability` falls if the timestep is left out and the rest is read.
    """

    symbols: tuple[str, ...]
    label: str
    score: float
    log_probability: float
    gradient_input: Numbers
    occlusion: Numbers

    @property
    def outcome(self) -> str:
        """What falls where a timestep is left out, for people."""
        return f"log P({self.label})" if self.label else "the number"

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            "symbols": list(self.symbols),
            "label": self.label,
            "score": self.score,
            "log_probability": self.log_probability,
            "gradient_input": self.gradient_input.tolist(),
            "occlusion": self.occlusion.tolist(),
        }


def saliency(
    model: Classifier, symbols: Sequence[str], batch: ExampleBatch, label: str, place: int, *, scale: float = 1.0
) -> Saliency:
    """The saliency of one sequence for the score at a place; `scale` turns it into the label's own units."""
    score, gradient_input = _by_gradient(model, batch, place)
    whole = float(_outcomes(model, batch.inputs, batch.lengths, batch.spellings, place))
    without = _by_leaving_out(model, batch, place)
    return Saliency(
        tuple(symbols), label, scale * score, scale * whole, scale * gradient_input, scale * (whole - without)
    )


def _by_gradient(model: Classifier, batch: ExampleBatch, place: int) -> tuple[float, Numbers]:
    """The score, and gradient times input at every timestep."""
    with torch.no_grad():
        vectors = _dense(model, model.encoder.vectors(batch.inputs, batch.spellings))
    vectors.requires_grad_()
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # cuDNN derives only while training
        score = model.scores_of(vectors, batch.lengths)[0, place]
        (gradient,) = torch.autograd.grad(score, vectors)
    products: Numbers = (gradient * vectors).detach().sum(-1)[:, 0].double().cpu().numpy()
    return float(score.detach()), products


def _dense(model: Classifier, vectors: Tensor) -> Tensor:
    """Vectors as they are; ids as the one-hot vectors that they stand for, whose gradients can be asked for."""
    if vectors.is_floating_point():
        return vectors
    width = model.encoder.input.output_size
    return functional.one_hot(vectors.clamp(min=0), width).float() * (vectors >= 0).unsqueeze(-1)


@torch.no_grad()
def _outcomes(model: Classifier, inputs: Tensor, lengths: Tensor, spellings: Tensor | None, place: int) -> Tensor:
    """(B,) log P(class) of sequences; of a model of numbers, the numbers."""
    scores = model.scores(inputs, lengths, spellings)
    found = model.log_probabilities(scores) if model.classes else scores.double()
    return found[:, place]


def _by_leaving_out(model: Classifier, batch: ExampleBatch, place: int) -> Numbers:
    """(T,) the outcome without each timestep. Of a single one nothing is left: a sequence of length 0."""
    steps = len(batch.inputs)
    if steps == 1:
        none = torch.zeros_like(batch.lengths)
        return _outcomes(model, batch.inputs, none, batch.spellings, place).cpu().numpy()
    found = []
    for start in range(0, steps, AT_ONCE):
        left_out = torch.arange(start, min(start + AT_ONCE, steps), device=batch.inputs.device)
        rest = torch.arange(steps - 1, device=batch.inputs.device).unsqueeze(1)
        kept = rest + (rest >= left_out)  # (T - 1, sequences)
        spellings = None if batch.spellings is None else batch.spellings[kept, 0]
        lengths = torch.full((len(left_out),), steps - 1, device=batch.lengths.device)
        found.append(_outcomes(model, batch.inputs[kept, 0], lengths, spellings, place).cpu().numpy())
    return np.concatenate(found)


@drawing
def draw_saliency(found: Saliency, path: Path) -> None:
    """Draw both measures as bars over the timesteps; PNG or SVG.

    Raises:
        UserError: the ending is another, or the picture cannot be written.
    """
    figure = new_figure(width_for(found.symbols), 4.0 + 0.05 * longest_of(found.symbols))
    panels = figure.subplots(2, 1, sharex=True)
    outcome = shortened(found.outcome, 2 * LONGEST)
    titles = f"occlusion: how much {outcome} falls without it", "gradient × input: what it adds to the score"
    for axes, values, title in zip(panels, (found.occlusion, found.gradient_input), titles, strict=True):
        axes.bar(range(len(values)), values, color=[FOR if value > 0 else AGAINST for value in values], width=0.85)
        axes.axhline(0, color="#8d99ae", linewidth=0.8)
        write_title(axes, title)
        axes.tick_params(axis="y", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_xlim(-0.8, len(found.symbols) - 0.2)
    write_symbols(panels[1], found.symbols)
    save_figure(figure, path)
