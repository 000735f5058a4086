"""When which row runs, and where its numbers lie: tables that free the kernels from direction, strides and lengths.

Rows of the batch are sorted by length, the longest first, and steps are counted in the order of running. The active
rows of all steps, one after the other, are the entries of the tables of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """The tables of one direction, int64.

    Attributes:
        steps, batch: how many timesteps and rows.
        order: (B,) the user's row at each place, or None if rows are as they were.
        counts: (T,) active rows of each step. first: (T + 1,) the entry at which each step begins.
        entry, exit: (B,) the step before which a row's initial state is there, and its last step plus 1.
        time, row: (N,) the timestep and the user's row of each entry. inner: (N,) step · B + place.
        nonempty: how many rows have a timestep at all.
        ragged: whether some row is shorter than T.
    """

    steps: int
    batch: int
    order: Tensor | None
    counts: Tensor
    first: Tensor
    entry: Tensor
    exit: Tensor
    time: Tensor
    row: Tensor
    inner: Tensor
    nonempty: int
    ragged: bool

    @property
    def active(self) -> int:
        """The number of entries."""
        return self.inner.shape[0]

    def places(self, time_stride: int, row_stride: int) -> Tensor:
        """(N,) where each entry's vector begins, in a tensor with these strides."""
        return self.time * time_stride + self.row * row_stride

    def sorted(self, value: Tensor) -> Tensor:
        """(B, ...) from the user's order to the kernel's, side by side in memory."""
        return (value if self.order is None else value.index_select(0, self.order)).contiguous()

    def restored(self, value: Tensor) -> Tensor:
        """(B, ...) from the kernel's order to the user's."""
        return value if self.order is None else torch.empty_like(value).index_copy_(0, self.order, value)

    def part(self, start: int, stop: int) -> Schedule:
        """Some of the steps, as a schedule of its own; rows that are not active in it only pass through."""
        begin, end = int(self.first[start]), int(self.first[stop])
        entry, exit = (self.entry - start).clamp(0, stop - start), (self.exit - start).clamp(0, stop - start)
        return Schedule(
            stop - start, self.batch, self.order, self.counts[start:stop], self.first[start : stop + 1] - begin,
            entry, exit,
            self.time[begin:end], self.row[begin:end], self.inner[begin:end] - start * self.batch,
            int((entry < exit).sum()), self.ragged,
        )  # fmt: skip


def schedule_of(steps: int, batch: int, lengths: Tensor | None, reverse: bool) -> Schedule:
    """The tables of one direction of a layer."""
    lengths = None if lengths is None else lengths.long()  # kernels read int64, whatever type these have
    if lengths is None or bool((lengths >= steps).all()):
        return _even(steps, batch, reverse)
    sorted_lengths, order = lengths.sort(descending=True, stable=True)
    time = torch.arange(steps - 1, -1, -1, device="cpu") if reverse else torch.arange(steps, device="cpu")
    active = sorted_lengths > time.unsqueeze(1)
    step, place = active.nonzero(as_tuple=True)
    counts = active.sum(1)
    nothing = torch.zeros_like(sorted_lengths)
    return Schedule(
        steps, batch, order, counts, torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        steps - sorted_lengths if reverse else nothing, nothing + steps if reverse else sorted_lengths,
        time[step], order[place], step * batch + place, int((sorted_lengths > 0).sum()), True,
    )  # fmt: skip


@lru_cache(maxsize=32)
def _even(steps: int, batch: int, reverse: bool) -> Schedule:
    inner = torch.arange(steps * batch, device="cpu")  # whatever torch.set_default_device says
    time = inner // max(batch, 1)
    return Schedule(
        steps, batch, None, torch.full((steps,), batch, device="cpu"), torch.arange(steps + 1, device="cpu") * batch,
        torch.zeros(batch, dtype=torch.int64, device="cpu"), torch.full((batch,), steps, device="cpu"),
        steps - 1 - time if reverse else time, inner % max(batch, 1), inner, batch if steps else 0, False,
    )  # fmt: skip


@lru_cache(maxsize=128)
def even_places(steps: int, batch: int, reverse: bool, time_stride: int, row_stride: int) -> Tensor:
    """`places` of a schedule without lengths, kept."""
    return _even(steps, batch, reverse).places(time_stride, row_stride)
