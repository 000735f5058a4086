"""What a translator answers: the beam over its decoder, and how probable given answers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unrolled.arguments import whole
from unrolled.data.pairs import PairBatch, PairPart
from unrolled.data.vocabulary import BOS, UNK, Vocabulary
from unrolled.decoding.beam import Beam, BeamStep, Hypothesis, beam_search
from unrolled.decoding.settings import WIDEST, DecodingSettings
from unrolled.errors import UserError
from unrolled.models.packing import packed
from unrolled.models.translator import DecoderState, Translator


def beam_of(settings: DecodingSettings, *, best: int = 1) -> Beam:
    """A recipe's way to search, wide enough for the `best` answers. <unk> is no answer."""
    best = whole("best", best, 1, WIDEST)
    return Beam(
        max(settings.beam, best), settings.alpha, settings.coverage, settings.block_repeats, best,
        frozenset([UNK]),
    )  # fmt: skip


def longest(lengths: Tensor) -> Tensor:
    """(B,) how long the answer to a source of so many symbols may be, <eos> counted: far longer than any is."""
    return 2 * lengths + 20


@torch.no_grad()
def answers(
    model: Translator, source: Tensor, lengths: Tensor, spellings: Tensor | None, beam: Beam, *,
    watch: Callable[[BeamStep], None] | None = None,
) -> list[list[Hypothesis]]:  # fmt: skip
    """The best answers to (S, B) sources, best first; the model is in evaluation mode. `watch` sees every step.

    Raises:
        UserError: a coverage penalty of a model that does not attend.
    """
    if beam.coverage and model.attention is None:
        raise UserError("coverage: the model has no attention, so there is nothing to cover; leave it at 0")
    first = torch.full((source.shape[1],), BOS, device=source.device)
    coverage = DecoderState.coverage if beam.coverage else None
    with packed(model):
        return beam_search(
            model.step, model.start(source, lengths, spellings), first, select=DecoderState.select, settings=beam,
            lengths=longest(lengths), coverage=coverage, watch=watch,
        )  # fmt: skip


@torch.no_grad()
def log_probabilities(model: Translator, batch: PairBatch) -> list[tuple[float, ...]]:
    """log P of every symbol of each target given its source and the symbols before it, <eos> counted."""
    logs = model.log_probabilities(*batch.arguments(None)).double().cpu()
    lengths = (batch.targets != 0).sum(0).tolist()
    return [tuple(logs[:length, row].tolist()) for row, length in enumerate(lengths)]


def normal(vocabulary: Vocabulary, text: str) -> str:
    """A reference as an answer could be: in lower case if the model's symbols are, words parted by single blanks."""
    if vocabulary.level == "word":
        return " ".join(vocabulary.split(text))
    return vocabulary.decode(vocabulary.encode(text)) if vocabulary.lowercase else text


def references(part: PairPart, vocabulary: Vocabulary) -> dict[str, tuple[int, list[str]]]:
    """Each distinct source: the number of its first pair, and all its targets."""
    found: dict[str, tuple[int, list[str]]] = {}
    for number, example in enumerate(part.examples):
        _, texts = found.setdefault(str(example.x), (number, []))
        texts.append(normal(vocabulary, str(example.y)))
    return found


def batches_of(part: PairPart, numbers: list[int], batch: int = 64) -> Iterator[PairBatch]:
    """Some of the pairs, similar lengths together."""
    ordered = sorted(numbers, key=lambda number: int(part.lengths[number]))
    for start in range(0, len(ordered), batch):
        yield part.batch(torch.tensor(ordered[start : start + batch]).numpy())
