"""Texts drawn from a model of the next symbol, whatever else the model knows: what `sample` is for every task."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

import torch
from torch import Tensor

from unrolled.arguments import MOST_SEED, whole
from unrolled.data.vocabulary import EOS, PAD, UNK, Vocabulary
from unrolled.decoding.sampling import Sampler, Step, sample

LENGTH = 500
MOST_ROWS = 1_000_000


class How(TypedDict, total=False):
    """How texts are drawn; what is left out is the first value.

    temperature: 1; below 1 safer, above 1 bolder; 0 always takes the most probable symbol.
    top_k: 0, all; or draw from the k most probable symbols only.
    top_p: 1, all; or draw from the fewest symbols that have this much probability together.
    min_p: 0, all; or draw only symbols at least this many times as probable as the likeliest.
    repetition: 1, as the model says; more makes symbols that were drawn already less likely.
    length: 500; at most so many symbols; a model whose sequences end may end before.
    seed: the same seed draws the same sequence; None draws a new one.
    reject_unknown: true; draw again instead of <unk>.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition: float
    length: int
    seed: int | None
    reject_unknown: bool


def sampler_of(ends: bool, how: How) -> Sampler:
    """The settings of `How` for the decoder."""
    never = [] if ends else [EOS]  # running text has no <eos>: what a young model gives it is noise
    return Sampler(
        how.get("temperature", 1.0), how.get("top_k", 0), how.get("top_p", 1.0),
        frozenset([*never, UNK] if how.get("reject_unknown", True) else never),
        min_p=how.get("min_p", 0.0), repetition=how.get("repetition", 1.0),
    )  # fmt: skip


def generator_of(how: How) -> torch.Generator:
    """The source of randomness that `How.seed` means."""
    seed = how.get("seed")
    return torch.Generator().manual_seed(secrets.randbits(63) if seed is None else whole("seed", seed, 0, MOST_SEED))


def drawn(
    step: Step[Any], state: Any, first: Tensor, *, settings: Sampler, how: How, ends: bool, generator: torch.Generator
) -> Iterator[Tensor]:
    """The symbols (N,) of each timestep after `first` (N,)."""
    return sample(
        step, state, first, settings=settings, length=how.get("length", LENGTH), end=EOS if ends else None,
        generator=generator,
    )  # fmt: skip


def rows_of(columns: Iterable[Tensor]) -> list[list[int]]:
    """Each row's symbols, without those past its end."""
    return [[s for s in row if s != PAD] for row in zip(*(symbols.tolist() for symbols in columns), strict=True)]


def check_count(count: int) -> None:
    """Refuse to draw nothing, and more than fits side by side."""
    whole("count", count, 1, MOST_ROWS)


class Spoken:
    """The text of symbols as they come, never half a character: what is new when all of them are decoded."""

    def __init__(self, vocabulary: Vocabulary, prefix: str = "") -> None:
        self._vocabulary = vocabulary
        self._ids = vocabulary.encode(prefix)[-1:] if prefix else []
        self._given = len(vocabulary.decode(self._ids))

    def add(self, symbol: int) -> str:
        """The text that another symbol adds; "" where it is perhaps half a character."""
        self._ids.append(symbol)
        text = self._vocabulary.decode(self._ids)
        if self._vocabulary.level in ("byte", "bpe") and text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""  # perhaps a character whose other bytes are still to come
        new = text[self._given :]
        # Forget all but the last symbol: decoding stays cheap however long the sequence is.
        self._ids = self._ids[-1:]
        self._given = len(self._vocabulary.decode(self._ids))
        return new

    def rest(self) -> str:
        """What was held back, when no more symbols come."""
        return self._vocabulary.decode(self._ids)[self._given :]


def text_of(vocabulary: Vocabulary, prefix: str, symbols: Iterable[int]) -> Iterator[str]:
    """The text of symbols as they come, up to <eos>, piece by piece."""
    spoken = Spoken(vocabulary, prefix)
    for symbol in symbols:
        if symbol == EOS:
            break
        if text := spoken.add(symbol):
            yield text
    if rest := spoken.rest():
        yield rest
