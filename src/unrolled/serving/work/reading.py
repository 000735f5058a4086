"""Language models and generators: read symbols, piece by piece, and say what was wanted of each timestep."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unrolled.decoding.scores import Candidate
from unrolled.serving.loaded import Loaded, Rows
from unrolled.serving.scheduler import Row
from unrolled.serving.work.piece import Seen, lengths_of, run_piece

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

    def answer(self) -> Reading:
        return self


def read(rows: Sequence[Reading], most: int) -> None:
    """A turn of rows that read."""
    loaded = rows[0].loaded
    model, lengths = loaded.model, lengths_of(rows, most)
    vectors = model.vectors(*_inputs(rows, lengths, max(lengths), loaded.run.device))
    outputs, states, seen = run_piece(model.recurrent, rows, vectors, lengths)
    said = _said(rows, lengths, outputs)
    for column, (row, steps) in enumerate(zip(rows, lengths, strict=True)):
        if seen is not None:
            row.seen.append(seen[column])
        logs, entropies, candidates = said[column]
        row.logs += logs
        row.entropy += entropies
        row.candidates += candidates
        row.state, row.output = states[column], outputs[steps - 1, column].clone()
        row.place += steps
        if not row.left:
            row.through()
    loaded.read(sum(lengths))


def _inputs(
    rows: Sequence[Reading], lengths: list[int], steps: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    ids = torch.zeros(steps, len(rows), dtype=torch.int64)
    spelt = None
    for column, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        ids[:length, column] = torch.tensor(row.symbols[row.place : row.place + length])
        if row.spellings is not None:
            own = torch.tensor(row.spellings[row.place : row.place + length])
            spelt = torch.zeros(steps, len(rows), own.shape[1], dtype=torch.int64) if spelt is None else spelt
            spelt[:length, column] = own
    return ids.to(device), None if spelt is None else spelt.to(device)


def _said(rows: Sequence[Reading], lengths: list[int], outputs: Tensor) -> list[Said]:
    """Of each row the log-probabilities of its targets, the entropies and the candidates that are wanted of the piece.

    A stream's first target follows the output that the piece before ended with.
    """
    vectors: list[Tensor] = []
    wanted: list[tuple[int, int, bool]] = []  # row, target or -1, whether candidates are wanted
    for column, (row, steps) in enumerate(zip(rows, lengths, strict=True)):
        if row.place == 0 and row.output is not None and row.targets:
            vectors.append(row.output.unsqueeze(0))
            wanted.append((column, row.targets[0], False))
        ahead = 1 if row.every else 0  # a stream's targets are the symbols themselves, one before what follows
        places = row.wanted(row.place, steps)
        if places:
            vectors.append(outputs[places.start : places.stop, column])
        for step in places:
            number = row.place + step + ahead
            target = row.targets[number] if number < len(row.targets) else -1
            last = row.place + step == len(row.symbols) - 1
            wanted.append((column, target, bool(row.top) and (row.every or last)))
    found: list[Said] = [([], [], []) for _ in rows]
    if not wanted:
        return found
    model, flat = rows[0].loaded.model, torch.cat(vectors)
    size = max(1, NUMBERS // model.vocabulary)
    for start in range(0, len(flat), size):
        part = wanted[start : start + size]
        _say(rows, part, model.after_outputs(flat[start : start + size]), found)
    return found


def _say(
    rows: Sequence[Reading], wanted: list[tuple[int, int, bool]], logs: Tensor, found: list[Said]
) -> None:  # fmt: skip
    targets = torch.tensor([max(target, 0) for _, target, _ in wanted], device=logs.device)
    own = logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).tolist()
    top = max((rows[column].top for column, _, candidates in wanted if candidates), default=0)
    entropies = any(rows[column].entropies for column, _, _ in wanted)
    shares = logs.exp() if top or entropies else logs
    best = shares.topk(min(top, shares.shape[-1])) if top else None
    unsure: list[float] = []
    if entropies:
        unsure = (-torch.where(shares > 0, shares * logs, 0.0).sum(-1) / math.log(2)).tolist()
    ids, values = ([], []) if best is None else (best.indices.tolist(), best.values.tolist())
    for place, (column, target, candidates) in enumerate(wanted):
        row = rows[column]
        if target >= 0:
            found[column][0].append(own[place])
            if row.entropies:
                found[column][1].append(unsure[place])
        if candidates:
            pairs = zip(ids[place][: row.top], values[place][: row.top], strict=True)
            found[column][2].append(row.loaded.candidates(pairs))
