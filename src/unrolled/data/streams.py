"""A part of an encoded text, seen through a vocabulary: the ids that a model reads and predicts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.batches import spread
from unrolled.data.encoding import EncodedText
from unrolled.data.vocabulary import UNK, Vocabulary, counted
from unrolled.errors import UserError

Ids = NDArray[np.int64]
_BLOCK = 1 << 20
SAMPLED_STRETCHES, SAMPLED_SYMBOLS = 32, 4_000
"""A sample of running text has at most so many stretches of at least so many symbols: few begin out of context."""


@dataclass(frozen=True)
class Part:
    """Some stretches of an encoded text, put one after the other: one stretch of running text, or documents.

    starts: (K,) where each stretch begins in ``encoded.surfaces``.
    offsets: (K + 1,) where it begins in the part; the last is the part's length.

    >>> from unrolled.data.encoding import Scheme, encode_text
    >>> part = Part.between(encode_text("abba", Scheme("character")), 1, 4)
    >>> len(part), part.surfaces(0, 3).tolist()
    (3, [2, 2, 1])
    """

    encoded: EncodedText = field(repr=False)
    starts: Ids = field(repr=False)
    offsets: Ids = field(repr=False)
    documents: bool = False

    @classmethod
    def between(cls, encoded: EncodedText, start: int, stop: int) -> "Part":
        """One stretch of running text."""
        return cls(encoded, np.array([start]), np.array([0, stop - start]))

    @classmethod
    def of_documents(cls, encoded: EncodedText, chosen: NDArray[np.bool_] | None = None) -> "Part":
        """The documents (all, or the chosen ones) of a text whose documents end with surface 0."""
        ends = ends_of_lines(encoded)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
        if chosen is not None:
            starts, ends = starts[chosen], ends[chosen]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(ends - starts)])
        return cls(encoded, starts, offsets, documents=True)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def sample(self, share: float) -> "Part":
        """A share of it, evenly spread: of the documents, or of running text stretches put one after the other."""
        if self.documents:
            chosen = spread(len(self.starts), share)
            starts, sizes = self.starts[chosen], np.diff(self.offsets)[chosen]
        else:
            count = max(1, min(SAMPLED_STRETCHES, int(len(self) * share) // SAMPLED_SYMBOLS))
            each = max(1, int(len(self) * share) // count)
            starts = self.starts[0] + np.arange(count) * (len(self) // count)
            sizes = np.full(count, each)
        return Part(self.encoded, starts, np.concatenate([[0], np.cumsum(sizes)]), self.documents)

    def surfaces(self, start: int, stop: int) -> NDArray[Any]:
        """(stop - start,) surfaces of a range of positions."""
        if len(self.starts) == 1:
            first = int(self.starts[0])
            return self.encoded.surfaces[first + start : first + stop]
        return self.take(np.arange(start, stop))

    def take(self, positions: Ids) -> NDArray[Any]:
        """The surfaces at positions of any shape."""
        one = len(self.starts) == 1
        stretch = 0 if one else np.searchsorted(self.offsets, positions, side="right") - 1
        surfaces: NDArray[Any] = self.encoded.surfaces[positions + self._shifts[stretch]]
        return surfaces

    @cached_property
    def _shifts(self) -> Ids:
        return self.starts - self.offsets[:-1]

    @cached_property
    def counts(self) -> Ids:
        """(len(lexicon),) how often each surface occurs, counted block by block."""
        total = np.zeros(len(self.encoded.lexicon), dtype=np.int64)
        for start in range(0, len(self), _BLOCK):
            block = self.surfaces(start, min(start + _BLOCK, len(self)))
            total += np.bincount(block, minlength=len(total))
        return total


@dataclass(frozen=True)
class Stream:
    """The symbols to predict, in order, as the vocabulary's ids; memory-mapped underneath.

    ``len(stream)`` is the number of predicted symbols, every <eos> among them.

    >>> from unrolled.data.encoding import Scheme, encode_text
    >>> vocabulary = Vocabulary.from_counts({"a": 2, "b": 1}, level="character")
    >>> Stream(Part.between(encode_text("abba", Scheme("character")), 0, 4), vocabulary, "abba").ids(0, 4)
    array([4, 5, 5, 4])
    """

    part: Part
    vocabulary: Vocabulary
    name: str

    def __len__(self) -> int:
        return len(self.part)

    def sample(self, share: float) -> "Stream":
        """A share of the symbols, evenly spread."""
        return Stream(self.part.sample(share), self.vocabulary, self.name)

    @property
    def documents(self) -> bool:
        """Whether the symbols are documents, each by itself, rather than one running text."""
        return self.part.documents

    @property
    def offsets(self) -> Ids:
        """(documents + 1,) where each document begins; it ends with its <eos>. Running text counts as one."""
        return self.part.offsets

    def ids(self, start: int, stop: int) -> Ids:
        """(stop - start,) ids of a range of positions."""
        ids: Ids = self._table[self.part.surfaces(start, stop)]
        return ids

    def take(self, positions: Ids) -> Ids:
        """The ids at positions of any shape."""
        ids: Ids = self._table[self.part.take(positions)]
        return ids

    def spellings(self, start: int, stop: int) -> NDArray[np.int32]:
        """(stop - start, 16) how the words are spelled in the text, known to the vocabulary or not; words only."""
        spellings: NDArray[np.int32] = self._spellings[self.part.surfaces(start, stop)]
        return spellings

    def take_spellings(self, positions: Ids) -> NDArray[np.int32]:
        """The spellings at positions of any shape, with a last axis of 16; words only."""
        spellings: NDArray[np.int32] = self._spellings[self.part.take(positions)]
        return spellings

    @cached_property
    def characters(self) -> int:
        """How many characters of the user's text these symbols are, line ends included: for bits per character.

        Exact for a whole text, and for parts of it but at word level, where a part has its share by its words' lengths.
        """
        encoded = self.part.encoded
        width = int(self.part.counts @ encoded.widths)
        if encoded.scheme.level != "word":
            return width
        whole = Part.between(encoded, 0, len(encoded.surfaces))
        if len(whole) == len(self):
            return encoded.characters
        return round(encoded.characters * width / int(whole.counts @ encoded.widths))

    def counts(self) -> Ids:
        """(V,) how often each id occurs."""
        counts = np.zeros(len(self.vocabulary), dtype=np.int64)
        np.add.at(counts, self._table, self.part.counts)
        return counts

    def check_known(self) -> None:
        """UserError when not a single symbol (line ends apart) is in the vocabulary."""
        seen = self.part.counts > 0
        seen[0] = False
        if seen.any() and (self._table[seen] == UNK).all():
            example = self.part.encoded.lexicon[int(np.flatnonzero(seen)[0])]
            raise UserError(
                f"{self.name}: every symbol is unknown to the vocabulary of {len(self.vocabulary):,} symbols "
                f"({self.vocabulary.level} level; for instance {example!r}); give text like the training text"
            )

    @cached_property
    def _table(self) -> Ids:
        return self.vocabulary.table_for(self.part.encoded.lexicon)

    @cached_property
    def _spellings(self) -> NDArray[np.int32]:
        if self.vocabulary.level != "word":
            raise UserError(f"model.characters spells words: it needs level word, not {self.vocabulary.level}")
        return self.vocabulary.spellings_for(self.part.encoded.lexicon)


def training_counts(part: Part) -> dict[str, int]:
    """How often each symbol occurs in a part, for `Vocabulary.from_counts`."""
    return counted(part.encoded.lexicon, part.counts)


def ends_of_lines(encoded: EncodedText) -> Ids:
    """Where the lines end: the positions after each surface 0, found block by block."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *_ends(encoded.surfaces)])


def _ends(surfaces: NDArray[Any]) -> Iterator[Ids]:
    for start in range(0, len(surfaces), _BLOCK):
        yield np.flatnonzero(surfaces[start : start + _BLOCK] == 0) + (start + 1)
