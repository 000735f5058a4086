"""Learning curves of several runs beside each other, from their logs; a run may still be training."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.pictures import curve_style, drawing, legend, new_figure, plain_axes, powers_of_ten, save_figure
from unrolled.training.curves import HIGHEST
from unrolled.training.log import read_log
from unrolled.training.recipe import Recipe, load_recipe
from unrolled.training.run_folder import RECIPE, check_run_folder

BY_SYMBOL = ("language-model", "generate", "translate")
"""Tasks whose loss is one of each symbol, so that it depends on what a symbol is."""


@dataclass(frozen=True)
class LearningCurve:
    """A run's losses.

    Attributes:
        name: the run folder as it was given. recipe: what it trains.
        train, valid: (step, loss in nats, seconds since the beginning) as logged; of what is no number nothing.
        norms: (step, the gradient's norm before it was clipped): the largest since the entry before.
    """

    name: str
    recipe: Recipe
    train: tuple[tuple[int, float, float], ...]
    valid: tuple[tuple[int, float, float], ...]
    norms: tuple[tuple[int, float], ...]

    @property
    def best(self) -> tuple[int, float, float] | None:
        """The validation with the lowest loss; None before the first."""
        return min(self.valid, key=lambda point: point[1], default=None)

    @property
    def steps(self) -> int:
        """The last step that was logged."""
        return max((point[0] for point in (*self.train, *self.valid)), default=0)

    @property
    def minutes(self) -> float:
        """How long it has trained."""
        return max((point[2] for point in (*self.train, *self.valid)), default=0.0) / 60

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        keys = ("step", "loss", "seconds")
        return {
            "run": self.name,
            "task": self.recipe.task,
            "best": None if self.best is None else dict(zip(keys, self.best, strict=True)),
            "steps": self.steps,
            "minutes": self.minutes,
            "train": [dict(zip(keys, point, strict=True)) for point in self.train],
            "valid": [dict(zip(keys, point, strict=True)) for point in self.valid],
            "clip_norm": self.recipe.training.clip_norm,
            "norms": [dict(zip(("step", "norm"), point, strict=True)) for point in self.norms],
        }


def learning_curves(folders: Sequence[Path]) -> list[LearningCurve]:
    """The curves of some run folders.

    Raises:
        UserError: one is no run folder, or their losses do not compare: other tasks, or other symbols.
    """
    found = [_curve(folder) for folder in folders]
    first = found[0]
    for other in found[1:]:
        tasks = first.recipe.task, other.recipe.task
        if tasks[0] != tasks[1]:
            raise UserError(f"{first.name} and {other.name} are runs of different tasks, {' and '.join(tasks)}: "
                            "their losses do not compare")  # fmt: skip
        levels = first.recipe.data.level, other.recipe.data.level
        if tasks[0] in BY_SYMBOL and levels[0] != levels[1]:
            raise UserError(f"{first.name} and {other.name} have different symbols, {' and '.join(levels)}: their "
                            "losses do not compare")  # fmt: skip
    return found


def _curve(folder: Path) -> LearningCurve:
    check_run_folder(folder)
    recipe, entries = load_recipe(folder / RECIPE, own_cell=True), read_log(folder)
    train, valid = (
        tuple(
            (entry["step"], float(entry["loss"]), _number(entry.get("seconds")))
            for entry in entries
            if entry.get("kind") == kind and _is_number(entry.get("loss"))
        )
        for kind in ("train", "valid")
    )
    return LearningCurve(str(folder), recipe, train, valid, tuple(_norms(entries)))


def _norms(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    """Norms as logged; where the alarm ended the run, also those of the last steps, one by one."""
    for entry in entries:
        if entry.get("kind") == "train" and _is_number(entry.get("norm")):
            yield entry["step"], float(entry["norm"])
        elif entry.get("kind") == "alarm":
            last = entry.get("norms")
            last = last if isinstance(last, list) else []
            for step, norm in enumerate(last, start=entry["step"] - len(last)):
                if _is_number(norm):
                    yield step, float(norm)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0


@drawing
def draw_learning_curves(curves: Sequence[LearningCurve], path: Path) -> None:
    """Draw the validation losses, the best point of each marked, and thinly the training losses; PNG or SVG.

    Below stand the gradients' norms before clipping, and dashed what they are clipped to.

    Raises:
        UserError: the ending is another, or the picture cannot be written.
    """
    figure = new_figure(8.5, 6.4)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
    drawn = []
    for place, curve in enumerate(curves):
        drawn += _draw(axes, curve, *curve_style(place))
        _draw_norms(below, curve, *curve_style(place))
    below.set_xlabel("step (updates of the weights)", fontsize=9)
    below.set_ylabel("gradient's norm", fontsize=9)
    powers_of_ten(below)
    plain_axes(below)
    unit = "nats per symbol" if curves[0].recipe.task in BY_SYMBOL else "loss"
    axes.set_ylabel(f"{unit}; thick: validation, thin: training", fontsize=9)
    plain_axes(axes)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    _fit(axes, curves)
    legend(axes, drawn, [_named(curve) for curve in curves], frameon=False, loc="upper right")
    save_figure(figure, path)


def _clamped(values: Iterable[float]) -> list[float]:
    return [max(-HIGHEST, min(value, HIGHEST)) for value in values]


def _named(curve: LearningCurve) -> str:
    return curve.name if curve.best is None else f"{curve.name}: {curve.best[1]:.3f} at step {curve.best[0]:,}"


def _draw(axes: Any, curve: LearningCurve, colour: str, style: str) -> list[Any]:
    """Draw a run's losses; the curve that the legend names."""
    if curve.train:
        steps, losses, _ = zip(*curve.train, strict=True)
        axes.plot(steps, _clamped(losses), color=colour, linewidth=0.7, alpha=0.45, linestyle=style)
    steps, losses, _ = zip(*curve.valid, strict=True) if curve.valid else ((), (), ())
    few = {"marker": "o", "markersize": 4} if len(losses) < 3 else {}
    drawn: list[Any] = axes.plot(steps, _clamped(losses), color=colour, linewidth=1.9, linestyle=style, **few)
    if curve.best is not None:
        axes.plot(
            curve.best[0], *_clamped(curve.best[1:2]), "o", markersize=8, markerfacecolor="none", markeredgecolor=colour
        )
    return drawn


def _draw_norms(axes: Any, curve: LearningCurve, colour: str, style: str) -> None:
    steps, norms = zip(*curve.norms, strict=True) if curve.norms else ((), ())
    few = {"marker": "o", "markersize": 4} if len(norms) < 20 else {}
    axes.plot(steps, _clamped(norms), color=colour, linewidth=1.0, linestyle=style, **few)
    if curve.recipe.training.clip_norm:
        axes.axhline(curve.recipe.training.clip_norm, color=colour, linewidth=0.9, linestyle="--", alpha=0.7)


def _fit(axes: Any, curves: Sequence[LearningCurve]) -> None:
    """Leave the first fall out where it would press everything after it into a line."""
    losses = sorted(_clamped(point[1] for curve in curves for point in (*curve.train, *curve.valid)))
    if not losses:
        axes.text(0.5, 0.5, "nothing logged yet", transform=axes.transAxes, ha="center", color="#5c677d")
        return
    low, most, high = losses[0], losses[int(0.95 * (len(losses) - 1))], losses[-1]
    if len(losses) >= 20 and high - low > 1.5 * (most - low) > 0:
        high = low + 1.3 * (most - low)
    margin = 0.05 * (high - low) or 0.05 * max(abs(high), 1e-3)
    axes.set_ylim(low - margin, high + margin)
