"""Sequences of similar length side by side: little padding, and still a new mixture every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UserError

Ids = NDArray[np.int64]
Made = TypeVar("Made")

POOL = 50
"""Sequences are sorted by length within so many batches."""


def mixed(lengths: Ids, batch: int, generator: np.random.Generator) -> Ids:
    """(batches, B) numbers of sequences, each exactly once, -1 where the last batch has none.

    Shuffled, sorted by length within pools of `POOL` batches, cut into batches, the batches shuffled.
    """
    order = generator.permutation(len(lengths))
    pool = POOL * batch
    for start in range(0, len(order), pool):
        pooled = order[start : start + pool]
        order[start : start + pool] = pooled[np.argsort(lengths[pooled], kind="stable")]
    missing = -len(order) % batch
    batches: Ids = np.concatenate([order, np.full(missing, -1)]).reshape(-1, batch)
    return batches[generator.permutation(len(batches))]


def generator_of(seed: int, epoch: int) -> np.random.Generator:
    """The draws of one epoch: the same whenever it is read."""
    return np.random.default_rng([seed % (1 << 64), epoch])


def share_of(batch: int, rank: int, world: int) -> slice:
    """The rows of a batch that one of several processes gets."""
    if batch % world:
        raise UserError(
            f"training.batch = {batch} cannot be shared evenly by {world} devices; set it to a multiple of {world}"
        )
    share = batch // world
    return slice(rank * share, (rank + 1) * share)


class MixedBatches(Generic[Made]):
    """Every epoch's batches of whole sequences.

    Args:
        lengths: (N,) timesteps of each sequence.
        make: from the numbers of some sequences to their batch.
        batch: sequences of all processes together; process `rank` of `world` gets its share of them.
    """

    def __init__(
        self, lengths: Ids, make: Callable[[Ids], Made], *, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self._lengths, self._make, self._seed = lengths, make, seed
        self._batch = min(batch, len(lengths))
        self._rows = share_of(self._batch, rank, world)
        self._alone = world == 1
        self._plan = lru_cache(maxsize=2)(self._planned)

    def _planned(self, epoch: int) -> Ids:
        """Of several processes none may be left without a sequence: they leave out the batch that is not full."""
        batches = mixed(self._lengths, self._batch, generator_of(self._seed, epoch))
        return batches if self._alone else batches[(batches >= 0).all(axis=1)]

    def steps_per_epoch(self, epoch: int) -> int:
        """How many batches the epoch has."""
        return len(self._plan(epoch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Made]:
        """The epoch's batches from number `start` on: the same ones whatever `start` is."""
        for numbers in self._plan(epoch)[start:]:
            own = numbers[self._rows]
            yield self._make(own[own >= 0])


def spread(count: int, share: float) -> Ids:
    """Numbers of a share of `count` things, evenly spread, at least one of them.

    >>> spread(10, 0.3).tolist()
    [1, 5, 8]
    """
    kept = min(count, max(1, round(count * share)))
    numbers: Ids = ((np.arange(kept) + 0.5) * count / kept).astype(np.int64)
    return numbers


def in_order(lengths: Ids, batch: int, most: int = 0) -> Iterator[Ids]:
    """Every sequence once, short ones first, for measuring; `most` timesteps at most in a batch of several, 0: any."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = min(start + batch, len(order))
        while most and stop > start + 1 and lengths[order[stop - 1]] * (stop - start) > most:
            stop -= 1
        yield order[start:stop]
        start = stop


def padded(rows: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    """(T, B, ...) rows of different length side by side, time first, zeros at their ends."""
    longest = max((len(row) for row in rows), default=0)
    result = np.zeros((longest, len(rows), *rows[0].shape[1:]), dtype=rows[0].dtype)
    for column, row in enumerate(rows):
        result[: len(row), column] = row
    return result


def padding_share(lengths: Ids, batch: int, seed: int) -> float:
    """How much of an epoch's batches is padding."""
    batches = mixed(lengths, min(batch, len(lengths)), generator_of(seed, 0))
    there = np.where(batches >= 0, lengths[batches], 0)
    places = int((there.max(axis=1) * (batches >= 0).sum(axis=1)).sum())
    return 1 - int(there.sum()) / max(1, places)
