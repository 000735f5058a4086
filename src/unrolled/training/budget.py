"""What a run costs, found out before it begins: from a recipe's budget to a plan, an estimate, and what is measured.

A run by the clock gives at most a tenth of its time to validations, and as much to the figures at its end. Of parts
that are too large for that a sample is measured, and where that takes too long as well there are fewer validations.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch

from unrolled.tasks.task import Batches, Material, Task, parts_of
from unrolled.training.plan import VALIDATING, Clock, Costs, Plan
from unrolled.training.progress import duration
from unrolled.training.recipe import Recipe
from unrolled.training.settings import TrainingSettings

CALIBRATION_BATCHES = 4
PROBED_PIECES = 4


def costs(task: Task, recipe: Recipe, model: torch.nn.Module, material: Material, valid: Any) -> Costs:
    """Try measurements on a few batches; `valid` is what training validates on. Random state is as before."""
    validation = seconds_to_measure(task, recipe, model, valid)
    figures = sum(seconds_to_measure(task, recipe, model, part, full=True) for part in parts_of(material).values())
    return Costs(validation, figures, validation * task.conclusion_passes(material.symbols))


def validations_for(
    task: Task, settings: TrainingSettings, clock: Clock, part: Any, seconds: float
) -> TrainingSettings:
    """The settings with so many validations, of so large a share of the part, as the clock allows.

    seconds: a validation on the whole part.
    """
    if part is None or not seconds:
        return settings
    wished = settings.validations
    allowed = VALIDATING * clock.seconds
    least = min(1.0, task.smallest_sample / max(1, len(part)))
    share = min(settings.validation_share, max(allowed / wished / seconds, least))
    affordable = max(1, int(allowed / (share * seconds)))
    return replace(settings, validation_share=share, validations=min(wished, affordable))


def plan_of(task: Task, recipe: Recipe, model: torch.nn.Module, material: Material) -> tuple[Plan, float]:
    """The plan of a run by steps or epochs, and the seconds that it takes, measurements included.

    A few batches are run forwards and backwards to learn how long one takes; weights and random state are as before.
    """
    settings = recipe.training
    batches = task.batches(recipe, material)
    kind, amount = settings.budget
    steps = int(amount)
    if kind == "epochs":
        steps = max(1, round(amount * batches.steps_per_epoch(0) / settings.accumulate))
    plan = fixed_plan(settings, steps)
    found = costs(task, recipe, model, material, task.sample(material.valid, settings.validation_share))
    seconds = steps * seconds_a_batch(recipe, model, batches) * settings.accumulate
    return plan, seconds + found.validation * plan.validations() + found.conclusion + found.figures


def fixed_plan(settings: TrainingSettings, steps: int) -> Plan:
    """The plan of a run of so many steps."""
    every, wished = settings.validate_every, settings.validations
    return Plan(steps, validate_every=every, validations=wished, pace=settings.pace, validated=settings.validated)


def seconds_a_batch(recipe: Recipe, model: torch.nn.Module, batches: Batches) -> float:
    """The median time of a batch, forwards and backwards; the first, which makes kernels, does not count."""
    bfloat16 = recipe.training.precision == "bfloat16"
    times = []
    model.train()
    device = next(model.parameters()).device
    with torch.random.fork_rng():
        for _, batch in zip(range(CALIBRATION_BATCHES), batches.epoch(0), strict=False):
            started = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                loss = model(*batch.to(device).arguments(None))
            loss.total.backward()
            float(loss.total.detach())  # on a GPU: wait until it is done
            times.append(time.perf_counter() - started)
    model.zero_grad(set_to_none=True)
    return statistics.median(times[1:] or times) * 1.05  # and a little for the optimiser


def seconds_to_measure(task: Task, recipe: Recipe, model: torch.nn.Module, part: Any, *, full: bool = False) -> float:
    """How long one pass over a part takes, from a few of its batches; with `full` as at the end of the run."""
    if part is None or not len(part):
        return 0.0
    probe, first = task.probe(part)
    with torch.random.fork_rng():
        _read(task.pieces(recipe, model, probe, full=full), first + 1)  # makes the kernels, which is not measured
        started, read = time.perf_counter(), 0
        pieces = task.pieces(recipe, model, probe, full=full)
        for number, piece in enumerate(pieces):
            if number < first:
                started = time.perf_counter()
            else:
                read += piece.counted
            if number == first + PROBED_PIECES:
                break
        pieces.close()  # the model trains again
    return (time.perf_counter() - started) * len(part) / read if read else 0.0


def _read(pieces: Generator[Any, None, None], count: int) -> None:
    for _ in zip(range(count), pieces, strict=False):
        pass
    pieces.close()


def estimate(task: Task, recipe: Recipe, model: torch.nn.Module, material: Material, ends: str) -> str:
    """Parameters, memory, and when the run `ends`, in one line."""
    settings, shape = recipe.training, recipe.model
    count = sum(parameter.numel() for parameter in model.parameters())
    copies = 4 + (settings.average > 0)  # weights, gradients, the optimiser's two averages, the averaged weights
    timesteps = task.timesteps(recipe, material)
    timestep = (1 + shape.bidirectional) * shape.layers * shape.hidden * 12
    timestep += 2 * shape.embedding + 2 * task.outputs(model)
    memory = 4 * (count * copies + timestep * timesteps)
    symbols = timesteps * settings.accumulate
    return (
        f"{count:,} parameters; about {memory / 1e6:,.0f} MB for weights and activations; "
        f"steps of {symbols:,} symbols; {ends}"
    )


def steps_text(steps: int, seconds: float) -> str:
    """How many steps a run has, and about how long they take."""
    return f"{steps:,} step{'s' * (steps != 1)}, about {duration(seconds)}"
