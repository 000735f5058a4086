"""Translation: one sequence becomes another, of its own length. The best weights are those of the lowest loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unrolled.cells import Cell
from unrolled.data.examples import padding_text, read_files, vocabulary_of
from unrolled.data.labelled import Example
from unrolled.data.pairs import PairPart, batch_of_one, pairs_of
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.models.build import Saved, built, input_kind, settings_cell
from unrolled.models.translator import Translator
from unrolled.tasks.task import Opened, Task, evaluating
from unrolled.tasks.translate.answers import answers, beam_of, references
from unrolled.tasks.translate.figures import Answered, Piece, TranslationFigures, quality
from unrolled.tasks.translate.memory import TranslationMemory

if TYPE_CHECKING:
    from unrolled.training.recipe import Recipe

SOURCE, TARGET = "vocabulary.json", "target.json"


@dataclass(frozen=True)
class PairSymbols:
    """The symbols of both sides."""

    source: Vocabulary
    target: Vocabulary


PairMaterial = Opened[PairPart, PairSymbols]


class TranslateTask(Task):
    """P(y⟨1⟩, ..., y⟨T_y⟩ | x⟨1⟩, ..., x⟨T_x⟩)."""

    name = "translate"
    counted = "symbols"

    def open(self, recipe: Recipe, base: Path, symbols: PairSymbols | None = None) -> PairMaterial:
        """See `Task`."""
        files = read_files(recipe.data, "translate", base)
        _, examples = files.training
        if symbols is None:
            symbols = PairSymbols(
                vocabulary_of(recipe.data, [example.x for example in examples]),
                vocabulary_of(recipe.data, [example.y for example in examples]),
            )
        return PairMaterial.of(
            files,
            symbols,
            partial(part_for, recipe, symbols),
            lambda part: [padding_text(part.lengths, recipe.training.batch, recipe.training.seed)],
        )

    def save_symbols(self, symbols: PairSymbols, folder: Path) -> None:
        """See `Task`."""
        symbols.source.save(folder / SOURCE)
        symbols.target.save(folder / TARGET)

    def load_symbols(self, folder: Path) -> PairSymbols:
        """See `Task`."""
        return PairSymbols(Vocabulary.load(folder / SOURCE), Vocabulary.load(folder / TARGET))

    def shown_symbols(self, symbols: PairSymbols) -> list[tuple[str, int, str]]:
        """See `Task`."""
        return [_shown("source", symbols.source), _shown("target", symbols.target)]

    def build(
        self, recipe: Recipe, symbols: PairSymbols, cell: Cell | None = None, *, saved: Saved | None = None
    ) -> Translator:
        """See `Task`."""
        kind = input_kind(recipe.model, symbols.source)

        def make() -> Translator:
            recurrence = settings_cell(recipe.model, cell)
            if recurrence is None:
                raise UserError('model.cell = "none": a translator without recurrence has no order; give it a cell')
            return Translator(recipe.model, kind, len(symbols.target), recurrence)

        return built(
            make, cell, lambda model: model(*batch_of_one(spell=kind.alphabet > 0).arguments(None)), saved=saved
        )

    def pieces(
        self, recipe: Recipe, model: Translator, part: PairPart, *, full: bool = False
    ) -> Generator[Piece, None, None]:
        """See `Task`."""
        first = {number for number, _ in references(part, part.target).values()} if full else set()
        vocabulary, beam = part.target, beam_of(recipe.decoding)
        with evaluating(model) as device:
            for batch in part.whole():
                here = batch.to(device)
                with torch.no_grad():
                    nats = float(model(*here.arguments(None)).total)
                found: dict[int, str] = {}
                new = [row for row, number in enumerate(batch.numbers.tolist()) if number in first]
                if new:
                    own = part.batch(batch.numbers[new]).to(device)
                    for number, best in zip(
                        own.numbers.tolist(), answers(model, own.source, own.lengths, own.spellings, beam), strict=True
                    ):
                        found[number] = vocabulary.decode(best[0].symbols)
                yield Piece(nats, batch.counted, found)

    def figures(
        self, recipe: Recipe, symbols: PairSymbols, part: PairPart, pieces: Sequence[Piece], *, full: bool = False
    ) -> TranslationFigures:
        """See `Task`."""
        nats, counted = sum(piece.nats for piece in pieces), sum(piece.counted for piece in pieces)
        found = {number: text for piece in pieces for number, text in piece.answers.items()}
        answered = [
            Answered(source, found[number], tuple(texts))
            for source, (number, texts) in (references(part, symbols.target) if found else {}).items()
        ]
        settings = recipe.decoding
        search = f"beam {settings.beam}, alpha {settings.alpha:g}" if settings.beam > 1 else "greedy"
        return TranslationFigures(nats, counted, len(part.examples), tuple(answered), search, _remark(symbols.target))

    def baselines(
        self, recipe: Recipe, material: PairMaterial, *, seconds: float = math.inf
    ) -> Callable[[PairPart], Mapping[str, Any]]:
        """See `Task`: the translation of the most similar training source."""
        order = 1 if recipe.data.level in ("word", "bpe") else 3
        memory = TranslationMemory(material.train.sources, order)
        train, target = material.train, material.symbols.target

        def beside(part: PairPart) -> Mapping[str, Any]:
            answered = [
                Answered(source, str(train.examples[memory.nearest(part.sources[number])].y), tuple(texts))
                for source, (number, texts) in references(part, target).items()
            ]
            figures = quality(answered)
            return {"baselines": {"translation memory": {key: figures[key] for key in ("bleu", "chrf", "exact")}}}

        return beside

    def unit(self, recipe: Recipe) -> str:
        """See `Task`."""
        return "perplexity"

    def timesteps(self, recipe: Recipe, material: PairMaterial) -> int:
        """See `Task`."""
        return int(material.train.lengths.mean() * min(recipe.training.batch, len(material.train.targets)))

    def outputs(self, model: Translator) -> int:
        """See `Task`."""
        return model.vocabulary


def part_for(recipe: Recipe, symbols: PairSymbols, name: str, examples: Sequence[Example]) -> PairPart:
    """Pairs as numbers."""
    return pairs_of(name, examples, symbols.source, symbols.target, spell=recipe.model.characters > 0)


def _shown(side: str, vocabulary: Vocabulary) -> tuple[str, int, str]:
    shown = [vocabulary.symbol(id) for id in range(4, min(len(vocabulary), 24))]
    return side, len(vocabulary), f"most frequent first: {' '.join(shown)}{' ...' * (len(vocabulary) > 24)}"


def _remark(target: Vocabulary) -> str:
    remarks = ["in lower case"] * target.lowercase + ["words and punctuation parted by blanks"] * (
        target.level == "word" and target.words == "punctuation"
    )
    return f"texts compared {', '.join(remarks)}" if remarks else ""


TASK = TranslateTask()
