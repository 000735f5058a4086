"""Generation: from nothing, or from a class, a sequence. The best weights are those of the lowest loss."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.cells import Cell
from unrolled.data.batches import Ids, MixedBatches, in_order, padded, spread
from unrolled.data.examples import padding_text, read_files, vocabulary_of
from unrolled.data.labelled import Example
from unrolled.data.labels import LABELS, Labels
from unrolled.data.pairs import AT_ONCE, ended, shifted
from unrolled.data.vocabulary import BOS, EOS, Vocabulary
from unrolled.errors import UserError
from unrolled.models.build import Saved, built, settings_cell
from unrolled.models.generator import Generator as GeneratorModel
from unrolled.models.naive_bayes import NaiveBayes
from unrolled.models.ngram import Text, best_ngram
from unrolled.tasks.classify.task import shown_inputs, shown_labels
from unrolled.tasks.generate.figures import GenerationFigures, Piece
from unrolled.tasks.sizes import symbol_model
from unrolled.tasks.task import Opened, Task, evaluating

if TYPE_CHECKING:
    from unrolled.training.recipe import Recipe

VOCABULARY = "vocabulary.json"


@dataclass(frozen=True)
class GenerateSymbols:
    """What sequences are made of; and their classes, or None."""

    vocabulary: Vocabulary
    labels: Labels | None

    @cached_property
    def priors(self) -> NDArray[np.float64]:
        """(classes,) log P(class): the training part's shares."""
        counts = np.array(self.labels.counts if self.labels else (), dtype=np.float64)
        shares: NDArray[np.float64] = np.log(counts / max(1.0, counts.sum()))
        return shares


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences side by side: `inputs` and `targets` (T, B), 0 past the end; `labels` (B,) or None."""

    inputs: Tensor
    targets: Tensor
    labels: Tensor | None
    fresh: bool = True

    @property
    def counted(self) -> int:
        """How many symbols are predicted, <eos> counted."""
        return int((self.targets != 0).sum())

    def to(self, device: torch.device) -> SequenceBatch:
        """The same on a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device), labels=labels)

    def arguments(self, state: object) -> tuple[Any, ...]:
        """What a generator takes: it has no state to go on with."""
        return self.inputs, self.targets, self.labels


@dataclass(frozen=True)
class SequencePart:
    """Sequences as numbers: `targets` are the ids of each with <eos>, `labels` its class or nothing."""

    name: str
    examples: tuple[Example, ...]
    targets: list[NDArray[np.int64]]
    labels: NDArray[np.int64] | None

    @cached_property
    def lengths(self) -> Ids:
        """(N,) timesteps of each."""
        return np.array(list(map(len, self.targets)), dtype=np.int64)

    def __len__(self) -> int:
        return int(self.lengths.sum())

    @property
    def characters(self) -> int:
        """Characters of all texts."""
        return sum(len(str(example.x)) for example in self.examples)

    def batch(self, numbers: Ids) -> SequenceBatch:
        """Some of them side by side."""
        targets = torch.from_numpy(padded([self.targets[number] for number in numbers.tolist()]))
        labels = None if self.labels is None else torch.from_numpy(self.labels[numbers])
        return SequenceBatch(shifted(targets), targets, labels)

    def sample(self, share: float) -> SequencePart:
        """A share of the sequences, evenly spread."""
        rows = spread(len(self.examples), share)
        return SequencePart(
            self.name, tuple(self.examples[row] for row in rows.tolist()), [self.targets[row] for row in rows.tolist()],
            None if self.labels is None else self.labels[rows],
        )  # fmt: skip

    def batches(self, *, batch: int, seed: int, rank: int = 0, world: int = 1) -> MixedBatches[SequenceBatch]:
        """What to train on."""
        return MixedBatches(self.lengths, self.batch, batch=batch, seed=seed, rank=rank, world=world)

    def whole(self, batch: int = 64) -> Iterator[SequenceBatch]:
        """Each once, for measuring."""
        for numbers in in_order(self.lengths, batch, AT_ONCE):
            yield self.batch(numbers)


GenerateMaterial = Opened[SequencePart, GenerateSymbols]


