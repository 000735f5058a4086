"""Batches to train and to measure on: windows of running text with the state carried, or documents side by side."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.batches import generator_of, mixed, share_of
from unrolled.data.streams import Ids, Stream
from unrolled.data.vocabulary import BOS, PAD
from unrolled.errors import UserError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """One step's worth of training.

    inputs: (T, B) ids, each the symbol before its target; <bos> before the first.
    targets: (T, B) ids to predict; 0 is not counted.
    lengths: (B,) timesteps of each row, 0 allowed; None when all rows are full.
    fresh: whether the recurrent state starts anew; otherwise it goes on from the window before.
    spellings: (T, B, 16) the inputs' characters, when asked for; zeros for <bos>, <eos> and padding.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None
    fresh: bool
    spellings: Tensor | None = None

    def to(self, device: torch.device) -> "Window":
        """The same window on a device."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        inputs, targets = self.inputs.to(device), self.targets.to(device)
        return Window(inputs, targets, moved(self.lengths), self.fresh, moved(self.spellings))

    @property
    def counted(self) -> int:
        """How many targets there are."""
        return int((self.targets != PAD).sum())

    def arguments(self, state: Any) -> tuple[Any, ...]:
        """What a language model takes."""
        return self.inputs, self.targets, state, self.spellings


class Windows(Protocol):
    """What the training loop needs of either kind."""

    def steps_per_epoch(self, epoch: int) -> int:
        """How many windows the epoch has."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Window]:
        """The epoch's windows from number ``start`` on: the same ones whatever ``start`` is."""
        ...


def windows_of(
    stream: Stream, *, batch: int, window: int, seed: int, rank: int = 0, world: int = 1, spellings: bool = False
) -> Windows:
    """`Documents` for a stream of documents, `RunningText` otherwise.

    batch: rows of all ranks together; window: the most timesteps at once (truncated BPTT). Rank ``rank`` of ``world``
    gets its contiguous share of the rows. UserError for text shorter than a batch, or a batch that cannot be shared.

    >>> next(windows_of(stream, batch=32, window=100, seed=1).epoch(0)).inputs.shape     # doctest: +SKIP
    torch.Size([100, 32])
    """
    kind = Documents if stream.documents else RunningText
    return kind(stream, batch=batch, window=window, seed=seed, rank=rank, world=world, spellings=spellings)


