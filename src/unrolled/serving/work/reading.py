"""Language models and generators: read symbols, piece by piece, and say what was wanted of each timestep."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.decoding.scores import Candidate
from unrolled.serving.loaded import Loaded, Rows
from unrolled.serving.scheduler import Row
from unrolled.serving.work.piece import Seen, lengths_of, run_piece

Ids = NDArray[np.int64]
Numbers = NDArray[np.float32]
NUMBERS = 8_000_000
"""Log-probabilities that are in memory at once."""


Said = tuple[list[float], list[float], list[list[Candidate]]]
"""Of a piece: log-probabilities of targets, entropies, candidates."""


@dataclass(eq=False)
class Reading(Row):
    """Symbols to be read.

    Attributes:
        symbols: what the model reads, (T,). spellings: (T, C) of words, where the model spells them.
        targets: what follows each symbol, where its log-probability is wanted; its last may be missing.
        top: so many candidates for what follows: after each symbol (`every`), or only after the last.
        entropies: whether how unsure the model was is wanted, too.
        state: before the first symbol. output: the recurrence's output there, where there is one.
        observe: whether gates and states are wanted.
    """

    loaded: Loaded
    symbols: list[int]
    state: Rows
    spellings: list[list[int]] | None = None
    targets: list[int] = field(default_factory=list)
    top: int = 0
    every: bool = False
    entropies: bool = False
    output: Tensor | None = None
    observe: bool = False
    place: int = 0
    logs: list[float] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)
    candidates: list[list[Candidate]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = np.asarray(self.symbols, dtype=np.int64)
        self._aims = np.asarray(self.targets, dtype=np.int64)

    @property
    def left(self) -> int:
        """Timesteps to be read."""
        return len(self.symbols) - self.place

    @property
    def group(self) -> Hashable:
        return self.loaded.key, "read", self.left == 1, self.observe

    @property
    def size(self) -> int:
        return 1

    @property
    def turn(self) -> Callable[[Sequence[Any], int], None]:
        return read

    def through(self) -> None:
        """All is read."""
        self.done = True

    def wanted(self, start: int, steps: int) -> range:
        """Of which of the timesteps from `start` on the distribution over what follows is wanted."""
        if self.targets or self.every:
            return range(steps)
        through = start + steps == len(self.symbols)
        return range(steps - 1, steps) if self.top and through else range(0)

    def ids(self, length: int) -> Ids:
        """The symbols that are read next."""
        return self._ids[self.place : self.place + length]

    def aims(self, start: int, count: int) -> Ids:
        """So many targets from a place on; -1 where there are none."""
        found = np.full(count, -1)
        own = self._aims[start : start + count]
        found[: len(own)] = own
        return found

    def answer(self) -> Reading:
        return self


def read(rows: Sequence[Reading], most: int) -> None:
    """A turn of rows that read."""
    loaded = rows[0].loaded
    model, lengths = loaded.model, lengths_of(rows, most)
    vectors = model.vectors(*_inputs(rows, lengths, max(lengths), loaded.run.device))
    outputs, states, seen = run_piece(model.recurrent, rows, vectors, lengths)
    said = _said(rows, lengths, outputs)
    ends = _ends(outputs, lengths)
    for column, (row, steps) in enumerate(zip(rows, lengths, strict=True)):
        if seen is not None:
            row.seen.append(seen[column])
        logs, entropies, candidates = said[column]
        row.logs += logs
        row.entropy += entropies
        row.candidates += candidates
        row.state, row.output = states[column], ends[column]
        row.place += steps
        if not row.left:
            row.through()
    loaded.read(sum(lengths))


def _ends(outputs: Tensor, lengths: list[int]) -> tuple[Tensor, ...]:
    """Each row's last output."""
    if min(lengths) == len(outputs):
        return outputs[-1].unbind(0)
    return outputs[torch.tensor(lengths) - 1, torch.arange(len(lengths))].unbind(0)


