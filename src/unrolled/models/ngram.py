"""Counting models: Witten-Bell n-grams, the baseline that every figure of a language model is put beside.

For a symbol w after the history h (its k - 1 symbols), c counts and T the number of distinct symbols seen after h:

    p_k(w | h) = (c(h w) + T(h) p_{k-1}(w | h')) / (c(h) + T(h)),    h' = h without its oldest symbol

and p_k = p_{k-1} where h was never seen. p_0 is uniform over what can be predicted: all but <pad> and <bos>.
Source: Witten and Bell (1991), The zero-frequency problem, method C, in its interpolated form.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.data.vocabulary import BOS, PAD

_NEVER_PREDICTED = (PAD, BOS)

BLOCK = 1 << 18
"""Symbols that are counted at once: what is held beside the counts themselves, a few arrays of so many numbers."""

MOST_ORDER = 6
"""The longest n-grams that are tried as a baseline."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Read = Callable[[int, int], NDArray[np.integer]]
"""Gives the symbols from one position of a text to another."""


@dataclass(frozen=True)
class _Order:
    """The counts of one order k. An n-gram is named by its place in `keys`, its key by the (k-1)-gram it extends."""

    keys: Integers  # name of the first k - 1 symbols * V + last symbol, sorted, distinct
    counts: Integers  # c(h w), beside `keys`
    history_counts: Integers  # c(h), beside the keys of order k - 1
    history_kinds: Integers  # T(h), beside the keys of order k - 1
    start: int  # name of the n-gram <bos> ... <bos>

    def find(self, keys: Integers) -> Integers:
        """The names of these keys, -1 for one never seen."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


class WittenBell:
    """An n-gram model by counting, with interpolated Witten-Bell smoothing.

    order: length of the n-grams: 1 sees no history, 2 the symbol before (bigram), ...; 0 is uniform.
    vocabulary_size: V, with the four special symbols; ids are under it.

    A text is read in blocks, once for each order, so memory is that of the distinct n-grams, some 32 bytes each while
    they are counted, however long the text is.

    >>> model = WittenBell(order=2, vocabulary_size=6).fit(np.array([4, 5, 4, 5, 4]))
    >>> model.log_probabilities(np.array([4, 5])).round(3)
    array([-0.288, -0.241])
    """

    def __init__(self, order: int, vocabulary_size: int) -> None:
        if order < 0:
            raise ValueError(f"order must be at least 0, not {order}")
        if vocabulary_size <= len(_NEVER_PREDICTED):
            raise ValueError(f"vocabulary_size must be above {len(_NEVER_PREDICTED)}, not {vocabulary_size}")
        self.order = order
        self.vocabulary_size = vocabulary_size
        self._orders: list[_Order] | None = None

    def fit(self, ids: NDArray[np.integer], offsets: NDArray[np.integer] | None = None) -> "WittenBell":
        """Counts a text, forgetting any before; returns itself.

        ids: (N,) symbols, none of them <pad> or <bos>; a document's <eos> is among them.
        offsets: (D + 1,) where documents begin, and N at last: each starts after <bos> alone. None: running text, of
            which only the beginning does.
        """
        symbols = _flat(ids)
        return self.fit_blocks(lambda start, stop: symbols[start:stop], len(symbols), offsets)

    def fit_blocks(self, read: Read, length: int, offsets: NDArray[np.integer] | None = None) -> "WittenBell":
        """`fit` on a text of `length` symbols that is not in memory: `read(start, stop)` gives some of them."""
        starts = _starts(length, offsets)
        self._orders = None
        orders: list[_Order] = []
        for _ in range(self.order):
            orders.append(self._next_order(read, length, starts, orders))
        self._orders = orders
        return self

    def longer(self, read: Read, length: int, offsets: NDArray[np.integer] | None = None) -> "WittenBell":
        """The model of the next order, of the same text: what this one has counted is not counted again."""
        if self._orders is None:
            raise ValueError("fit the model before asking for a longer one")
        found = WittenBell(self.order + 1, self.vocabulary_size)
        found._orders = [*self._orders, self._next_order(read, length, _starts(length, offsets), self._orders)]
        return found

    def _next_order(self, read: Read, length: int, starts: Integers, orders: Sequence[_Order]) -> _Order:
        histories, start = (len(orders[-1].keys), orders[-1].start) if orders else (1, 0)
        # <bos> itself is never an event: its n-gram gets a name, for histories, and no count.
        counts = _Counts(start * self.vocabulary_size + BOS)
        for symbols, here, before in self._blocks(read, length, starts, orders):
            counts.add(self._extended(_shifted(before[-1], start, here), symbols))
        return self._order(counts, start, histories)

    def log_probabilities(self, ids: NDArray[np.integer], offsets: NDArray[np.integer] | None = None) -> Floats:
        """(N,) natural logarithms of each symbol's probability after those before it; arguments as for `fit`."""
        symbols = _flat(ids)
        blocks = self._logarithms(lambda start, stop: symbols[start:stop], len(symbols), offsets)
        return np.concatenate([np.zeros(0), *blocks])

    def nats(self, ids: NDArray[np.integer], offsets: NDArray[np.integer] | None = None) -> float:
        """The mean of -log p over the symbols, <eos> counted; exp of it is the perplexity."""
        symbols = _flat(ids)
        return self.nats_of_blocks(lambda start, stop: symbols[start:stop], len(symbols), offsets)

    def nats_of_blocks(self, read: Read, length: int, offsets: NDArray[np.integer] | None = None) -> float:
        """`nats` of a text as for `fit_blocks`."""
        if length == 0:
            raise ValueError("no symbols: their mean does not exist")
        return -sum(float(block.sum()) for block in self._logarithms(read, length, offsets)) / length

    def _logarithms(self, read: Read, length: int, offsets: NDArray[np.integer] | None) -> Iterator[Floats]:
        if self._orders is None:
            raise ValueError("fit the model before asking it for probabilities")
        uniform = 1.0 / (self.vocabulary_size - len(_NEVER_PREDICTED))
        for symbols, here, before in self._blocks(read, length, _starts(length, offsets), self._orders):
            probabilities: Floats = np.full(len(symbols), uniform)
            start = 0
            for counts, earlier, names in zip(self._orders, before, before[1:], strict=False):
                probabilities = _interpolated(counts, _shifted(earlier, start, here), names[1:], probabilities)
                start = counts.start
            yield np.log(probabilities)

    def _blocks(
        self, read: Read, length: int, starts: Integers, orders: Sequence[_Order]
    ) -> Iterator[tuple[Integers, Integers, list[Integers]]]:
        """A text block by block: its symbols, where documents begin in it, and the names of its n-grams.

        The names are those of the n-grams that end at each symbol, for order 0 (0, the empty one) and then each of
        `orders`, with the one that ends before the block in front of them: (len(orders) + 1) arrays of length + 1.
        """
        last = [0] * (len(orders) + 1)
        for first in range(0, length, BLOCK):
            symbols = self._checked(read(first, min(first + BLOCK, length)))
            bounds = np.searchsorted(starts, [first, first + len(symbols)])
            here = starts[slice(*bounds)] - first
            names = [np.zeros(len(symbols) + 1, dtype=np.int64)]
            start = 0
            for counts, before in zip(orders, last[1:], strict=True):
                found = counts.find(self._extended(_shifted(names[-1], start, here), symbols))
                names.append(np.concatenate([[before], found]))
                start = counts.start
            last = [int(of_order[-1]) for of_order in names]
            yield symbols, here, names

    def _checked(self, ids: NDArray[np.integer]) -> Integers:
        symbols = ids.astype(np.int64)
        if len(symbols) and (symbols.min() < 0 or symbols.max() >= self.vocabulary_size):
            raise ValueError(f"ids must be under vocabulary_size {self.vocabulary_size}")
        if np.isin(symbols, _NEVER_PREDICTED).any():
            raise ValueError("ids must hold no <pad> (0) and no <bos> (2): they are never predicted")
        return symbols

    def _extended(self, histories: Integers, symbols: Integers) -> Integers:
        """Keys of the n-grams one longer; an unseen history (-1) gives a negative key, which nothing has."""
        return np.where(histories < 0, -1, histories * self.vocabulary_size + symbols)

    def _order(self, found: "_Counts", before: int, histories: int) -> _Order:
        """The order of these counts, `before` being the start of the order below."""
        owners = found.keys // self.vocabulary_size
        kinds = np.bincount(owners, minlength=histories)
        kinds[before] -= 1  # for the n-gram of <bos>, which has no count
        # bincount sums in float64: exact up to 2^53 symbols.
        totals = np.bincount(owners, weights=found.counts, minlength=histories).astype(np.int64)
        start = int(np.searchsorted(found.keys, before * self.vocabulary_size + BOS))
        return _Order(found.keys, found.counts, totals, kinds, start)


