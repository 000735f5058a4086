"""From a recipe to a trained run folder: open the data, build the model, plan the budget, train, measure."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from unrolled.cells import Cell
from unrolled.data.examples import vectors_path
from unrolled.errors import UserError
from unrolled.models.build import cell_of_run, check_weights, write_cell
from unrolled.tasks import task_of
from unrolled.tasks.task import Batches, Material, Task, parts_of
from unrolled.tasks.transfer import put_vectors, take_weights
from unrolled.training.curves import draw_curves
from unrolled.training.loop import Trainer, validation_interval
from unrolled.training.processes import fabric_of
from unrolled.training.progress import Progress
from unrolled.training.recipe import Recipe, load_recipe, recipe_text
from unrolled.training.run_folder import (
    RECIPE,
    atomic_write_text,
    check_run_folder,
    create_run_folder,
    load_state,
    load_weights,
    save_state,
    save_weights,
    version_differences,
    write_json,
    write_versions,
)

METRICS = "metrics.json"
CURVES = "curves.png"
CALIBRATION_BATCHES, CALIBRATION_MEASURED = 4, 2


@dataclass(frozen=True)
class Result:
    """How a sitting ended: the run folder, its figures, and whether the budget was spent (or it was interrupted)."""

    folder: Path
    metrics: dict[str, Any]
    complete: bool


def begin(
    recipe: Recipe,
    *,
    base: Path,
    name: str,
    folder: Path | None = None,
    runs: Path = Path("runs"),
    init: Path | None = None,
    cell: Cell | None = None,
    device: str = "auto",
    quiet: bool = False,
    started: Callable[[Path], None] | None = None,
) -> Result:
    """Train a recipe from the beginning.

    Args:
        base: what the recipe's relative paths are relative to.
        name: the run's name, `runs/NAME`; `folder`: exactly this folder instead.
        init: a run whose weights and vocabulary to start from; of one with other labels, those of its encoder.
        cell: the cell, where it is the user's own.
        started: told the run folder, as soon as there is one.
    """
    _check_place(folder)
    torch.manual_seed(recipe.training.seed)
    fabric = fabric_of(recipe, device)
    task = task_of(recipe.task)
    material, whole = task.open_from(recipe, base, init) if init else (task.open(recipe, base), True)
    model = task.build(recipe, material.symbols, cell)
    say = _speaker(quiet, fabric)
    say(material.description)
    if init:
        say(take_weights(model, init, whole=whole))
    elif recipe.data.vectors and task.name in ("classify", "tag"):
        say(put_vectors(model, material.symbols.inputs, vectors_path(recipe.data, base)))
    model.to(fabric.device)
    steps, estimate = fabric.broadcast(plan(task, recipe, model, material))  # every process has measured another time
    say(estimate)
    if fabric.world_size > 1:  # the same weights so far, but each process its own dropout
        torch.manual_seed(recipe.training.seed + fabric.global_rank)
    with _progress(task, recipe, steps, quiet, fabric) as progress:
        trainer = Trainer(task, recipe, model, material, Path(), steps, progress, fabric)
        made, first = "", trainer.snapshot()
        if fabric.is_global_zero:

            def fill(partial: Path) -> None:
                _fill(partial, recipe, base, steps, material, model, cell)
                save_state(partial, *first)

            made = str(create_run_folder(runs, name, explicit=folder, fill=fill))
        trainer.folder = Path(fabric.broadcast(made))
        trainer.alarm.checkpointed(0)
        progress.say(f"run folder: {trainer.folder}")
        if started:
            started(trainer.folder)
        return _finish(trainer, trainer.run())


def resume(
    folder: Path, *, data: Mapping[str, Path] | None = None, device: str = "auto", quiet: bool = False
) -> Result:
    """Go on with a run that was interrupted, from the last state it saved, to the same end bit for bit.

    Args:
        data: where its files are now ("path", "valid", "test"), if they have moved; their content must be the same.
    """
    check_run_folder(folder)
    recipe = load_recipe(folder / RECIPE, own_cell=True)
    if data:
        now = {key: os.path.relpath(path, folder) for key, path in data.items()}
        path, valid, test = (now.get(key, getattr(recipe.data, key)) for key in ("path", "valid", "test"))
        recipe = replace(recipe, data=replace(recipe.data, path=path, valid=valid, test=test))
    steps = int(load_state(folder)[1]["steps"])
    torch.manual_seed(recipe.training.seed)
    fabric = fabric_of(recipe, device)
    task = task_of(recipe.task)
    material = _found_again(task, recipe, folder)
    model = task.build(recipe, material.symbols, cell_of_run(folder)).to(fabric.device)
    say = _speaker(quiet, fabric)
    for difference in version_differences(folder):
        say(f"not the same as when the run began, so not bit for bit: {difference}")
    with _progress(task, recipe, steps, quiet, fabric) as progress:
        trainer = Trainer(task, recipe, model, material, folder, steps, progress, fabric)
        trainer.restore()
        if data and fabric.is_global_zero:
            atomic_write_text(folder / RECIPE, recipe_text(recipe))
        progress.say(f"resuming {folder} at step {trainer.at.step:,} of {steps:,}")
        return _finish(trainer, trainer.run())


def _found_again(task: Task, recipe: Recipe, folder: Path) -> Material:
    """The data of a run that goes on."""
    for file in filter(None, (recipe.data.path, recipe.data.valid, recipe.data.test)):
        if not (folder / file).exists():
            raise UserError(
                f"{os.path.normpath(folder / file)}, which the run was trained on, does not exist; if it is elsewhere "
                f"now: --resume {folder} --data FILE (and --valid, --test)"
            )
    return task.open(recipe, folder, task.load_symbols(folder))


def _check_place(folder: Path | None) -> None:
    """Refuse an existing --run before any work is done."""
    if folder is not None and os.path.lexists(folder):
        raise UserError(f"{folder} exists already; give --run another folder, or go on with it: --resume {folder}")


def _speaker(quiet: bool, fabric: Any) -> Callable[[str], None]:
    silent = Progress(1, quiet=quiet or not fabric.is_global_zero)
    return silent.say


def _progress(task: Task, recipe: Recipe, steps: int, quiet: bool, fabric: Any) -> Progress:
    silent = quiet or not fabric.is_global_zero
    return Progress(steps, 0, unit=task.unit(recipe), counted=task.counted, quiet=silent)


def _fill(
    partial: Path, recipe: Recipe, base: Path, steps: int, material: Material, model: torch.nn.Module,
    cell: Cell | None,
) -> None:  # fmt: skip
    """The first files of a run: enough to load it, whatever happens next."""
    training = replace(recipe.training, steps=steps, epochs=0.0, minutes=0.0)
    fixed = replace(recipe, training=training)
    if cell is not None:
        fixed = replace(fixed, model=replace(fixed.model, cell=cell.name))
        write_cell(partial, cell)
    atomic_write_text(partial / RECIPE, recipe_text(fixed.rebased(base.resolve(), partial.resolve())))
    task_of(recipe.task).save_symbols(material.symbols, partial)
    write_versions(partial)
    save_weights(partial, dict(model.named_parameters()), {"step": "0"})


def plan(task: Task, recipe: Recipe, model: torch.nn.Module, material: Material) -> tuple[int, str]:
    """How many updates the run has, and an estimate of parameters, memory and time, in one line.

    A few batches are run forwards and backwards to learn how long one takes; weights and random state are as before.
    """
    settings = recipe.training
    batches = task.batches(recipe, material)
    seconds = _seconds_a_batch(recipe, model, batches) * settings.accumulate
    validations = settings.validate_every or 0
    valid = _seconds_to_measure(task, recipe, model, material.valid)
    kind, amount = settings.budget
    if kind == "steps":
        steps = int(amount)
    elif kind == "epochs":
        steps = max(1, round(amount * batches.steps_per_epoch(0) / settings.accumulate))
    elif validations:
        steps = max(1, int(amount * 60 / (seconds + valid / validations)))
    else:
        steps = max(1, int((amount * 60 - 10 * valid) / seconds))
    total = steps * seconds + valid * -(-steps // validation_interval(settings, steps))
    total += sum(_seconds_to_measure(task, recipe, model, part, full=True) for part in parts_of(material).values())
    return steps, _estimate(task, recipe, model, material, steps, total)


def _seconds_a_batch(recipe: Recipe, model: torch.nn.Module, batches: Batches) -> float:
    """The median time of a batch, forwards and backwards."""
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


def _seconds_to_measure(task: Task, recipe: Recipe, model: torch.nn.Module, part: Any, *, full: bool = False) -> float:
    """How long one pass over a part takes, from its first batches; with `full` as at the end of the run."""
    if part is None:
        return 0.0
    started, read = time.perf_counter(), 0
    pieces = task.pieces(recipe, model, part, full=full)
    with torch.random.fork_rng():
        for piece in islice(pieces, CALIBRATION_MEASURED):
            read += piece.counted
    pieces.close()  # the model trains again
    return (time.perf_counter() - started) * len(part) / max(1, read)


def _estimate(
    task: Task, recipe: Recipe, model: torch.nn.Module, material: Material, steps: int, seconds: float
) -> str:
    settings, shape = recipe.training, recipe.model
    count = sum(parameter.numel() for parameter in model.parameters())
    copies = 4 + (settings.average > 0)  # weights, gradients, the optimiser's two averages, the averaged weights
    timesteps = task.timesteps(recipe, material)
    timestep = (1 + shape.bidirectional) * shape.layers * shape.hidden * 12
    timestep += 2 * shape.embedding + 2 * task.outputs(model)
    memory = 4 * (count * copies + timestep * timesteps)
    return (
        f"{count:,} parameters; about {memory / 1e6:,.0f} MB for weights and activations; {steps:,} steps of "
        f"{timesteps * settings.accumulate:,} symbols, about {_duration(seconds)}"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _finish(trainer: Trainer, complete: bool) -> Result:
    """Measure the best weights, draw the curves, write the figures."""
    metrics: dict[str, Any] = {}
    if trainer.fabric.is_global_zero:
        draw_curves(trainer.folder, trainer.folder / CURVES)
        if complete:
            metrics = _metrics(trainer)
            write_json(trainer.folder / METRICS, metrics)
    return Result(trainer.folder, metrics, complete)


def _metrics(trainer: Trainer) -> dict[str, Any]:
    task, recipe, model, material, at = trainer.task, trainer.recipe, trainer.model, trainer.material, trainer.at
    check_weights(model, load_weights(trainer.folder)[0], trainer.folder)
    task.conclude(recipe, model, material, trainer.folder)
    figures: dict[str, Any] = {
        "task": recipe.task,
        "step": at.step,
        "best_step": at.best_step,
        "seconds": round(at.seconds, 1),
        f"{task.counted}_per_second": round(at.symbols / max(at.seconds, 1e-9)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    parts = parts_of(material)
    if parts:
        trainer.progress.say(f"measuring the best weights, of step {at.best_step:,}: {' and '.join(parts)} part")
        beside = task.baselines(recipe, material)
    for name, part in parts.items():
        heard = partial(trainer.progress.measured, name)
        found = task.measure(recipe, material.symbols, model, part, full=True, progress=heard)
        figures[name] = {**found.as_dict(), **beside(part)}
    return figures
