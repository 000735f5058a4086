"""Drawing novel sequences: a timestep of many requests in one call, each with its own settings and randomness."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unrolled.data.vocabulary import EOS
from unrolled.decoding.sampling import Sampler, chosen, distribution
from unrolled.decoding.scores import Candidate
from unrolled.serving.loaded import stacked, stepped, unstacked
from unrolled.serving.work.reading import Reading
from unrolled.tasks.drawing import Spoken

UNREAD = 64
"""Symbols that may be drawn ahead of a slow reader."""


@dataclass(frozen=True)
class Drawn:
    """One symbol that was drawn: the text that it adds, its probability in the model, and what else might have come."""

    text: str
    shown: str
    probability: float
    alternatives: list[Candidate]


@dataclass(eq=False)
class Drawing(Reading):
    """A sequence to be drawn; first its prefix is read, but for its last symbol, with which drawing begins.

    Attributes:
        settings, generator, length: how, by which randomness, and how many symbols at most.
        ends: whether <eos> ends it. alternatives: how many to name for each symbol.
        unread: what was drawn and not fetched yet; None where only the whole is wanted.
    """

    settings: Sampler = field(default_factory=Sampler)
    generator: torch.Generator = field(default_factory=torch.Generator)
    length: int = 500
    ends: bool = False
    alternatives: int = 0
    spoken: Spoken | None = None
    last: int = 0
    last_spelling: list[int] | None = None
    unread: deque[Drawn] | None = None
    drawn: list[int] = field(default_factory=list)
    text: str = ""

    @property
    def group(self) -> Hashable:
        return super().group if self.left else (self.loaded.key, "draw", self.last_spelling is None)

    @property
    def turn(self) -> Callable[[Sequence[Any], int], None]:
        return super().turn if self.left else draw

    def through(self) -> None:
        """The prefix is read; drawing begins. Its turns so far may have been shared with rows that only read."""

    @property
    def blocked(self) -> bool:
        return self.unread is not None and len(self.unread) >= UNREAD

    @property
    def reason(self) -> str:
        """Why it ended."""
        return "end" if self.drawn and self.drawn[-1] == EOS and self.ends else "length"

    def answer(self) -> Any:
        return self


def draw(rows: Sequence[Drawing], most: int) -> None:
    """A turn of rows that draw: one symbol each."""
    loaded = rows[0].loaded
    model = loaded.model
    symbols = torch.tensor([[row.last for row in rows]], device=loaded.run.device)
    spelt = None
    if rows[0].last_spelling is not None:
        spelt = torch.tensor([[row.last_spelling for row in rows]], device=loaded.run.device)
    outputs, after = stepped(model.recurrent, model.vectors(symbols, spelt), stacked([row.state for row in rows]))
    logs = model.after_outputs(outputs[0]).cpu()
    ids = _ids(rows, logs)
    own = logs.gather(-1, torch.tensor(ids).unsqueeze(-1)).exp().squeeze(-1).tolist()
    states = unstacked(after, len(rows))
    named = _alternatives(rows, logs)
    for column, row in enumerate(rows):
        row.state, row.last, row.last_spelling = states[column], ids[column], None
        row.drawn.append(ids[column])
        _say(row, ids[column], own[column], named[column])
    loaded.read(len(rows))


def _say(row: Drawing, symbol: int, probability: float, alternatives: list[Candidate]) -> None:
    assert row.spoken is not None
    ended = row.ends and symbol == EOS
    row.done = ended or len(row.drawn) >= row.length
    text = "" if ended else row.spoken.add(symbol)
    if row.done and not text:
        text = row.spoken.rest()
    row.text += text
    if row.unread is not None:
        row.unread.append(Drawn(text, row.loaded.shown(symbol), probability, alternatives))


def _ids(rows: Sequence[Drawing], logs: Tensor) -> list[int]:
    """Each row's symbol: rows of like settings together, each with the numbers that it would draw alone."""
    alike: dict[Sampler, list[int]] = {}
    for column, row in enumerate(rows):
        alike.setdefault(row.settings, []).append(column)
    # All that can fail comes before the first draw: when a turn fails no row has changed.
    shares = torch.empty(logs.shape, dtype=torch.float64)
    for settings, columns in alike.items():
        shares[columns] = _shares([rows[column] for column in columns], logs[columns], settings)
    uniform = torch.cat([torch.rand(1, 1, generator=row.generator, dtype=torch.float64) for row in rows])
    ids: list[int] = chosen(shares, uniform).tolist()
    return ids


def _shares(rows: Sequence[Drawing], logs: Tensor, settings: Sampler) -> Tensor:
    """The probabilities that rows of the same settings draw from, (B, V)."""
    if settings.repetition == 1:
        return distribution(logs, settings)
    pasts = [torch.tensor([row.drawn], dtype=torch.int64) for row in rows]  # of several lengths
    return torch.cat([distribution(own.unsqueeze(0), settings, past) for own, past in zip(logs, pasts, strict=True)])


def _alternatives(rows: Sequence[Drawing], logs: Tensor) -> list[list[Candidate]]:
    most = max(row.alternatives for row in rows)
    if not most:
        return [[] for _ in rows]
    best = logs.exp().topk(min(most, logs.shape[-1]))
    ids, values = best.indices.tolist(), best.values.tolist()
    return [
        row.loaded.candidates(zip(ids[n][: row.alternatives], values[n][: row.alternatives], strict=True))
        for n, row in enumerate(rows)
    ]