@dataclass(frozen=True)
class Text:
    """Symbols to count or to predict: `read(start, stop)` gives some of `length`; `offsets` as for `WittenBell.fit`."""

    read: Read
    length: int
    offsets: NDArray[np.integer] | None = None


def best_ngram(
    train: Text, held_out: Text | None, vocabulary_size: int, *, most: int = MOST_ORDER, seconds: float = math.inf
) -> WittenBell:
    """The n-gram of `train`, up to order `most`, that finds `held_out` the most likely.

    The orders are tried from 2 on until one is worse than the one before, or until `seconds` are over: then it is the
    best so far. Without a text to choose by it is the bigram.
    """
    began = time.monotonic()
    best = WittenBell(2, vocabulary_size).fit_blocks(train.read, train.length, train.offsets)
    if held_out is None or not held_out.length:
        return best
    nats = best.nats_of_blocks(held_out.read, held_out.length, held_out.offsets)
    while best.order < most and 2 * (time.monotonic() - began) < seconds:  # an order takes as long as all before it
        longer = best.longer(train.read, train.length, train.offsets)
        of_longer = longer.nats_of_blocks(held_out.read, held_out.length, held_out.offsets)
        if of_longer >= nats:
            break
        best, nats = longer, of_longer
    return best


class _Counts:
    """How often each key came, added block by block: `keys` sorted and distinct, `counts` beside them.

    start_key: a key that is there from the beginning, with no count.
    """

    def __init__(self, start_key: int) -> None:
        self.keys: Integers = np.array([start_key])
        self.counts: Integers = np.array([0])

    def add(self, block: Integers) -> None:
        keys, counts = _distinct(block)
        places = np.searchsorted(self.keys, keys)
        known = self.keys[np.minimum(places, len(self.keys) - 1)] == keys
        self.counts[places[known]] += counts[known]
        if not known.all():
            new = ~known
            self.keys = np.insert(self.keys, places[new], keys[new])
            self.counts = np.insert(self.counts, places[new], counts[new])


