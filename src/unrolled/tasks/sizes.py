"""How large a model should be that nobody chose the size of: from the time it has and the data that it learns from.

Measured on texts of 1 to 5 MB: in a given time the best LSTM sees some `SYMBOLS_PER_PARAMETER` symbols for each of its
parameters. A larger one has not learned enough by then, a smaller one cannot learn more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled.training.recipe import Recipe

FLOPS = 1.0e11
"""Floating-point operations that training does in a second on one core: some 80 % of the peak of AVX-512."""
FLOPS_PER_PARAMETER = 6
"""For each symbol: two forwards, four backwards."""
SYMBOLS_PER_PARAMETER = 16
LEARNING_SHARE = 0.8
"""The share of a run's time that goes into updates."""
SIZES = (64, 96, 128, 192, 256, 320, 384, 448, 512, 640)
LARGEST_LEARNING_RATE = 8e-3


def fitted(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with {"section.key": value}, except where somebody chose that key."""
    changed: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if not recipe.has_chosen(name):
            section, _, key = name.partition(".")
            changed.setdefault(section, {})[key] = value
    sections = {name: replace(getattr(recipe, name), **keys) for name, keys in changed.items()}
    return replace(recipe, **sections)


def symbol_model(recipe: Recipe, *, symbols: int, vocabulary: int, seconds: float, cores: int) -> Recipe:
    """The recipe of a model of the next symbol, with sizes for its time and its text.

    Args:
        symbols: of the training part. vocabulary: V.
        seconds, cores: what the run has.
    """
    operations = LEARNING_SHARE * seconds * cores * FLOPS / FLOPS_PER_PARAMETER
    parameters = math.sqrt(operations / SYMBOLS_PER_PARAMETER)
    embedding = 64 if vocabulary < 1_000 else 128
    layers = 1 if recurrent_parameters(SIZES[-1], embedding, 1) > parameters else 2
    layers = recipe.model.layers if recipe.has_chosen("model.layers") else layers
    fitting = [size for size in SIZES if recurrent_parameters(size, embedding, layers) <= parameters]
    hidden = recipe.model.hidden if recipe.has_chosen("model.hidden") else max(fitting, default=SIZES[0])
    passes = operations / recurrent_parameters(hidden, embedding, layers) / max(1, symbols)
    return fitted(
        recipe,
        {
            "model.hidden": hidden,
            "model.layers": layers,
            "model.embedding": embedding,
            "model.dropout": 0.0 if passes < 6 else 0.2 if passes < 20 else 0.4,
            "model.softmax": "adaptive" if vocabulary > 10_000 else "full",
            "training.batch": 16,
            "training.window": 64,
            "training.learning_rate": float(f"{min(LARGEST_LEARNING_RATE, 6e-3 * math.sqrt(192 / hidden)):.2g}"),
            "training.warmup": 50,
        },
    )


SHORT, MEDIUM = 150.0, 600.0
"""Core-seconds: a run that has less is short, or of medium length."""


FEW = 6_000
"""Sentences: of fewer a tagger sees each often enough in small batches."""


def tagger(recipe: Recipe, *, sentences: int, seconds: float, cores: int) -> Recipe:
    """The recipe of a tagger with sizes for its time: the shorter, the smaller; with few sentences more updates."""
    work = seconds * cores
    if work >= MEDIUM:
        return fitted(recipe, {"training.average": 0.995})
    short = work < SHORT
    values = {
        "model.hidden": 64 if short else 128,
        "model.embedding": 64 if short else 100,
        "training.batch": 16 if sentences < FEW else 32,
        "training.learning_rate": 4e-3 if short else 3e-3,
        "training.average": 0.99,
    }
    if recipe.model.characters:
        values["model.characters"] = 32 if short else 50
    return fitted(recipe, values)


def classifier(recipe: Recipe, *, words: bool, seconds: float, cores: int) -> Recipe:
    """The recipe of a classifier with sizes for its time.

    words: whether it reads words, which tell their class better than their order does: they start with what counting
        knows of them, and all timesteps count alike.
    """
    short = seconds * cores < SHORT
    values: dict[str, Any] = {"model.hidden": 64 if short else 100, "training.average": 0.995}
    if words:
        values |= {
            "model.embedding": 100,
            "model.embedding_scale": 0.1,
            "model.embedding_start": "ratios",
            "model.pooling": "mean",
            "model.dropout": 0.5,
            "model.embedding_dropout": 0.5,
            "training.learning_rate": 2e-3,
        }
    return fitted(recipe, values)


def recurrent_parameters(hidden: int, inputs: int, layers: int) -> int:
    """The parameters of an LSTM of so many units."""
    return 4 * hidden * (hidden + inputs) + (layers - 1) * 8 * hidden * hidden