class RunningText:
    """B lanes of one text, read side by side in windows of T; the state goes on from window to window.

    Every lane has floor(n / B) symbols. Epoch e skips a few (fewer than a window) at the start of every lane, drawn
    from (seed, e), so that the windows are cut elsewhere each time; epoch 0 skips none. Only an epoch's first window is
    fresh, and its last may be shorter.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        batch: int,
        window: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        spellings: bool = False,
    ) -> None:
        if len(stream) < 2 * batch:
            raise UserError(
                f"{stream.name} has {len(stream):,} symbols; training.batch = {batch} needs at least {2 * batch:,} "
                f"(2 for each of its rows): set training.batch = {max(len(stream) // 2, 1)} or less, or give more text"
            )
        self._stream = stream
        self._window = window
        self._seed = seed
        self._spellings = spellings
        self._lane = len(stream) // batch
        self._starts = np.arange(batch)[share_of(batch, rank, world)] * self._lane

    def steps_per_epoch(self, epoch: int) -> int:
        """How many windows the epoch has."""
        return -(-(self._lane - self._skipped(epoch)) // self._window)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Window]:
        """The epoch's windows from number ``start`` on: the same ones whatever ``start`` is."""
        for step in range(start, self.steps_per_epoch(epoch)):
            first = self._skipped(epoch) + step * self._window
            time = np.arange(first, min(first + self._window, self._lane))
            positions = time[:, None] + self._starts
            every = np.ones_like(positions, dtype=bool)
            yield _window(
                self._stream, positions, every, every, positions == 0, fresh=step == 0, spellings=self._spellings
            )

    def _skipped(self, epoch: int) -> int:
        most = min(self._window, self._lane // 2)
        return 0 if epoch == 0 or most < 2 else int(generator_of(self._seed, epoch).integers(most))


class Documents:
    """Documents of similar length side by side, in an order that is new every epoch.

    Shuffled by (seed, epoch), sorted by length within pools of 50 batches, cut into batches, the batches shuffled.
    Every batch has B rows; in the one that is not full the others have length 0. A batch whose longest document exceeds
    ``window`` comes as several windows, only the first of them fresh; rows that have ended then have length 0.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        batch: int,
        window: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        spellings: bool = False,
    ) -> None:
        self._stream = stream
        self._batch = batch
        self._window = window
        self._seed = seed
        self._spellings = spellings
        self._rows = share_of(batch, rank, world)
        self._lengths = np.diff(stream.offsets)
        if len(self._lengths) < batch:
            raise UserError(
                f"{stream.name} has {len(self._lengths):,} lines, fewer than training.batch = {batch}: "
                f"set training.batch = {len(self._lengths)} or less, or give more lines"
            )
        self._plan = lru_cache(maxsize=2)(self._planned)

    def steps_per_epoch(self, epoch: int) -> int:
        """How many windows the epoch has."""
        return int(self._plan(epoch)[1][-1])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Window]:
        """The epoch's windows from number ``start`` on: the same ones whatever ``start`` is."""
        batches, ends = self._plan(epoch)
        for step in range(start, self.steps_per_epoch(epoch)):
            number = int(np.searchsorted(ends, step, side="right"))
            within = step - (int(ends[number - 1]) if number else 0)
            yield self._at(batches[number], within)

    def _at(self, documents: Ids, within: int) -> Window:
        """Window number ``within`` of a batch of documents; -1 is no document."""
        longest = int(self._lengths[documents[documents >= 0]].max())
        first = within * self._window
        last = min(first + self._window, longest)
        return _documents_window(self._stream, documents[self._rows], first, last, spellings=self._spellings)

    def _planned(self, epoch: int) -> tuple[Ids, Ids]:
        """(batches, B) document numbers, and (batches,) how many windows there are up to each batch's end."""
        batches = mixed(self._lengths, self._batch, generator_of(self._seed, epoch))
        longest = np.where(batches >= 0, self._lengths[batches], 0).max(axis=1)
        return batches, np.cumsum(-(-longest // self._window))


def whole(stream: Stream, *, lanes: int, window: int, warm: int = 256, spellings: bool = False) -> Iterator[Window]:
    """Windows that count every symbol of the stream exactly once: for evaluation.

    Running text is read in ``lanes`` lanes, each beginning with ``warm`` uncounted symbols that precede its own, so
    that none starts cold; the first lane begins with <bos> and counts from its first symbol on. Documents come
    ``lanes`` at a time, the short ones first, the state new for each.

    >>> sum(int((w.targets != 0).sum()) for w in whole(stream, lanes=8, window=100)) == len(stream)  # doctest: +SKIP
    True
    """
    if stream.documents:
        return _whole_documents(stream, lanes, window, spellings)
    return _whole_text(stream, lanes, window, warm, spellings)


def _whole_text(stream: Stream, lanes: int, window: int, warm: int, spellings: bool) -> Iterator[Window]:
    """Lane b reads [b L, b L + warm + L) and counts its last L symbols; lane 0, with none before it, counts all."""
    count = len(stream)
    warm = min(warm, count)
    own = -(-(count - warm) // lanes)
    used = -(-(count - warm) // own) if own else 1  # lanes with something left to count
    starts = np.arange(used) * own
    for first in range(0, warm + own, window):
        time = np.arange(first, min(first + window, warm + own))[:, None]
        positions = time + starts
        inside = positions < count
        counted = inside & ((time >= warm) | (starts == 0))
        yield _window(stream, positions, inside, counted, positions == 0, fresh=first == 0, spellings=spellings)


def _whole_documents(stream: Stream, lanes: int, window: int, spellings: bool) -> Iterator[Window]:
    lengths = np.diff(stream.offsets)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), lanes):
        documents = order[start : start + lanes]
        longest = int(lengths[documents].max())
        for first in range(0, longest, window):
            last = min(first + window, longest)
            yield _documents_window(stream, documents, first, last, spellings=spellings)


def _documents_window(stream: Stream, documents: Ids, first: int, last: int, *, spellings: bool) -> Window:
    """Timesteps first to last of some documents, -1 being an empty one."""
    starts = stream.offsets[documents]
    sizes = np.where(documents >= 0, stream.offsets[documents + 1] - starts, 0)
    time = np.arange(first, last)[:, None]
    inside = time < sizes
    window = _window(stream, time + starts, inside, inside, inside & (time == 0), fresh=first == 0, spellings=spellings)
    return replace(window, lengths=torch.from_numpy(np.clip(sizes - first, 0, last - first)))


def _window(
    stream: Stream,
    positions: Ids,
    inside: Mask,
    counted: Mask,
    begins: Mask,
    *,
    fresh: bool,
    spellings: bool,
) -> Window:
    """The window that reads the symbols before ``positions`` (T, B) and predicts those at them.

    inside: where there is a symbol; counted: where its prediction counts; begins: where <bos> comes before it.
    """
    known = inside & ~begins
    before = np.where(known, positions - 1, 0)
    inputs = np.where(known, stream.take(before), np.where(begins, BOS, PAD))
    targets = np.where(counted, stream.take(np.where(inside, positions, 0)), PAD)
    spelled = None
    if spellings:
        letters = np.where(known[:, :, None], stream.take_spellings(before), 0)
        spelled = torch.from_numpy(letters.astype(np.int64))
    return Window(torch.from_numpy(inputs), torch.from_numpy(targets), None, fresh, spelled)