def _distinct(keys: Integers) -> tuple[Integers, Integers]:
    """The distinct keys, sorted, and how often each is there."""
    highest = int(keys.max(initial=0))
    if highest > 2 * len(keys):
        found: tuple[Integers, Integers] = np.unique(keys, return_counts=True)
        return found
    counts = np.bincount(keys)  # few different keys, as of characters: without a sort, some ten times as fast
    known = np.flatnonzero(counts)
    return known, counts[known]


def _flat(ids: NDArray[np.integer]) -> NDArray[np.integer]:
    symbols = np.asarray(ids)
    if symbols.ndim != 1:
        raise ValueError(f"ids must have one dimension, not the shape {symbols.shape}")
    return symbols


def _starts(length: int, offsets: NDArray[np.integer] | None) -> Integers:
    """Where histories begin anew."""
    bounds = np.array([0, length]) if offsets is None else np.asarray(offsets).astype(np.int64)
    if len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != length or (np.diff(bounds) < 0).any():
        raise ValueError(f"offsets must rise from 0 to the number of ids, {length}")
    starts = bounds[:-1]
    return starts[starts < length]


def _shifted(names: Integers, start: int, starts: Integers) -> Integers:
    """For every symbol, the n-gram that ends just before it; `start` where a document begins.

    names: of the n-grams that end at each symbol, that before the first symbol in front.
    """
    before = names[:-1].copy()
    before[starts] = start
    return before


def _interpolated(counts: _Order, histories: Integers, names: Integers, lower: Floats) -> Floats:
    if len(lower) == 0:
        return lower
    seen = np.where(names < 0, 0, counts.counts[names])
    total = np.where(histories < 0, 0, counts.history_counts[histories])
    kinds = np.where(histories < 0, 0, counts.history_kinds[histories])
    # Where total is 0 so is kinds; the division is then replaced, not used.
    mixed = (seen + kinds * lower) / np.maximum(total + kinds, 1)
    return np.where(total > 0, mixed, lower)
