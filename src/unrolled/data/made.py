"""Data that are made here, by name: the classical problems of long memory, and sentences whose verb must agree.

adding: two numbers among many are marked; what is their sum? (Hochreiter and Schmidhuber 1997) Who always says 1 has a
    squared error of 1/6, the variance of a sum of two numbers from U(0, 1).
copy: ten symbols, a long pause, a sign; which ten were they? (Hochreiter and Schmidhuber 1997; the sizes are those of
    Arjovsky, Shah and Bengio 2016)
agreement: see `agreement`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.agreement import AGREEMENT, agreement_path
from unrolled.data.labelled import Example
from unrolled.errors import UserError

MADE = {"agreement": "language-model", "adding": "classify", "copy": "tag"}
"""The task that each is for."""
COUNTS = (10_000, 1_000, 1_000)
"""Sequences for training, validation and test."""
COPIED, SIGNS = 10, 8
"""Symbols to remember, and of how many kinds they are."""
BLANK, NOW = "_", "?"
Pair = tuple[Any, str | tuple[str, ...]]


def check_made(made: str, task: str) -> None:
    """Refuse data that are made for another task.

    Raises:
        UserError: they are.
    """
    if MADE[made] != task:
        own = ", ".join(name for name, whose in MADE.items() if whose == task)
        raise UserError(
            f'data.made = "{made}" is for the task {MADE[made]}, and this is {task}'
            + (f', for which there is "{own}"' if own else ", for which nothing is made")
        )


def made_name(made: str, length: int) -> str:
    """What the data are called."""
    return AGREEMENT if made == "agreement" else f"the {made} problem, length {length:,} (made)"


def made_text(made: str) -> Path:
    """A file of text that was made, in the cache folder."""
    check_made(made, "language-model")
    return agreement_path()


def made_examples(made: str, length: int, seed: int = 0) -> tuple[tuple[Example, ...], ...]:
    """The examples of each part: the same for the same seed.

    Raises:
        UserError: they cannot be so short.
    """
    if length < 2:
        raise UserError(f"data.made_length = {length}: must be at least 2")
    make: Callable[[np.random.Generator, int], Pair] = {"adding": _adding, "copy": _copy}[made]
    draw = np.random.default_rng(seed)
    parts = []
    for count in COUNTS:
        pairs = (make(draw, length) for _ in range(count))
        parts.append(tuple(Example(x, y, line) for line, (x, y) in enumerate(pairs, start=1)))
    return tuple(parts)


def copy_baseline(length: int) -> float:
    """Nats a timestep of who remembers nothing: ten guesses among eight, and everything else is known."""
    return COPIED * math.log(SIGNS) / (length + 2 * COPIED)


def _adding(draw: np.random.Generator, length: int) -> Pair:
    """(T, 2): a number from U(0, 1), and whether it counts: one of each half does. The sum of the two."""
    frames = np.zeros((length, 2), dtype=np.float32)
    frames[:, 0] = draw.random(length)
    chosen = [int(draw.integers(0, length // 2)), int(draw.integers(length // 2, length))]
    frames[chosen, 1] = 1
    return frames, f"{float(frames[chosen, 0].sum()):.6f}"


def _copy(draw: np.random.Generator, length: int) -> Pair:
    """Ten signs, T - 1 blanks, "?" and ten more blanks; to be labelled with T + 10 blanks and the ten signs."""
    signs = tuple(str(sign) for sign in draw.integers(0, SIGNS, COPIED))
    return (
        (*signs, *[BLANK] * (length - 1), NOW, *[BLANK] * COPIED), (*[BLANK] * (length + COPIED), *signs)
    )  # fmt: skip
