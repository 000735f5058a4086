"""Tagging: a label for each step. The best weights are those of the highest validation accuracy or span F1."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unrolled.cells import Cell
from unrolled.data.examples import (
    ExampleBatch,
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
from unrolled.data.tag_labels import TagLabels
from unrolled.data.tag_schemes import spans_of, transitions
from unrolled.errors import UserError
from unrolled.files import atomic_write_text, is_number, read_json
from unrolled.models.build import Saved, built, input_kind, settings_cell
from unrolled.models.tagger import Tagger, Transitions
from unrolled.tasks.classify.task import shown_inputs
from unrolled.tasks.sizes import fitted, tagger
from unrolled.tasks.tag.figures import Known, Piece, TagFigures, whole_spans
from unrolled.tasks.task import Opened, Task, evaluating
from unrolled.tasks.transfer import open_reading

if TYPE_CHECKING:
    from unrolled.training.recipe import Recipe


DECISION = "decision.json"
HANDICAPS = tuple(step / 4 for step in range(21))
"""Nats, of which the validation part chooses one."""


@dataclass(frozen=True)
class TagSymbols:
    """What sequences and labels become numbers by; `known` are the words, or the spans' texts, of the training part."""

    inputs: Inputs
    labels: TagLabels
    known: Known = frozenset()


TagMaterial = Opened[Part[Any], TagSymbols]


