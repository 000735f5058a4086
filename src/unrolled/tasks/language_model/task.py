"""Language modelling: every symbol is a target, the state is carried from window to window."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.cells import Cell
from unrolled.data.corpus import Corpus, open_corpus
from unrolled.data.streams import Stream
from unrolled.data.vocabulary import Vocabulary
from unrolled.data.windows import Windows, windows_of
from unrolled.models.build import Saved, build_model
from unrolled.models.language_model import LanguageModel
from unrolled.tasks.language_model.baseline import NGram
from unrolled.tasks.language_model.evaluation import Evaluation, Piece, combined, measured_windows
from unrolled.tasks.sizes import symbol_model
from unrolled.tasks.task import Task

if TYPE_CHECKING:
    from unrolled.training.recipe import Recipe

VOCABULARY = "vocabulary.json"


class LanguageModelTask(Task):
    """P(y⟨t⟩ | y⟨1⟩, ..., y⟨t-1⟩)."""

    name = "language-model"
    counted = "symbols"
    carries = True

    def open(self, recipe: Recipe, base: Path, symbols: Vocabulary | None = None) -> Corpus:
        """See `Task`."""
        return open_corpus(recipe.data, vocabulary=symbols, base=base)

    def save_symbols(self, symbols: Vocabulary, folder: Path) -> None:
        """See `Task`."""
        symbols.save(folder / VOCABULARY)

    def load_symbols(self, folder: Path) -> Vocabulary:
        """See `Task`."""
        return Vocabulary.load(folder / VOCABULARY)

    def shown_symbols(self, symbols: Vocabulary) -> list[tuple[str, int, str]]:
        """See `Task`."""
        return [("vocabulary", len(symbols), f"with <pad> <unk> <bos> <eos>; most frequent first: {first_of(symbols)}")]

    def build(
        self, recipe: Recipe, symbols: Vocabulary, cell: Cell | None = None, *, saved: Saved | None = None
    ) -> LanguageModel:
        """See `Task`."""
        return build_model(recipe.model, symbols, cell, saved=saved)

    def sized(self, recipe: Recipe, material: Corpus, seconds: float, cores: int) -> Recipe:
        """See `Task`."""
        symbols, vocabulary = len(material.train), len(material.vocabulary)
        return symbol_model(recipe, symbols=symbols, vocabulary=vocabulary, seconds=seconds, cores=cores)

    def batches(self, recipe: Recipe, material: Corpus, rank: int = 0, world: int = 1) -> Windows:
        """See `Task`."""
        settings = recipe.training
        return windows_of(
            material.train, batch=settings.batch, window=settings.window, seed=settings.seed, rank=rank, world=world,
            spellings=recipe.model.characters > 0,
        )  # fmt: skip

    def probe(self, part: Stream) -> tuple[Stream, int]:
        """See `Task`: the first windows of running text only warm up."""
        return (part, 2) if len(part) > 10_000 else (part, 0)

    def pieces(
        self, recipe: Recipe, model: LanguageModel, part: Stream, *, full: bool = False
    ) -> Generator[Piece, None, None]:
        """See `Task`."""
        return measured_windows(model, part, accuracy=full, spell=recipe.model.characters > 0)

    def figures(
        self, recipe: Recipe, symbols: Vocabulary, part: Stream, pieces: Sequence[Piece], *, full: bool = False
    ) -> Evaluation:
        """See `Task`."""
        return combined(part, pieces, accuracy=full)

    def baselines(
        self, recipe: Recipe, material: Corpus, *, seconds: float = math.inf
    ) -> Callable[[Stream], Mapping[str, Any]]:
        """See `Task`."""
        ngram = NGram(material.train, material.valid, seconds=seconds)
        return lambda part: {"ngram": ngram.figures(part)}

    def unit(self, recipe: Recipe) -> str:
        """See `Task`."""
        return {"character": "bits per character", "byte": "bits per byte"}.get(recipe.data.level, "perplexity")

    def timesteps(self, recipe: Recipe, material: Corpus) -> int:
        """See `Task`."""
        return recipe.training.batch * recipe.training.window

    def outputs(self, model: LanguageModel) -> int:
        """See `Task`."""
        return model.vocabulary


def first_of(vocabulary: Vocabulary, count: int = 20) -> str:
    """The most frequent symbols as a table shows them."""
    shown = [vocabulary.symbol(id) for id in range(4, min(len(vocabulary), 4 + count))]
    return " ".join(shown) + " ..." * (len(vocabulary) > 4 + count)


TASK = LanguageModelTask()
