"""From a recipe to a trained run folder: open the data, build the model, plan the budget, train, measure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unrolled.cells import Cell
from unrolled.data.examples import vectors_path
from unrolled.data.splitting import STRATIFIED
from unrolled.errors import UserError
from unrolled.models.build import Saved, cell_of_run, write_cell
from unrolled.tasks import task_of
from unrolled.tasks.task import Material, Task
from unrolled.tasks.transfer import put_vectors, take_weights
from unrolled.training.budget import (
    costs,
    estimate,
    fixed_plan,
    plan_of,
    seconds_to_measure,
    steps_text,
    validations_for,
)
from unrolled.training.ending import Result, baselines_of, finish
from unrolled.training.loop import Trainer
from unrolled.training.plan import Clock, ClockPlan, Plan
from unrolled.training.processes import fabric_of
from unrolled.training.progress import Progress, duration
from unrolled.training.recipe import Recipe, load_recipe, recipe_text
from unrolled.training.run_folder import (
    FINGERPRINT,
    RECIPE,
    atomic_write_text,
    check_run_folder,
    create_run_folder,
    load_state,
    load_weights,
    save_state,
    save_weights,
    version_differences,
    write_versions,
)
from unrolled.training.state_checks import check_facts

BASELINES = 0.05
"""The share of a run by the clock that its baselines may take."""


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
    spent: float = 0.0,
) -> Result:
    """Train a recipe from the beginning.

    Args:
        base: what the recipe's relative paths are relative to.
        name: the run's name, `runs/NAME`; `folder`: exactly this folder instead.
        init: a run whose weights and vocabulary to start from; of one with other labels, those of its encoder.
        cell: the cell, where it is the user's own.
        started: told the run folder, as soon as there is one.
        spent: seconds that the program took so far; they count where the budget is in minutes.
    """
    clock = clock_of(recipe, spent)
    _check_place(folder)
    if recipe.task != "language-model" and not recipe.data.split:
        # In the recipes of runs an empty split is what it was before there was this rule: every tenth row.
        recipe = replace(recipe, data=replace(recipe.data, split=STRATIFIED))
    torch.manual_seed(recipe.training.seed)
    fabric = fabric_of(recipe, device)
    task = task_of(recipe.task)
    material, whole = task.open_from(recipe, base, init) if init else (task.open(recipe, base), True)
    Progress(1, quiet=quiet or not fabric.is_global_zero).say(material.description)
    recipe = task.settled(recipe, material)
    if clock is not None:
        recipe = task.sized(recipe, material, clock.seconds, torch.get_num_threads())
    saved = Saved(load_weights(init)[0], init) if init and whole else None
    model = task.build(recipe, material.symbols, cell, saved=saved)
    sitting = _Sitting(task, recipe, model, material, fabric, quiet)
    if not init and not recipe.data.vectors:
        task.start(recipe, model, material)
    if init:
        sitting.say(take_weights(model, init, whole=whole))
    elif recipe.data.vectors and task.name in ("classify", "tag"):
        sitting.say(put_vectors(model, material.symbols.inputs, vectors_path(recipe.data, base)))
    model.to(fabric.device)
    sitting.prepare(clock)
    if fabric.world_size > 1:  # the same weights so far, but each process its own dropout
        torch.manual_seed(recipe.training.seed + fabric.global_rank)
    with sitting.progress() as progress:
        trainer = sitting.trainer(Path(), progress)
        made, first = "", trainer.snapshot()
        if fabric.is_global_zero:

            def fill(partial: Path) -> None:
                _fill(partial, sitting.recipe, base, sitting.plan, material, model, cell)
                save_state(partial, *first)

            made = str(create_run_folder(runs, name, explicit=folder, fill=fill))
        trainer.folder = Path(fabric.broadcast(made))
        trainer.recipe = load_recipe(trainer.folder / RECIPE, own_cell=True)
        trainer.alarm.checkpointed(0)
        progress.say(f"run folder: {trainer.folder}")
        if started:
            started(trainer.folder)
        return finish(trainer, trainer.run(), sitting.beside)


def resume(
    folder: Path,
    *,
    data: Mapping[str, Path] | None = None,
    device: str = "auto",
    quiet: bool = False,
    spent: float = 0.0,
) -> Result:
    """Go on with a run that was interrupted, from the last state it saved, to the same end bit for bit.

    Args:
        data: where its files are now ("path", "valid", "test"), if they have moved; their content must be the same.
        spent: seconds that the program took so far; they count where the budget is in minutes.
    """
    check_run_folder(folder)
    recipe = load_recipe(folder / RECIPE, own_cell=True)
    if data:
        now = {key: os.path.relpath(path, folder) for key, path in data.items()}
        path, valid, test = (now.get(key, getattr(recipe.data, key)) for key in ("path", "valid", "test"))
        recipe = replace(recipe, data=replace(recipe.data, path=path, valid=valid, test=test))
    tensors, facts = load_state(folder)
    by_clock = recipe.training.budget[0] == "minutes"
    check_facts(facts, folder, by_clock=by_clock)
    last = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    clock = clock_of(recipe, spent + facts.get("spent", 0.0))
    torch.manual_seed(recipe.training.seed)
    fabric = fabric_of(recipe, device)
    task = task_of(recipe.task)
    material = _found_again(task, recipe, folder)
    model = task.build(recipe, material.symbols, cell_of_run(folder), saved=Saved(last, folder)).to(fabric.device)
    sitting = _Sitting(task, recipe, model, material, fabric, quiet)
    for difference in version_differences(folder):
        sitting.say(f"not the same as when the run began, so not bit for bit: {difference}")
    if clock is None:
        sitting.plan = fixed_plan(recipe.training, facts["steps"])
    else:
        sitting.prepare(clock, tuple(facts["pace"]), tuple(facts["validated"]))
    with sitting.progress() as progress:
        trainer = sitting.trainer(folder, progress)
        trainer.restore()
        if data and fabric.is_global_zero:
            atomic_write_text(folder / RECIPE, recipe_text(recipe))
        of = "" if clock else f" of {sitting.plan.steps:,}"
        progress.say(f"resuming {folder} at step {trainer.at.step:,}{of}")
        return finish(trainer, trainer.run(), sitting.beside)


def clock_of(recipe: Recipe, spent: float) -> Clock | None:
    """The clock of a run whose budget is in minutes."""
    kind, amount = recipe.training.budget
    return Clock(60 * amount, spent) if kind == "minutes" else None


class _Sitting:
    """What is trained on what, and how long; `beside` are the baselines, where they were computed beforehand."""

    def __init__(
        self, task: Task, recipe: Recipe, model: torch.nn.Module, material: Material, fabric: Any, quiet: bool
    ) -> None:
        self.task, self.recipe, self.model, self.material, self.fabric = task, recipe, model, material, fabric
        self.quiet = quiet or not fabric.is_global_zero
        self.say = Progress(1, quiet=self.quiet).say
        self.beside: dict[str, Any] | None = None
        self.plan = Plan(0)

    def prepare(self, clock: Clock | None, pace: tuple[int, ...] = (), validated: tuple[int, ...] = ()) -> None:
        """Plan the run, and say what is planned. Every process has measured another time: the first one's count."""
        if clock is None:
            self.plan, seconds = self.fabric.broadcast(plan_of(self.task, self.recipe, self.model, self.material))
            self._tell(steps_text(self.plan.steps, seconds))
            return
        self.beside = baselines_of(self.task, self.recipe, self.material, seconds=BASELINES * clock.seconds)
        training = self.recipe.training
        if not pace:  # a run that goes on validates as it did
            seconds = seconds_to_measure(self.task, self.recipe, self.model, self.material.valid)
            training = validations_for(self.task, training, clock, self.material.valid, seconds)
        self.recipe = replace(self.recipe, training=self.fabric.broadcast(training))
        self._plan_by(clock, pace, validated)

    def _plan_by(self, clock: Clock, pace: tuple[int, ...], validated: tuple[int, ...]) -> None:
        training = self.recipe.training
        valid = self.task.sample(self.material.valid, training.validation_share)
        find_out = partial(costs, self.task, self.recipe, self.model, self.material, valid)
        agree = self.fabric.broadcast if self.fabric.world_size > 1 else lambda decision: decision
        self.plan = ClockPlan(
            clock, find_out, validate_every=training.validate_every, validations=training.validations, pace=pace,
            validated=validated, agree=agree,
        )  # fmt: skip
        left = duration(max(0.0, self.plan.left))
        self._tell(f"{duration(clock.seconds)} on the clock, of which {left} are left to train")

    def _tell(self, ends: str) -> None:
        self.say(estimate(self.task, self.recipe, self.model, self.material, ends))

    def progress(self) -> Progress:
        """What shows the training."""
        left = (lambda: plan.left) if isinstance(plan := self.plan, ClockPlan) else None
        unit = self.task.unit(self.recipe)
        return Progress(self.plan.steps, 0, unit=unit, counted=self.task.counted, quiet=self.quiet, left=left)

    def trainer(self, folder: Path, progress: Progress) -> Trainer:
        """What trains."""
        return Trainer(self.task, self.recipe, self.model, self.material, folder, self.plan, progress, self.fabric)


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


def _fill(
    partial: Path, recipe: Recipe, base: Path, plan: Plan, material: Material, model: torch.nn.Module,
    cell: Cell | None,
) -> None:  # fmt: skip
    """The first files of a run: enough to load it, whatever happens next."""
    fixed = recipe
    if not isinstance(plan, ClockPlan):  # how many steps a run by the clock has is known at its end
        fixed = replace(recipe, training=replace(recipe.training, steps=plan.steps, epochs=0.0))
    if cell is not None:
        fixed = replace(fixed, model=replace(fixed.model, cell=cell.name))
        write_cell(partial, cell)
    atomic_write_text(partial / RECIPE, recipe_text(fixed.rebased(base.resolve(), partial.resolve())))
    task_of(recipe.task).save_symbols(material.symbols, partial)
    write_versions(partial)
    save_weights(partial, dict(model.named_parameters()), {"step": "0", FINGERPRINT: material.fingerprint})
