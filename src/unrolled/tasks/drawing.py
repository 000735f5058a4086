"""Texts drawn from a model of the next symbol, whatever else the model knows: what `sample` is for every task."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

import torch
from torch import Tensor

from unrolled.data.vocabulary import EOS, PAD, UNK, Vocabulary
from unrolled.decoding.sampling import Sampler, Step, sample
from unrolled.errors import UserError

LENGTH = 500


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
    return torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed)


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
    """Refuse to draw nothing."""
    if count < 1:
        raise UserError(f"count {count}: must be at least 1")


def text_of(vocabulary: Vocabulary, prefix: str, symbols: Iterable[int]) -> Iterator[str]:
    """The text of symbols as they come, never half a character: what is new when all of them are decoded."""
    before = vocabulary.encode(prefix)[-1:] if prefix else []
    ids = list(before)
    given = len(vocabulary.decode(ids))
    for symbol in symbols:
        if symbol == EOS:
            break
        ids.append(symbol)
        text = vocabulary.decode(ids)
        if vocabulary.level in ("byte", "bpe") and text.endswith("\N{REPLACEMENT CHARACTER}"):
            continue  # perhaps a character whose other bytes are still to come
        yield text[given:]
        # Forget all but the last symbol: decoding stays cheap however long the sequence is.
        ids = ids[-1:]
        given = len(vocabulary.decode(ids))
    if rest := vocabulary.decode(ids)[given:]:
        yield rest