def _inputs(
    rows: Sequence[Reading], lengths: list[int], steps: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    ids = np.zeros((steps, len(rows)), dtype=np.int64)
    spelt = None
    for column, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        ids[:length, column] = row.ids(length)
        if row.spellings is not None:
            own = torch.tensor(row.spellings[row.place : row.place + length])
            spelt = torch.zeros(steps, len(rows), own.shape[1], dtype=torch.int64) if spelt is None else spelt
            spelt[:length, column] = own
    return torch.from_numpy(ids).to(device), None if spelt is None else spelt.to(device)


class _Asked(NamedTuple):
    """What is wanted of a row in a turn.

    Attributes:
        steps: the timesteps of the piece after which something is wanted.
        carried: whether also after the output that the piece before ended with; that is then the first.
        aims: of each, the symbol whose log-probability is wanted; -1: of none.
        named: of each, whether the most probable symbols are wanted.
    """

    steps: Ids
    carried: bool
    aims: Ids
    named: NDArray[np.bool_]

    @classmethod
    def of(cls, row: Reading, length: int) -> _Asked:
        wanted = row.wanted(row.place, length)
        ahead = 1 if row.every else 0  # a stream's targets are the symbols themselves, one before what follows
        # a stream's first target follows the output that the piece before ended with
        carried = row.every and row.place == 0 and row.output is not None and bool(row.targets)
        count = len(wanted) + carried
        aims = row.aims(row.place + wanted.start + ahead - carried, count)
        named = np.full(count, bool(row.top) and row.every)
        named[:carried] = False
        if row.top and len(wanted) and row.place + wanted.stop == len(row.symbols):
            named[-1] = True
        return cls(np.arange(wanted.start, wanted.stop), carried, aims, named)


def _said(rows: Sequence[Reading], lengths: list[int], outputs: Tensor) -> list[Said]:
    """Of each row the log-probabilities, the entropies and the candidates that are wanted of the piece."""
    asked = [_Asked.of(row, length) for row, length in zip(rows, lengths, strict=True)]
    vectors, places = outputs.flatten(0, 1), []
    carried = [row.output for row, own in zip(rows, asked, strict=True) if own.carried and row.output is not None]
    following = len(vectors)
    for column, own in enumerate(asked):
        if own.carried:
            places.append(np.array([following]))
            following += 1
        places.append(own.steps * len(rows) + column)
    chosen = np.concatenate(places)
    if not len(chosen):
        return [([], [], []) for _ in rows]
    if carried:
        vectors = torch.cat([vectors, torch.stack(carried)])
    flat = vectors[torch.from_numpy(chosen).to(vectors.device)]
    aims, named = (np.concatenate([getattr(own, key) for own in asked]) for key in ("aims", "named"))
    top = max((row.top for row, own in zip(rows, asked, strict=True) if own.named.any()), default=0)
    logs, unsure, best = _numbers(rows[0].loaded.model, flat, aims, named, top, any(row.entropies for row in rows))
    found: list[Said] = []
    start = first = 0
    for row, own in zip(rows, asked, strict=True):
        end, hits = start + len(own.aims), own.aims >= 0
        count = int(own.named.sum())
        entropies = unsure[start:end][hits].tolist() if row.entropies else []
        candidates = [
            row.loaded.candidates(zip(ids[: row.top], shares[: row.top], strict=True))
            for ids, shares in best[first : first + count]
        ]
        found.append((logs[start:end][hits].tolist(), entropies, candidates))
        start, first = end, first + count
    return found


def _numbers(
    model: Any, flat: Tensor, aims: Ids, named: NDArray[np.bool_], top: int, entropies: bool
) -> tuple[Numbers, Numbers, list[tuple[list[int], list[float]]]]:
    """Of outputs (N, H): log-probabilities (N,) of the symbols wanted; entropies (N,) in bits, or none; and of what is
    named the ids and probabilities of the best."""
    logs, unsure, best = [], [], list[tuple[list[int], list[float]]]()
    size = max(1, NUMBERS // model.vocabulary)
    for start in range(0, len(flat), size):
        part = slice(start, start + size)
        own = model.after_outputs(flat[part]).cpu()
        numbers = own.numpy()  # of few symbols a turn numpy takes half of the time that torch does
        logs.append(numbers[np.arange(len(numbers)), aims[part].clip(min=0)])
        if entropies:
            shares = np.exp(numbers)
            products = np.multiply(shares, numbers, where=shares > 0, out=np.zeros_like(shares))
            unsure.append(-products.sum(-1) / math.log(2))
        if top and named[part].any():
            found = own[torch.from_numpy(named[part])].exp().topk(min(top, own.shape[-1]))
            best += zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return np.concatenate(logs), np.concatenate(unsure) if unsure else np.empty(0, np.float32), best
