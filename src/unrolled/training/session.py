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
from unrolled.data.corpus import Corpus, open_corpus
from unrolled.data.streams import Stream
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.models.build import build_model, cell_of_run, check_weights, write_cell
from unrolled.models.language_model import LanguageModel
from unrolled.training.baseline import Bigram
from unrolled.training.curves import draw_curves
from unrolled.training.evaluation import evaluate_stream, measured_windows
from unrolled.training.loop import Trainer, training_windows, validation_interval
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

VOCABULARY = "vocabulary.json"
METRICS = "metrics.json"
CURVES = "curves.png"
CALIBRATION_WINDOWS, CALIBRATION_MEASURED = 4, 2


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
        init: a run whose weights and vocabulary to start from.
        cell: the cell, where it is the user's own.
        started: told the run folder, as soon as there is one.
    """
    _check_place(folder)
    torch.manual_seed(recipe.training.seed)
    fabric = _fabric(recipe, device)
    vocabulary = Vocabulary.load(init / VOCABULARY) if init else None
    corpus = open_corpus(recipe.data, vocabulary=vocabulary, base=base)
    model = build_model(recipe.model, corpus.vocabulary, cell)
    if init:
        check_weights(model, load_weights(init)[0], init)
    model.to(fabric.device)
    say = _speaker(quiet, fabric)
    say(corpus.description)
    steps, estimate = fabric.broadcast(plan(recipe, model, corpus))  # every process has measured another time
    say(estimate)
    if fabric.world_size > 1:  # the same weights so far, but each process its own dropout
        torch.manual_seed(recipe.training.seed + fabric.global_rank)
    with Progress(steps, 0, unit=unit_of(recipe), quiet=quiet or not fabric.is_global_zero) as progress:
        trainer = Trainer(recipe, model, corpus, Path(), steps, progress, fabric)
        made, first = "", trainer.snapshot()
        if fabric.is_global_zero:

            def fill(partial: Path) -> None:
                _fill(partial, recipe, base, steps, corpus, model, cell)
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
    fabric = _fabric(recipe, device)
    vocabulary = Vocabulary.load(folder / VOCABULARY)
    corpus = _found_again(recipe, vocabulary, folder)
    model = build_model(recipe.model, vocabulary, cell_of_run(folder)).to(fabric.device)
    say = _speaker(quiet, fabric)
    for difference in version_differences(folder):
        say(f"not the same as when the run began, so not bit for bit: {difference}")
    with Progress(steps, 0, unit=unit_of(recipe), quiet=quiet or not fabric.is_global_zero) as progress:
        trainer = Trainer(recipe, model, corpus, folder, steps, progress, fabric)
        trainer.restore()
        if data and fabric.is_global_zero:
            atomic_write_text(folder / RECIPE, recipe_text(recipe))
        progress.say(f"resuming {folder} at step {trainer.at.step:,} of {steps:,}")
        return _finish(trainer, trainer.run())


def _found_again(recipe: Recipe, vocabulary: Vocabulary, folder: Path) -> Corpus:
    """The data of a run that goes on."""
    for file in filter(None, (recipe.data.path, recipe.data.valid, recipe.data.test)):
        if not (folder / file).exists():
            raise UserError(
                f"{os.path.normpath(folder / file)}, which the run was trained on, does not exist; if it is elsewhere "
                f"now: --resume {folder} --data FILE (and --valid, --test)"
            )
    return open_corpus(recipe.data, vocabulary=vocabulary, base=folder)


def _check_place(folder: Path | None) -> None:
    """Refuse an existing --run before any work is done."""
    if folder is not None and os.path.lexists(folder):
        raise UserError(f"{folder} exists already; give --run another folder, or go on with it: --resume {folder}")


def _fabric(recipe: Recipe, device: str) -> Any:
    import logging

    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its greetings are no news to the user
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", recipe.training.devices))
    precision: Any = {"float32": "32-true", "bfloat16": "bf16-mixed"}[recipe.training.precision]
    fabric = Fabric(accelerator=device, devices=processes, precision=precision)
    fabric.launch()
    return fabric


def _speaker(quiet: bool, fabric: Any) -> Callable[[str], None]:
    silent = Progress(1, quiet=quiet or not fabric.is_global_zero)
    return silent.say


def unit_of(recipe: Recipe) -> str:
    """What a loss is shown in."""
    return {"character": "bits per character", "byte": "bits per byte"}.get(recipe.data.level, "perplexity")


def _fill(
    partial: Path, recipe: Recipe, base: Path, steps: int, corpus: Corpus, model: LanguageModel, cell: Cell | None
) -> None:
    """The first files of a run: enough to load it, whatever happens next."""
    training = replace(recipe.training, steps=steps, epochs=0.0, minutes=0.0)
    fixed = replace(recipe, training=training)
    if cell is not None:
        fixed = replace(fixed, model=replace(fixed.model, cell=cell.name))
        write_cell(partial, cell)
    atomic_write_text(partial / RECIPE, recipe_text(fixed.rebased(base.resolve(), partial.resolve())))
    corpus.vocabulary.save(partial / VOCABULARY)
    write_versions(partial)
    save_weights(partial, dict(model.named_parameters()), {"step": "0"})


def plan(recipe: Recipe, model: LanguageModel, corpus: Corpus) -> tuple[int, str]:
    """How many updates the run has, and an estimate of parameters, memory and time, in one line.

    A few windows are run forwards and backwards to learn how long one takes; weights and random state are as before.
    """
    settings = recipe.training
    windows = training_windows(recipe, corpus)
    seconds = _seconds_a_window(recipe, model, windows) * settings.accumulate
    validations = settings.validate_every or 0
    valid = _seconds_to_measure(recipe, model, corpus.valid)
    kind, amount = settings.budget
    if kind == "steps":
        steps = int(amount)
    elif kind == "epochs":
        steps = max(1, round(amount * windows.steps_per_epoch(0) / settings.accumulate))
    elif validations:
        steps = max(1, int(amount * 60 / (seconds + valid / validations)))
    else:
        steps = max(1, int((amount * 60 - 10 * valid) / seconds))
    total = steps * seconds + valid * -(-steps // validation_interval(settings, steps))
    total += sum(_seconds_to_measure(recipe, model, part, accuracy=True) for part in (corpus.valid, corpus.test))
    return steps, _estimate(recipe, model, steps, total)


def _seconds_a_window(recipe: Recipe, model: LanguageModel, windows: Any) -> float:
    """The median time of a window, forwards and backwards."""
    bfloat16 = recipe.training.precision == "bfloat16"
    times = []
    model.train()
    device = next(model.parameters()).device
    with torch.random.fork_rng():
        state = None
        for _, window in zip(range(CALIBRATION_WINDOWS), windows.epoch(0), strict=False):
            started = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                here = window.to(device)
                loss = model(here.inputs, here.targets, state, here.spellings)
            loss.total.backward()
            float(loss.total.detach())  # on a GPU: wait until it is done
            times.append(time.perf_counter() - started)
    model.zero_grad(set_to_none=True)
    return statistics.median(times[1:] or times) * 1.05  # and a little for the optimiser


def _seconds_to_measure(
    recipe: Recipe, model: LanguageModel, stream: Stream | None, *, accuracy: bool = False
) -> float:
    """How long one pass over a part takes, from its first windows; with `accuracy` as at the end of the run."""
    if stream is None:
        return 0.0
    started, read = time.perf_counter(), 0
    windows = measured_windows(model, stream, accuracy=accuracy, spell=recipe.model.characters > 0)
    with torch.random.fork_rng():
        for _, symbols, _ in islice(windows, CALIBRATION_MEASURED):
            read += symbols
    windows.close()  # the model trains again
    return (time.perf_counter() - started) * len(stream) / max(1, read)


def _estimate(recipe: Recipe, model: LanguageModel, steps: int, seconds: float) -> str:
    settings, shape = recipe.training, recipe.model
    count = sum(parameter.numel() for parameter in model.parameters())
    copies = 4 + (settings.average > 0)  # weights, gradients, the optimiser's two averages, the averaged weights
    timestep = shape.layers * shape.hidden * 12 + 2 * shape.embedding + 2 * model.vocabulary
    memory = 4 * (count * copies + timestep * settings.batch * settings.window)
    return (
        f"{count:,} parameters; about {memory / 1e6:,.0f} MB for weights and activations; {steps:,} steps of "
        f"{settings.batch * settings.window * settings.accumulate:,} symbols, about {_duration(seconds)}"
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
    model, corpus, at = trainer.model, trainer.corpus, trainer.at
    check_weights(model, load_weights(trainer.folder)[0], trainer.folder)
    figures: dict[str, Any] = {
        "task": trainer.recipe.task,
        "step": at.step,
        "best_step": at.best_step,
        "seconds": round(at.seconds, 1),
        "symbols_per_second": round(at.symbols / max(at.seconds, 1e-9)),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    parts = {name: part for name, part in (("validation", corpus.valid), ("test", corpus.test)) if part is not None}
    if parts:
        trainer.progress.say(f"measuring the best weights, of step {at.best_step:,}: {' and '.join(parts)} part")
        bigram = Bigram(corpus.train)
    for name, stream in parts.items():
        heard = partial(trainer.progress.measured, name)
        found = evaluate_stream(model, stream, accuracy=True, spell=trainer.spell, progress=heard)
        figures[name] = found.as_dict() | {"bigram": bigram.figures(stream)}
    return figures
