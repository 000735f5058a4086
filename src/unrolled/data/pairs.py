"""Sequences to be written, alone or each beside a source: as numbers, in batches. What files hold is in `labelled`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.batches import Ids, MixedBatches, in_order, padded, spread
from unrolled.data.examples import encoded, pieces_of, spelt
from unrolled.data.labelled import Example
from unrolled.data.vocabulary import BOS, EOS, UNK, Vocabulary

AT_ONCE = 20_000
"""Timesteps, of the longer side, that a batch of a measurement has at most."""


@dataclass(frozen=True)
class PairBatch:
    """Sources and targets side by side.

    Attributes:
        source: (S, B) ids. lengths: (B,). spellings: (S, B, 16) or None.
        inputs: (T, B) what the decoder reads: <bos>, then the target.
        targets: (T, B) the target, then <eos>; 0 past it.
        numbers: (B,) which pairs of their part these are.
    """

    source: Tensor
    lengths: Tensor
    spellings: Tensor | None
    inputs: Tensor
    targets: Tensor
    numbers: Ids
    fresh: bool = True

    @property
    def counted(self) -> int:
        """How many symbols are predicted, <eos> counted."""
        return int((self.targets != 0).sum())

    def to(self, device: torch.device) -> PairBatch:
        """The same on a device."""
        spellings = None if self.spellings is None else self.spellings.to(device)
        return replace(
            self, source=self.source.to(device), lengths=self.lengths.to(device), spellings=spellings,
            inputs=self.inputs.to(device), targets=self.targets.to(device),
        )  # fmt: skip

    def arguments(self, state: object) -> tuple[Any, ...]:
        """What a translator takes: it has no state to go on with."""
        return self.source, self.lengths, self.inputs, self.targets, self.spellings


@dataclass(frozen=True)
class PairPart:
    """Pairs as numbers.

    Attributes:
        name: for messages. examples: as they were read.
        sources: (S,) ids of each. spellings: (S, 16) of its words, where words are spelt.
        targets: (T,) ids of each, <eos> at the end; of a source alone <eos> only.
        target: the vocabulary of these.
    """

    name: str
    examples: tuple[Example, ...]
    sources: list[NDArray[np.int64]]
    spellings: list[NDArray[np.int64]] | None
    targets: list[NDArray[np.int64]]
    target: Vocabulary

    @cached_property
    def counted(self) -> int:
        """How many symbols are predicted, <eos> counted."""
        return sum(map(len, self.targets))

    def __len__(self) -> int:
        return self.counted

    @cached_property
    def lengths(self) -> Ids:
        """(N,) timesteps of the longer side of each pair: what it takes up in a batch."""
        return np.array([max(len(x), len(y)) for x, y in zip(self.sources, self.targets, strict=True)], dtype=np.int64)

    def batch(self, numbers: Ids) -> PairBatch:
        """Some pairs side by side."""
        rows = numbers.tolist()
        source = torch.from_numpy(padded([self.sources[row] for row in rows]))
        spellings = None
        if self.spellings is not None:
            spellings = torch.from_numpy(padded([self.spellings[row] for row in rows]))
        lengths = torch.tensor([len(self.sources[row]) for row in rows])
        targets = torch.from_numpy(padded([self.targets[row] for row in rows]))
        return PairBatch(source, lengths, spellings, shifted(targets), targets, numbers)

    def sample(self, share: float) -> PairPart:
        """A share of the pairs, evenly spread."""
        rows = spread(len(self.examples), share).tolist()
        return PairPart(
            self.name, tuple(self.examples[row] for row in rows), [self.sources[row] for row in rows],
            None if self.spellings is None else [self.spellings[row] for row in rows],
            [self.targets[row] for row in rows], self.target,
        )  # fmt: skip

    def batches(self, *, batch: int, seed: int, rank: int = 0, world: int = 1) -> MixedBatches[PairBatch]:
        """What to train on."""
        return MixedBatches(self.lengths, self.batch, batch=batch, seed=seed, rank=rank, world=world)

    def whole(self, batch: int = 64, most: int = AT_ONCE) -> Iterator[PairBatch]:
        """Every pair once, for measuring."""
        for numbers in in_order(self.lengths, batch, most):
            yield self.batch(numbers)


def batch_of_one(*, spell: bool) -> PairBatch:
    """A pair of one timestep each, to try a model on."""
    one = torch.full((1, 1), UNK)
    spellings = torch.zeros(1, 1, 1, dtype=torch.int64) if spell else None
    return PairBatch(one, torch.ones(1, dtype=torch.int64), spellings, one, one, np.zeros(1, dtype=np.int64))


def shifted(targets: Tensor) -> Tensor:
    """(T, B) what is read before each target: <bos>, then the target itself; 0 past its end.

    >>> import torch
    >>> shifted(torch.tensor([[7, 9], [8, 3], [3, 0]]))
    tensor([[2, 2],
            [7, 9],
            [8, 0]])
    """
    start = torch.full_like(targets[:1], BOS)
    return torch.cat([start, targets[:-1]]) * (targets != 0)


def pairs_of(
    name: str, examples: Sequence[Example], source: Vocabulary, target: Vocabulary, *, spell: bool
) -> PairPart:
    """Texts and the texts they become, as numbers."""
    sources = [encoded(source, example.x) for example in examples]
    spellings = [spelt(source, example.x) for example in examples] if spell else None
    targets = [ended(target, example.y) for example in examples]
    return PairPart(name, tuple(examples), sources, spellings, targets, target)


def ended(vocabulary: Vocabulary, text: Any) -> NDArray[np.int64]:
    """(T + 1,) ids of a text, and <eos>; of None <eos> alone."""
    ids = [] if text is None else [vocabulary.ids.get(symbol, UNK) for symbol in pieces_of(vocabulary, text)]
    return np.array([*ids, EOS], dtype=np.int64)
