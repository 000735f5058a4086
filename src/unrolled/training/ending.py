"""The end of a run: its best weights are measured beside plain baselines, and its curves drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from unrolled.models.build import check_weights
from unrolled.tasks.comparison import worse_than
from unrolled.tasks.task import Task, parts_of
from unrolled.training.curves import draw_curves
from unrolled.training.loop import Trainer
from unrolled.training.plan import ClockPlan
from unrolled.training.recipe import Recipe, recipe_text
from unrolled.training.run_folder import CURVES, METRICS, RECIPE, atomic_write_text, load_weights, write_json


@dataclass(frozen=True)
class Result:
    """How a sitting ended.

    Attributes:
        folder: the run folder. metrics: its figures.
        complete: whether the budget was spent; otherwise it was interrupted.
    """

    folder: Path
    metrics: dict[str, Any]
    complete: bool


def finish(trainer: Trainer, complete: bool, beside: Mapping[str, Mapping[str, Any]] | None = None) -> Result:
    """Measure the best weights, draw the curves, write the figures.

    beside: the baselines of each part, where they are known.
    """
    metrics: dict[str, Any] = {}
    if trainer.fabric.is_global_zero:
        draw_curves(trainer.folder, trainer.folder / CURVES)
        if complete:
            _keep_length(trainer)
            metrics = _metrics(trainer, beside)
            write_json(trainer.folder / METRICS, metrics)
    return Result(trainer.folder, metrics, complete)


def baselines_of(task: Task, recipe: Recipe, material: Any, *, seconds: float = math.inf) -> dict[str, Any]:
    """The baselines of every part that is measured at the end; `seconds`: about how long they may take."""
    parts = parts_of(material)
    if not parts:
        return {}
    beside = task.baselines(recipe, material, seconds=seconds)
    return {name: beside(part) for name, part in parts.items()}


def _keep_length(trainer: Trainer) -> None:
    """A run by the clock becomes one of the steps that it had: its recipe repeats it bit for bit."""
    if isinstance(trainer.plan, ClockPlan):
        training = replace(
            trainer.recipe.training, steps=trainer.at.step, minutes=0.0, pace=tuple(trainer.plan.pace),
            validated=tuple(trainer.plan.validations_at)
        )  # fmt: skip
        trainer.recipe = replace(trainer.recipe, training=training)
        atomic_write_text(trainer.folder / RECIPE, recipe_text(trainer.recipe))


def _metrics(trainer: Trainer, beside: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    task, recipe, model, material, at = trainer.task, trainer.recipe, trainer.model, trainer.material, trainer.at
    check_weights(model, load_weights(trainer.folder)[0], trainer.folder)
    task.conclude(recipe, model, replace(material, valid=trainer.valid), trainer.folder)  # type: ignore[type-var]
    figures: dict[str, Any] = {
        "task": recipe.task,
        "step": at.step,
        "best_step": at.best_step,
        "seconds": round(at.seconds, 1),
        f"{task.counted}_per_second": round(at.symbols / max(at.seconds, 1e-9)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **_budget(trainer),
    }
    parts = parts_of(material)
    if parts:
        trainer.progress.say(f"measuring the best weights, of step {at.best_step:,}: {' and '.join(parts)} part")
        beside = beside or baselines_of(task, recipe, material)
    share = trainer.plan.figures_share
    for name, part in parts.items():
        heard = partial(trainer.progress.measured, name)
        measured = task.sample(part, share)
        found = task.measure(recipe, material.symbols, model, measured, full=True, progress=heard)
        sampled = {} if share >= 1 else {"sampled": {"share": share, task.counted: len(measured)}}
        part_figures = {**found.as_dict(), **sampled, **(beside or {})[name]}
        figures[name] = {**part_figures, "worse_than": worse_than(part_figures)}
    return figures


def _budget(trainer: Trainer) -> dict[str, Any]:
    """What became of the minutes."""
    plan = trainer.plan
    if not isinstance(plan, ClockPlan):
        return {}
    return {
        "minutes": plan.clock.seconds / 60, "validations": trainer.validations,
        "seconds_validating": round(trainer.validating, 1),
    }  # fmt: skip
