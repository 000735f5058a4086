"""Was or were? How often each cell makes the verb agree with a subject that many words before it.

    python -m benchmarks.agreement                          # trains the four by the recipe, some minutes each
    python -m benchmarks.agreement runs/mine --picture agreement.png

The subject alone tells the verb; the nouns in between are singular or plural at random. Right is a sentence whose verb
has the higher probability in its own form; guessing is right half the time.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import unrolled
from benchmarks.measuring import table, write_json
from unrolled.data.agreement import LONGEST, PLURAL, SINGULAR, made_agreement
from unrolled.data.vocabulary import BOS
from unrolled.pictures import new_figure, plain_axes, save_figure

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "agreement.toml"
CELLS = ("rnn", "gru-simplified", "gru", "lstm")
SENTENCES = 100
"""Of each distance, each in the singular and in the plural."""
SHOWN = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60)
SEED = 2026
"""Another than that of the training sentences."""


@torch.no_grad()
def accuracy(run: Any, distance: int, sentences: int = SENTENCES) -> float:
    """The share of verbs at this distance whose own form is the more probable one."""
    draw = random.Random(SEED + distance)
    starts = [made_agreement(draw, distance) for _ in range(sentences)]
    ids = [run.vocabulary.encode(one.start(plural)) for one in starts for plural in (False, True)]
    inputs = torch.tensor([[BOS, *row] for row in ids]).t()
    logs = run.model.log_probabilities(inputs)[0][-1]
    singular, plural = (run.vocabulary.ids[word] for word in (SINGULAR, PLURAL))
    right = (logs[:, plural] > logs[:, singular]) == (torch.arange(len(ids)) % 2 == 1)
    return float(right.double().mean())


def curve(run: Any) -> list[float]:
    """The accuracy at every distance from 0 to the longest."""
    return [accuracy(run, distance) for distance in range(LONGEST + 1)]


def draw_curves(curves: dict[str, list[float]], path: Path) -> None:
    """Accuracy against distance, one line a cell."""
    figure = new_figure(8.0, 4.4)
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(range(len(values)), values, linewidth=1.8, label=name)
    axes.axhline(0.5, color="#8a8f98", linewidth=0.8, linestyle="--")
    axes.set_xlabel("words between subject and verb", fontsize=9)
    axes.set_ylabel("verbs that agree", fontsize=9)
    axes.set_ylim(0.4, 1.02)
    plain_axes(axes)
    axes.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="runs of the recipe; without any the four cells are trained")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the trained runs stay")
    parser.add_argument("--epochs", type=int, default=0, help="otherwise the recipe's")
    parser.add_argument("--picture", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    curves: dict[str, list[float]] = {}
    with TemporaryDirectory() as place:
        for one in given.runs or CELLS:
            name = str(one)
            if given.runs:
                run = unrolled.load(one)
            else:
                changes: dict[str, object] = {"model.cell": one}
                if given.epochs:
                    changes["training.epochs"] = given.epochs
                folder = (given.keep or Path(place)) / f"agreement-{one}"
                run = unrolled.train(RECIPE, changes, folder=folder, quiet=True)
            curves[name] = curve(run)
            print(name, " ".join(f"{curves[name][distance]:.1%}" for distance in SHOWN), flush=True)
    rows = [
        [name, *(f"{values[d]:.1%}" for d in SHOWN), f"{sum(values) / len(values):.1%}"]
        for name, values in curves.items()
    ]
    print("\n" + table(["words between", *map(str, SHOWN), "mean of 0 to 60"], rows))
    if given.picture:
        draw_curves(curves, given.picture)
    if given.json:
        write_json(given.json, curves)


if __name__ == "__main__":
    main()
