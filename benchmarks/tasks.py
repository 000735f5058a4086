"""How many symbols a second does each recipe train on, with our layers and with torch.nn's in the same model?

    python -m benchmarks.tasks
    python -m benchmarks.tasks recipes/ewt.toml recipes/tatoeba.toml --steps 11 --json tasks.json

A model is built twice from a recipe, once with `model.engine = "compiled"` and once with "vendor", which are torch.nn's
own kernels; both see the same batches and take steps by turns (loss, gradient, AdamW), and the median step counts.
Where torch.nn lacks the cell (the simplified and the full GRU, peepholes) its nearest stands in, and the line says so.
Dropout inside the recurrence, which torch.nn does not have, is left out of both. A symbol is a target that the loss
counts, or for a classifier a timestep that is read.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import PAUSE, Neighbours, machine, table, write_json
from unrolled.errors import UserError
from unrolled.tasks import task_of
from unrolled.training.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[1]
NEAREST = {"gru": "gru-torch", "gru-simplified": "gru-torch", "lstm-peephole": "lstm", "lstm-peephole-previous": "lstm"}
"""What torch.nn has in the place of a cell."""
NOT_TORCH = {"recurrent_dropout": 0.0, "weight_drop": 0.0, "zoneout": 0.0, "input_dropout": 0.0}
Record = dict[str, Any]


class Trainee:
    """One of the two models in training."""

    def __init__(self, recipe: Recipe, symbols: Any) -> None:
        torch.manual_seed(recipe.training.seed)
        self.model = task_of(recipe.task).build(recipe, symbols).train()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.state: Any = None
        self.seconds: list[float] = []

    def step(self, batch: Any) -> None:
        """One batch, timed."""
        if torch.get_num_threads() > 1:
            time.sleep(PAUSE)
        state = None if batch.fresh else self.state
        start = time.perf_counter()
        self.optimiser.zero_grad()
        loss = self.model(*batch.arguments(state))
        (loss.total / batch.counted).backward()
        self.optimiser.step()
        self.seconds.append(time.perf_counter() - start)
        self.state = _detached(loss.state)


def _detached(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(map(_detached, state))
    return state.detach() if isinstance(state, torch.Tensor) else None


def both(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe for our engine and for torch.nn's."""
    model = replace(recipe.model, **NOT_TORCH)  # type: ignore[arg-type]  # all of them are rates
    cell = NEAREST.get(model.cell, model.cell)
    return {
        "compiled": replace(recipe, model=replace(model, engine="compiled")),
        "torch.nn": replace(recipe, model=replace(model, engine="vendor", cell=cell)),
    }


def measured(path: Path, steps: int, warm_up: int) -> Record:
    """One recipe's symbols a second, by engine."""
    recipe = load_recipe(path)
    if recipe.model.cell == "rnn" and recipe.model.nonlinearity not in ("tanh", "relu"):
        raise UserError("torch.nn has no such activation")
    task = task_of(recipe.task)
    material = task.open(recipe, path.parent)
    pairs = {name: Trainee(own, material.symbols) for name, own in both(recipe).items()}
    counts: list[int] = []
    epoch, batches = 0, iter(())
    with Neighbours() as others:
        while len(counts) < warm_up + steps:
            batch = next(batches, None)
            if batch is None:
                batches = task.batches(recipe, material).epoch(epoch)
                epoch += 1
                continue
            counts.append(symbols_of(recipe, batch))
            for name in pairs if len(counts) % 2 else reversed(pairs):
                pairs[name].step(batch)
    # by the step: batches differ in size, so a rate is made of each before the median
    rates = {
        name: statistics.median(n / s for n, s in zip(counts[warm_up:], one.seconds[warm_up:], strict=True))
        for name, one in pairs.items()
    }
    cells = {name: own.model.cell for name, own in both(recipe).items()}
    return {
        "recipe": path.stem, "task": recipe.task, "cells": cells, "symbols a second": rates,
        "ratio": rates["compiled"] / rates["torch.nn"], "others' cores": others.cores,
    }  # fmt: skip


def symbols_of(recipe: Recipe, batch: Any) -> int:
    """What a batch is counted by."""
    return int(batch.lengths.sum()) if recipe.task == "classify" else int(batch.counted)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path, nargs="*", help="otherwise all of recipes/")
    parser.add_argument("--steps", type=int, default=11, help="steps of each that count, after those that warm up")
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser.parse_args()


def main() -> None:
    """Measure each recipe and print a line for it as soon as it is there."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    records, rows = list[Record](), list[list[str]]()
    for path in arguments.recipes or sorted((ROOT / "recipes").glob("*.toml")):
        try:
            record = measured(path, arguments.steps, arguments.warm_up)
        except UserError as error:
            print(f"{path.stem}: left out: {error}", flush=True)
            continue
        records.append(record)
        rates, cells = record["symbols a second"], record["cells"]
        stand_in = "" if cells["compiled"] == cells["torch.nn"] else f"torch.nn: {cells['torch.nn']}"
        rows.append(
            [
                record["recipe"], record["task"], cells["compiled"], *(f"{rate:,.0f}" for rate in rates.values()),
                f"{record['ratio']:.2f}", stand_in,
            ]
        )  # fmt: skip
        print(f"{record['recipe']}: {record['ratio']:.2f}", flush=True)
    about = machine()
    print(f"\n{about['processor']}, {arguments.threads} thread(s), torch {torch.__version__}")
    print(table(["recipe", "task", "cell", "ours", "torch.nn", "ours / torch.nn", ""], rows))
    if arguments.json:
        write_json(arguments.json, {"machine": about, "records": records})


if __name__ == "__main__":
    main()