class GenerateTask(Task):
    """P(y⟨1⟩, ..., y⟨T⟩ | class)."""

    name = "generate"
    counted = "symbols"

    def open(self, recipe: Recipe, base: Path, symbols: GenerateSymbols | None = None) -> GenerateMaterial:
        """See `Task`."""
        files = read_files(recipe.data, "generate", base)
        name, examples = files.training
        if symbols is None:
            vocabulary = vocabulary_of(recipe.data, [example.x for example in examples])
            symbols = GenerateSymbols(vocabulary, _labels(name, examples))
        return GenerateMaterial.of(
            files,
            symbols,
            partial(part_for, symbols),
            lambda part: [padding_text(part.lengths, recipe.training.batch, recipe.training.seed)],
        )

    def save_symbols(self, symbols: GenerateSymbols, folder: Path) -> None:
        """See `Task`."""
        symbols.vocabulary.save(folder / VOCABULARY)
        if symbols.labels is not None:
            symbols.labels.save(folder)

    def load_symbols(self, folder: Path) -> GenerateSymbols:
        """See `Task`."""
        labels = Labels.load(folder) if os.path.lexists(folder / LABELS) else None
        return GenerateSymbols(Vocabulary.load(folder / VOCABULARY), labels)

    def shown_symbols(self, symbols: GenerateSymbols) -> list[tuple[str, int, str]]:
        """See `Task`."""
        shown = [shown_inputs(symbols.vocabulary)]
        return shown if symbols.labels is None else [*shown, shown_labels(symbols.labels)]

    def build(
        self, recipe: Recipe, symbols: GenerateSymbols, cell: Cell | None = None, *, saved: Saved | None = None
    ) -> GeneratorModel:
        """See `Task`."""
        classes = 0 if symbols.labels is None else len(symbols.labels.names)

        def make() -> GeneratorModel:
            recurrence = settings_cell(recipe.model, cell)
            if recurrence is None:
                raise UserError('model.cell = "none": a generator without recurrence remembers nothing; give it a cell')
            return GeneratorModel(recipe.model, len(symbols.vocabulary), classes, recurrence)

        label = torch.zeros(1, dtype=torch.int64) if classes else None
        return built(
            make, cell, lambda model: model(torch.full((1, 1), BOS), torch.full((1, 1), EOS), label), saved=saved
        )

    def sized(self, recipe: Recipe, material: GenerateMaterial, seconds: float, cores: int) -> Recipe:
        """See `Task`."""
        symbols, vocabulary = len(material.train), len(material.symbols.vocabulary)
        return symbol_model(recipe, symbols=symbols, vocabulary=vocabulary, seconds=seconds, cores=cores)

    def pieces(
        self, recipe: Recipe, model: GeneratorModel, part: SequencePart, *, full: bool = False
    ) -> Generator[Piece, None, None]:
        """See `Task`."""
        with evaluating(model) as device:
            for batch in part.whole():
                here = batch.to(device)
                with torch.no_grad():
                    nats = float(model(*here.arguments(None)).total)
                    found = likelihoods(model, here) if full and model.classes else None
                truth = np.zeros(0, dtype=np.int64) if batch.labels is None else batch.labels.numpy()
                yield Piece(nats, batch.counted, truth, found)

    def figures(
        self, recipe: Recipe, symbols: GenerateSymbols, part: SequencePart, pieces: Sequence[Piece], *,
        full: bool = False,
    ) -> GenerationFigures:  # fmt: skip
        """See `Task`."""
        nats, counted = sum(piece.nats for piece in pieces), sum(piece.counted for piece in pieces)
        joint = [one.likelihoods + symbols.priors for one in pieces if one.likelihoods is not None]
        found = GenerationFigures(nats, counted, part.characters, len(part.examples))
        if not joint:
            return found
        truth = np.concatenate([piece.truth for piece in pieces])
        return replace(found, truth=truth, guesses=np.concatenate(joint).argmax(axis=1))

    def baselines(
        self, recipe: Recipe, material: GenerateMaterial, *, seconds: float = math.inf
    ) -> Callable[[SequencePart], Mapping[str, Any]]:
        """See `Task`: the n-gram of the best order; and for the classes the most frequent one, and naive Bayes."""
        train, labels = material.train, material.symbols.labels
        held_out = None if material.valid is None else _text(material.valid)
        ngram = best_ngram(_text(train), held_out, len(material.symbols.vocabulary), seconds=seconds)
        bayes: NaiveBayes | None = None
        if labels is not None and train.labels is not None:
            order = 2 if recipe.data.level == "word" else 3
            bayes = NaiveBayes(order).fit((row[:-1].tolist() for row in train.targets), train.labels.tolist())

        def beside(part: SequencePart) -> Mapping[str, Any]:
            text = _text(part)
            nats = ngram.nats_of_blocks(text.read, text.length, text.offsets)
            figures = {"order": ngram.order, "nats_per_symbol": nats, "perplexity": float(np.exp(nats))}
            found: dict[str, Any] = {"ngram": figures}
            if labels is None or bayes is None or part.labels is None:
                return found
            most = int(np.argmax(labels.counts))
            guesses = np.array([bayes.predict(row[:-1].tolist()) for row in part.targets])
            found["baselines"] = {
                "majority": {"accuracy": float((part.labels == most).mean())},
                f"naive Bayes, 1- to {bayes.order}-grams": {"accuracy": float((guesses == part.labels).mean())},
            }
            return found

        return beside

    def unit(self, recipe: Recipe) -> str:
        """See `Task`."""
        return {"character": "bits per symbol", "byte": "bits per byte"}.get(recipe.data.level, "perplexity")

    def timesteps(self, recipe: Recipe, material: GenerateMaterial) -> int:
        """See `Task`."""
        return int(material.train.lengths.mean() * min(recipe.training.batch, len(material.train.targets)))

    def outputs(self, model: GeneratorModel) -> int:
        """See `Task`."""
        return model.vocabulary