class TagTask(Task):
    """P(y⟨1⟩, ..., y⟨T⟩ | x⟨1⟩, ..., x⟨T⟩)."""

    name = "tag"
    counted = "timesteps"

    def open(
        self, recipe: Recipe, base: Path, symbols: TagSymbols | None = None, *, inputs: Inputs | None = None
    ) -> TagMaterial:
        """See `Task`; given inputs take the place of those that training would have."""
        files = read_files(recipe.data, "tag", base)
        name, examples = files.training
        if symbols is None:
            rows = [example.rows for example in examples]
            labels = TagLabels.of([labels_of(example) for example in examples], name, recipe.data.scheme, rows)
            symbols = TagSymbols(inputs or inputs_of(recipe.data, examples, base), labels)
        symbols = replace(symbols, known=known_of(examples, symbols.labels))
        spans = _spans_line(symbols.labels)
        return TagMaterial.of(
            files, symbols, partial(part_for, recipe, symbols),
            lambda part: [spans, padding_text(part.lengths, recipe.training.batch, recipe.training.seed)],
        )  # fmt: skip

    def open_from(self, recipe: Recipe, base: Path, init: Path) -> tuple[Any, bool]:
        """See `Task`: a run that has other labels gives its encoder."""
        return open_reading(self, recipe, base, init)

    def save_symbols(self, symbols: TagSymbols, folder: Path) -> None:
        """See `Task`."""
        save_inputs(symbols.inputs, folder)
        symbols.labels.save(folder)

    def load_symbols(self, folder: Path) -> TagSymbols:
        """See `Task`."""
        return TagSymbols(load_inputs(folder), TagLabels.load(folder))

    def shown_symbols(self, symbols: TagSymbols) -> list[tuple[str, int, str]]:
        """See `Task`."""
        names = symbols.labels.names
        shown = ", ".join(names[:20]) + ", ..." * (len(names) > 20)
        return [shown_inputs(symbols.inputs), ("labels", len(names), shown)]

    def build(
        self, recipe: Recipe, symbols: TagSymbols, cell: Cell | None = None, *, saved: Saved | None = None
    ) -> Tagger:
        """See `Task`."""
        labels, kind = symbols.labels, input_kind(recipe.model, symbols.inputs)
        outside = labels.ids.get("O") if labels.scheme else None

        def outline(allowed: Transitions | None = None) -> Tagger:
            recurrence = settings_cell(recipe.model, cell)
            return Tagger(recipe.model, kind, len(labels.names), recurrence, transitions=allowed, outside=outside)

        def make() -> Tagger:
            return outline(transitions(labels.names, labels.scheme) if labels.scheme else None)

        return built(make, cell, lambda model: model.scores(*kind.example()), saved=saved, outline=outline)

    def settled(self, recipe: Recipe, material: TagMaterial) -> Recipe:
        """See `Task`: frames have no characters."""
        frames = isinstance(material.symbols.inputs, FrameScale)
        return fitted(recipe, {"model.characters": 0}) if frames else recipe

    def sized(self, recipe: Recipe, material: TagMaterial, seconds: float, cores: int) -> Recipe:
        """See `Task`."""
        return tagger(recipe, sentences=len(material.train.examples), seconds=seconds, cores=cores)

    def pieces(
        self, recipe: Recipe, model: Tagger, part: Part[Any], *, full: bool = False
    ) -> Generator[Piece, None, None]:
        """See `Task`."""
        with evaluating(model) as device:
            for batch in part.whole():
                here = batch.to(device)
                with torch.no_grad():
                    scores = model.scores(here.inputs, here.lengths, here.spellings)
                    nats = float(model.loss(scores, here.targets, here.lengths))
                    guesses, truth = _guesses(model, scores, here)
                yield Piece(nats, batch.counted, batch.numbers, guesses, truth)

    def figures(
        self, recipe: Recipe, symbols: TagSymbols, part: Part[Any], pieces: Sequence[Piece], *, full: bool = False
    ) -> TagFigures:
        """See `Task`."""
        count, labels = len(part.examples), symbols.labels
        truth: list[list[str]] = [[]] * count
        guesses: list[list[str]] = [[]] * count
        for piece in pieces:
            for number, true, guess in zip(piece.numbers.tolist(), piece.truth, piece.guesses, strict=True):
                truth[number] = labels.answer(true.tolist())
                guesses[number] = whole_spans(labels, guess.tolist())
        named = not isinstance(part.examples[0].x, np.ndarray)
        tokens = [tuple(example.x) for example in part.examples] if named else None
        return TagFigures(labels, sum(piece.nats for piece in pieces), truth, guesses, tokens, symbols.known)

    def baselines(
        self, recipe: Recipe, material: TagMaterial, *, seconds: float = math.inf
    ) -> Callable[[Part[Any]], Mapping[str, Any]]:
        """See `Task`: the most frequent label of each word (of one that training never saw, of all)."""
        symbols = material.symbols
        if isinstance(material.train.examples[0].x, np.ndarray):
            return lambda part: {}
        each: dict[str, Counter[str]] = {}
        for example in material.train.examples:
            for word, label in zip(example.x, symbols.labels.canonical(labels_of(example)), strict=True):
                each.setdefault(word.lower(), Counter())[label] += 1
        most = _most(each)
        best = {word: min(found, key=lambda label: (-found[label], label)) for word, found in each.items()}

        def beside(part: Part[Any]) -> Mapping[str, Any]:
            truth = [symbols.labels.canonical(labels_of(example)) for example in part.examples]
            guesses = [[best.get(word.lower(), most) for word in example.x] for example in part.examples]
            found = TagFigures(symbols.labels, 0.0, truth, guesses, None, frozenset())
            figure = {"f1": found.spans().f1} if symbols.labels.scheme else {"accuracy": found.accuracy}
            return {"baselines": {"most frequent label of the word": figure}}

        return beside

    def conclude(self, recipe: Recipe, model: Tagger, material: TagMaterial, folder: Path) -> None:
        """Where labels are spans: find the handicap of "in no span" that gives the validation part the highest F1."""
        part, symbols = material.valid, material.symbols
        if part is None or model.outside is None:
            return
        model.eval()
        device = next(model.parameters()).device
        with torch.no_grad():
            batches = [batch.to(device) for batch in part.whole()]
            scores = [model.scores(batch.inputs, batch.lengths, batch.spellings) for batch in batches]
        f1 = {}
        for handicap in HANDICAPS:
            model.handicap = handicap
            guessed = [_guesses(model, one, batch) for one, batch in zip(scores, batches, strict=True)]
            pieces = [Piece(0.0, b.counted, b.numbers, *own) for b, own in zip(batches, guessed, strict=True)]
            f1[handicap] = self.figures(recipe, symbols, part, pieces).spans().f1
        model.handicap = max(f1, key=lambda handicap: (f1[handicap], -handicap))
        atomic_write_text(folder / DECISION, json.dumps({"handicap": model.handicap}) + "\n")

    def restore(self, model: Tagger, folder: Path) -> None:
        """Put back what `conclude` found."""
        if os.path.lexists(folder / DECISION):
            written = read_json(folder / DECISION).get("handicap")
            if not is_number(written, 0, 1e6):
                raise UserError(
                    f'{folder / DECISION} is not whole: "handicap" must be a number, 0 or more; '
                    "copy the run folder again"
                )
            model.handicap = float(written)

    def unit(self, recipe: Recipe) -> str:
        """See `Task`."""
        return ""

    def timesteps(self, recipe: Recipe, material: TagMaterial) -> int:
        """See `Task`."""
        return int(material.train.lengths.mean() * min(recipe.training.batch, len(material.train.examples)))

    def outputs(self, model: Tagger) -> int:
        """See `Task`."""
        return model.labels

    def conclusion_passes(self, symbols: TagSymbols) -> int:
        """See `Task`."""
        return len(HANDICAPS) if symbols.labels.scheme else 0

    def selects_by_loss(self) -> bool:
        """See `Task`."""
        return False


