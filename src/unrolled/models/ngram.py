"""Counting models: Witten-Bell n-grams, the baseline that every figure of a language model is put beside.

For a symbol w after the history h (its k - 1 symbols), c counts and T the number of distinct symbols seen after h:

    p_k(w | h) = (c(h w) + T(h) p_{k-1}(w | h')) / (c(h) + T(h)),    h' = h without its oldest symbol

and p_k = p_{k-1} where h was never seen. p_0 is uniform over what can be predicted: all but <pad> and <bos>.
Source: Witten and Bell (1991), The zero-frequency problem, method C, in its interpolated form.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.data.vocabulary import BOS, PAD

_NEVER_PREDICTED = (PAD, BOS)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


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

    Time is a few sorts of the text for each order; memory about 100 bytes a symbol: give it a part of a huge text.

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
        symbols, starts = self._checked(ids, offsets)
        orders: list[_Order] = []
        names, start, histories = np.zeros_like(symbols), 0, 1
        for _ in range(self.order):
            keys = self._extended(_shifted(names, start, starts), symbols)
            orders.append(self._count(keys, start * self.vocabulary_size + BOS, histories))
            names, start, histories = orders[-1].find(keys), orders[-1].start, len(orders[-1].keys)
        self._orders = orders
        return self

    def log_probabilities(self, ids: NDArray[np.integer], offsets: NDArray[np.integer] | None = None) -> Floats:
        """(N,) natural logarithms of each symbol's probability after those before it; arguments as for `fit`."""
        if self._orders is None:
            raise ValueError("fit the model before asking it for probabilities")
        symbols, starts = self._checked(ids, offsets)
        probabilities: Floats = np.full(len(symbols), 1.0 / (self.vocabulary_size - len(_NEVER_PREDICTED)))
        names, start = np.zeros_like(symbols), 0
        for counts in self._orders:
            histories = _shifted(names, start, starts)
            names = counts.find(self._extended(histories, symbols))
            probabilities = _interpolated(counts, histories, names, probabilities)
            start = counts.start
        logarithms: Floats = np.log(probabilities)
        return logarithms

    def nats(self, ids: NDArray[np.integer], offsets: NDArray[np.integer] | None = None) -> float:
        """The mean of -log p over the symbols, <eos> counted; exp of it is the perplexity."""
        if len(ids) == 0:
            raise ValueError("no symbols: their mean does not exist")
        return float(-self.log_probabilities(ids, offsets).mean())

    def _checked(self, ids: NDArray[np.integer], offsets: NDArray[np.integer] | None) -> tuple[Integers, Integers]:
        """The ids, and where histories begin anew."""
        symbols = np.asarray(ids).astype(np.int64)
        if symbols.ndim != 1:
            raise ValueError(f"ids must have one dimension, not the shape {symbols.shape}")
        if len(symbols) and (symbols.min() < 0 or symbols.max() >= self.vocabulary_size):
            raise ValueError(f"ids must be under vocabulary_size {self.vocabulary_size}")
        if np.isin(symbols, _NEVER_PREDICTED).any():
            raise ValueError("ids must hold no <pad> (0) and no <bos> (2): they are never predicted")
        bounds = np.array([0, len(symbols)]) if offsets is None else np.asarray(offsets).astype(np.int64)
        if len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != len(symbols) or (np.diff(bounds) < 0).any():
            raise ValueError(f"offsets must rise from 0 to the number of ids, {len(symbols)}")
        starts = bounds[:-1]
        return symbols, starts[starts < len(symbols)]

    def _extended(self, histories: Integers, symbols: Integers) -> Integers:
        """Keys of the n-grams one longer; an unseen history (-1) gives a negative key, which nothing has."""
        return np.where(histories < 0, -1, histories * self.vocabulary_size + symbols)

    def _count(self, keys: Integers, start_key: int, histories: int) -> _Order:
        # <bos> itself is never an event: its n-gram gets a name, for histories, and no count.
        known, counts = np.unique(keys, return_counts=True)
        place = int(np.searchsorted(known, start_key))
        known, counts = np.insert(known, place, start_key), np.insert(counts, place, 0)
        owners = known // self.vocabulary_size
        kinds = np.bincount(owners[counts > 0], minlength=histories)
        # bincount sums in float64: exact up to 2^53 symbols.
        totals = np.bincount(owners, weights=counts, minlength=histories).astype(np.int64)
        return _Order(known, counts, totals, kinds, place)


def _shifted(names: Integers, start: int, starts: Integers) -> Integers:
    """For every symbol, the n-gram that ends just before it; `start` where a document begins."""
    before = np.empty_like(names)
    before[1:] = names[:-1]
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