def likelihoods(model: GeneratorModel, batch: SequenceBatch) -> NDArray[np.float64]:
    """(B, classes) log P(sequence | class) under every class."""
    found: NDArray[np.float64] = likelihoods_by_step(model, batch).sum(axis=0)
    return found


@torch.no_grad()
def likelihoods_by_step(model: GeneratorModel, batch: SequenceBatch) -> NDArray[np.float64]:
    """(T, B, classes) log P(y⟨t⟩ | class, y⟨1⟩, ..., y⟨t-1⟩) under every class, 0 past the end."""
    found = []
    for label in range(model.classes):
        labels = torch.full((batch.targets.shape[1],), label, device=batch.targets.device)
        found.append(model.target_log_probabilities(batch.inputs, batch.targets, labels).double().cpu().numpy())
    return np.stack(found, axis=-1)


def part_for(symbols: GenerateSymbols, name: str, examples: Sequence[Example]) -> SequencePart:
    """Sequences as numbers.

    Raises:
        UserError: a label is missing, or none of the training part's.
    """
    targets = [ended(symbols.vocabulary, example.x) for example in examples]
    return SequencePart(name, tuple(examples), targets, _label_ids(symbols.labels, name, examples))


def _label_ids(labels: Labels | None, name: str, examples: Sequence[Example]) -> NDArray[np.int64] | None:
    if labels is None or (examples and all(example.y is None for example in examples)):
        return None
    _check_labelled(name, examples)
    ids = [int(labels.target(str(example.y), f"{name}, line {example.line}")) for example in examples]
    return np.array(ids, dtype=np.int64)


def _labels(name: str, examples: Sequence[Example]) -> Labels | None:
    """The classes, or None where no example has one.

    Raises:
        UserError: only some have.
    """
    if all(example.y is None for example in examples):
        return None
    _check_labelled(name, examples)
    return Labels.of("class", [str(example.y) for example in examples], name)


def _check_labelled(name: str, examples: Sequence[Example]) -> None:
    for example in examples:
        if example.y is None:
            raise UserError(f"{name}, line {example.line}: no class, and other lines have one; give all or none")


def _text(part: SequencePart) -> Text:
    """All sequences one after the other, and where each begins, with the end of the last."""
    symbols = np.concatenate(part.targets)
    offsets = np.concatenate([[0], np.cumsum(part.lengths)])
    return Text(lambda start, stop: symbols[start:stop], len(symbols), offsets)


TASK = GenerateTask()
