"""The hidden units of a language model that track something in a text: what is read for `inspecting.cell_search`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.data.streams import Stream
from unrolled.data.vocabulary import BOS, EOS, UNK
from unrolled.errors import UserError
from unrolled.inspecting.cell_search import CellSearch, UnitName, search_cells
from unrolled.inspecting.observation import observing, unit_states
from unrolled.inspecting.text_features import text_features
from unrolled.nn.recurrent import State

if TYPE_CHECKING:
    from unrolled.tasks.language_model.run import LanguageModelRun

Text = tuple[list[int], list[str]]
"""The ids of a text that begins anew, and what each stands for."""


def tracking_units(run: LanguageModelRun, stream: Stream, *, most: int, top: int) -> CellSearch:
    """Search the first `most` symbols (0: all) of a stream.

    Raises:
        UserError: it has fewer than two.
    """
    length = min(most or len(stream), len(stream))
    if length < 2:
        raise UserError(f"{stream.name}: too short to search with: give a longer text")
    offsets = stream.offsets
    ends = [*offsets[(offsets > 0) & (offsets < length)].tolist(), length]
    texts = [_text(stream, start, stop) for start, stop in pairwise([0, *ends])]
    names, states = _states(run, texts)
    shown = [
        word if id == UNK else run.vocabulary.symbol(id)
        for ids, words in texts
        for id, word in zip(ids, words, strict=True)
    ]
    spaced = stream.vocabulary.level == "word"
    features = text_features(_spaced(words) if spaced else words for _, words in texts)
    return search_cells(stream.name, shown, features, states, names, top=top)


def _spaced(words: list[str]) -> list[str]:
    """Words as they stand in a line: each with the blank before it, but the first.

    >>> _spaced(["a", "cat", "\\n", "sat"])
    ['a', ' cat', '\\n', 'sat']
    """
    before = ["\n", *words]
    return [word if "\n" in (word, last) else f" {word}" for last, word in zip(before, words, strict=False)]


def _text(stream: Stream, start: int, stop: int) -> Text:
    ids = stream.ids(start, stop).tolist()
    if stream.vocabulary.level == "word":  # unknown words too, as they are spelt
        lexicon = stream.part.encoded.lexicon
        return ids, [lexicon[surface] for surface in stream.part.surfaces(start, stop).tolist()]
    return ids, ["\n" if id == EOS else stream.vocabulary.text(id) for id in ids]


@torch.no_grad()
def _states(run: LanguageModelRun, texts: list[Text]) -> tuple[list[UnitName], NDArray[np.float32]]:
    """Every unit's name, and its value after each symbol of the texts, (symbols in all, U)."""
    names: list[UnitName] = []
    rows = []
    for ids, words in texts:
        state: State | None = None
        for place, (symbols, spellings) in enumerate(run.pieces([BOS, *ids], ["\n", *words])):
            with observing(run.model.recurrent) as found:
                _, state = run.model.features(symbols, state, spellings)
            names, values = unit_states(run.model.recurrent, found[0])
            rows.append(values[1:] if place == 0 else values)  # without that of <bos>
    return names, np.concatenate(rows)