def _guesses(model: Tagger, scores: torch.Tensor, batch: ExampleBatch) -> tuple[list[Any], list[Any]]:
    """The best labels of each sequence, and the true ones."""
    best, truth = model.best(scores, batch.lengths).cpu().numpy(), batch.targets.cpu().numpy()
    lengths = batch.lengths.tolist()
    return (
        [best[:length, row] for row, length in enumerate(lengths)],
        [truth[:length, row] for row, length in enumerate(lengths)],
    )


def labels_of(example: Example) -> tuple[str, ...]:
    """An example's labels, one a step."""
    if not isinstance(example.y, tuple):
        raise AssertionError("a tagged example has a label for each step")
    return example.y


def part_for(recipe: Recipe, symbols: TagSymbols, name: str, examples: Sequence[Example]) -> Part[Any]:
    """Examples as numbers.

    Raises:
        UserError: a label that the training part has not, or spans that break their scheme.
    """

    def target(example: Example) -> Any:
        place = name if example.rows else f"{name}, sequence at line {example.line}"
        return symbols.labels.targets(labels_of(example), place, example.rows)

    spell = recipe.model.characters > 0 and not isinstance(symbols.inputs, FrameScale)
    return part_of(name, examples, symbols.inputs, target, spell=spell)


def known_of(examples: Sequence[Example], labels: TagLabels) -> Known:
    """The words of some examples, or where labels are spans the (text, type) of each."""
    if isinstance(examples[0].x, np.ndarray):
        return frozenset()
    if not labels.scheme:
        return frozenset(word for example in examples for word in example.x)
    return frozenset(
        (" ".join(example.x[span.first : span.last]), span.type)
        for example in examples
        for span in spans_of(labels.canonical(labels_of(example)), labels.written)
    )


def _most(each: Mapping[str, Counter[str]]) -> str:
    total: Counter[str] = Counter()
    for found in each.values():
        total.update(found)
    return total.most_common(1)[0][0]


def _spans_line(labels: TagLabels) -> str:
    if not labels.scheme:
        return f"{len(labels.names)} labels"
    learned = "" if labels.scheme == labels.written else f", learned as {labels.scheme}"
    types = sorted({name.partition("-")[2] for name in labels.names if "-" in name})
    spelled = f" (written {labels.shown_spelling})" if labels.spelling else ""
    return f"spans in {labels.written}{spelled}{learned}: {', '.join(types)}"


TASK = TagTask()
