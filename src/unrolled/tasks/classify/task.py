"""Classification: one label a sequence. The best weights are those of the highest validation accuracy."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unrolled.cells import Cell
from unrolled.data.examples import (
    FrameScale,
    Inputs,
    Part,
    inputs_of,
    load_inputs,
    padding_text,
    part_of,
    read_files,
    save_inputs,
)
from unrolled.data.labelled import Example
from unrolled.data.labels import Labels
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.files import atomic_write_text, is_number, read_json
from unrolled.models.build import Saved, built, input_kind, settings_cell
from unrolled.models.classifier import Classifier, balanced
from unrolled.models.naive_bayes import NaiveBayes
from unrolled.tasks.classify.figures import ClassFigures, Piece
from unrolled.tasks.classify.ratios import log_count_ratios, put_ratios
from unrolled.tasks.sizes import classifier
from unrolled.tasks.task import Opened, Task, evaluating
from unrolled.tasks.transfer import open_reading

if TYPE_CHECKING:
    from unrolled.training.recipe import Recipe

CALIBRATION = "calibration.json"
TEMPERATURES = (0.01, 100.0)
"""The range of temperatures that a run folder may have; what is fitted lies well inside."""


@dataclass(frozen=True)
class ClassSymbols:
    """What sequences and labels become numbers by."""

    inputs: Inputs
    labels: Labels


ClassMaterial = Opened[Part[Any], ClassSymbols]


class ClassifyTask(Task):
    """P(y | x⟨1⟩, ..., x⟨T⟩)."""

    name = "classify"
    counted = "examples"
    smallest_sample = 300

    def open(
        self, recipe: Recipe, base: Path, symbols: ClassSymbols | None = None, *, inputs: Inputs | None = None
    ) -> ClassMaterial:
        """See `Task`; given inputs take the place of those that training would have."""
        files = read_files(recipe.data, "classify", base)
        name, examples = files.training
        if symbols is None:
            labels = Labels.of(recipe.model.predicts, [str(example.y) for example in examples], name)
            symbols = ClassSymbols(inputs or inputs_of(recipe.data, examples, base), labels)
        return ClassMaterial.of(files, symbols, partial(part_for, recipe, symbols), partial(remarks, recipe, symbols))

    def open_from(self, recipe: Recipe, base: Path, init: Path) -> tuple[Any, bool]:
        """See `Task`: a run that has other labels gives its encoder."""
        return open_reading(self, recipe, base, init)

    def save_symbols(self, symbols: ClassSymbols, folder: Path) -> None:
        """See `Task`."""
        save_inputs(symbols.inputs, folder)
        symbols.labels.save(folder)

    def load_symbols(self, folder: Path) -> ClassSymbols:
        """See `Task`."""
        return ClassSymbols(load_inputs(folder), Labels.load(folder))

    def shown_symbols(self, symbols: ClassSymbols) -> list[tuple[str, int, str]]:
        """See `Task`."""
        return [shown_inputs(symbols.inputs), shown_labels(symbols.labels)]

    def build(
        self, recipe: Recipe, symbols: ClassSymbols, cell: Cell | None = None, *, saved: Saved | None = None
    ) -> Classifier:
        """See `Task`."""
        labels = symbols.labels
        weights = balanced(torch.tensor(labels.counts)) if recipe.model.class_weights == "balanced" else None
        kind = input_kind(recipe.model, symbols.inputs)

        def make() -> Classifier:
            recurrence = settings_cell(recipe.model, cell)
            return Classifier(recipe.model, kind, len(labels.names), recurrence, weights=weights)

        return built(make, cell, lambda model: model.scores(*kind.example()), saved=saved)

    def sized(self, recipe: Recipe, material: ClassMaterial, seconds: float, cores: int) -> Recipe:
        """See `Task`."""
        symbols = material.symbols
        words = isinstance(symbols.inputs, Vocabulary) and symbols.inputs.level == "word"
        return classifier(recipe, words=words and symbols.labels.kind != "number", seconds=seconds, cores=cores)

    def start(self, recipe: Recipe, model: Classifier, material: ClassMaterial) -> None:
        """See `Task`."""
        inputs, labels = material.symbols.inputs, material.symbols.labels
        if recipe.model.embedding_start != "ratios" or isinstance(inputs, FrameScale) or labels.kind == "number":
            return
        train = material.train
        embedded: Any = model.encoder.input
        weight = getattr(embedded, "words", embedded).weight
        if recipe.model.embedding and weight is not None:
            sizes = {"vocabulary": len(inputs), "count": len(labels.names)}
            put_ratios(weight, log_count_ratios(train.inputs, train.targets, **sizes))

    def pieces(
        self, recipe: Recipe, model: Classifier, part: Part[Any], *, full: bool = False
    ) -> Generator[Piece, None, None]:
        """See `Task`."""
        with evaluating(model) as device:
            for batch in part.whole():
                here = batch.to(device)
                with torch.no_grad():
                    scores = model.scores(here.inputs, here.lengths, here.spellings)
                    nats = float(model.loss(scores, here.targets))
                    found = scores if not model.classes else model.log_probabilities(scores)
                yield Piece(nats, batch.numbers, batch.targets.numpy(), found.double().cpu().numpy())

    def figures(
        self, recipe: Recipe, symbols: ClassSymbols, part: Part[Any], pieces: Sequence[Piece], *, full: bool = False
    ) -> ClassFigures:
        """See `Task`."""
        order = np.argsort(np.concatenate([piece.numbers for piece in pieces]))
        truth = np.concatenate([piece.targets for piece in pieces])[order]
        if symbols.labels.kind == "number":
            truth = truth * symbols.labels.deviation + symbols.labels.mean
        scores = np.concatenate([piece.scores for piece in pieces])[order]
        return ClassFigures(symbols.labels, sum(piece.nats for piece in pieces), truth, scores)

    def baselines(
        self, recipe: Recipe, material: ClassMaterial, *, seconds: float = math.inf
    ) -> Callable[[Part[Any]], Mapping[str, Any]]:
        """See `Task`: the most frequent class, and naive Bayes over n-grams; of numbers the mean."""
        labels, train = material.symbols.labels, material.train
        if labels.kind == "number":
            return lambda part: {"mean": {"mean_absolute_error": float(np.abs(part.targets).mean() * labels.deviation)}}
        most = int(np.argmax(labels.counts))
        bayes: NaiveBayes | None = None
        if not isinstance(material.symbols.inputs, FrameScale):
            order = 2 if recipe.data.level == "word" else 3
            bayes = NaiveBayes(order).fit((row.tolist() for row in train.inputs), train.targets)

        def beside(part: Part[Any]) -> Mapping[str, Any]:
            truth = np.array(part.targets)
            found = {"majority": {"accuracy": float((truth == most).mean())}}
            if bayes is not None:
                guesses = np.array([bayes.predict(row.tolist()) for row in part.inputs])
                found[f"naive Bayes, 1- to {bayes.order}-grams"] = {"accuracy": float((guesses == truth).mean())}
            return {"baselines": found}

        return beside

    def conclude(self, recipe: Recipe, model: Classifier, material: ClassMaterial, folder: Path) -> None:
        """Find the temperature that makes the probabilities of the validation part most likely (Guo et al. 2017)."""
        if material.valid is None or not model.classes:
            return
        pieces = list(self.pieces(recipe, model, material.valid))
        scores = torch.from_numpy(np.concatenate([piece.scores for piece in pieces]))
        targets = torch.from_numpy(np.concatenate([piece.targets for piece in pieces]))
        model.temperature = fitted_temperature(scores, targets)
        atomic_write_text(folder / CALIBRATION, json.dumps({"temperature": model.temperature}) + "\n")

    def restore(self, model: Classifier, folder: Path) -> None:
        """Put back what `conclude` found."""
        if os.path.lexists(folder / CALIBRATION):
            written = read_json(folder / CALIBRATION).get("temperature")
            if not is_number(written, *TEMPERATURES):
                low, high = TEMPERATURES
                raise UserError(
                    f'{folder / CALIBRATION} is not whole: "temperature" must be a number from {low:g} to {high:g}; '
                    "copy the run folder again"
                )
            model.temperature = float(written)

    def unit(self, recipe: Recipe) -> str:
        """See `Task`."""
        return ""

    def timesteps(self, recipe: Recipe, material: ClassMaterial) -> int:
        """See `Task`."""
        return int(material.train.lengths.mean() * min(recipe.training.batch, len(material.train)))

    def outputs(self, model: Classifier) -> int:
        """See `Task`."""
        return max(1, model.classes)

    def conclusion_passes(self, symbols: ClassSymbols) -> int:
        """See `Task`."""
        return 1

    def selects_by_loss(self) -> bool:
        """See `Task`: networks that are sure of themselves may lose likelihood while they still gain accuracy."""
        return False


def part_for(recipe: Recipe, symbols: ClassSymbols, name: str, examples: Sequence[Example]) -> Part[Any]:
    """Examples as numbers.

    Raises:
        UserError: a label is missing, or none of the training part's.
    """

    def target(example: Example) -> int | float:
        return symbols.labels.target(str(example.y), f"{name}, line {example.line}")

    return part_of(name, examples, symbols.inputs, target, spell=recipe.model.characters > 0)


def fitted_temperature(scores: torch.Tensor, targets: torch.Tensor) -> float:
    """The t > 0 that minimises the cross entropy of scores / t."""
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(scores / log_t.exp(), targets)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return float(log_t.detach().clamp(-3, 3).exp())


def remarks(recipe: Recipe, symbols: ClassSymbols, train: Part[Any]) -> list[str]:
    """What else is worth saying of the data."""
    found = []
    if rare := symbols.labels.rare():
        found.append(f"warning: one training example only: {', '.join(rare[:10])}{', ...' * (len(rare) > 10)}")
    return [*found, padding_text(train.lengths, recipe.training.batch, recipe.training.seed)]


def shown_inputs(inputs: Inputs) -> tuple[str, int, str]:
    """The vocabulary or the frames, for a table."""
    if isinstance(inputs, FrameScale):
        return "frames", len(inputs.mean), "numbers a timestep, standardised on the training part"
    shown = [inputs.symbol(id) for id in range(4, min(len(inputs), 24))]
    return "vocabulary", len(inputs), f"most frequent first: {' '.join(shown)}{' ...' * (len(inputs) > 24)}"


def shown_labels(labels: Labels) -> tuple[str, int, str]:
    """The classes, for a table."""
    if labels.kind == "number":
        return "number", 1, f"mean {labels.mean:.3g}, deviation {labels.deviation:.3g}"
    pairs = [f"{name} ({count:,})" for name, count in zip(labels.names, labels.counts, strict=True)]
    return "classes", len(pairs), ", ".join(pairs[:20]) + ", ..." * (len(pairs) > 20)


TASK = ClassifyTask()
