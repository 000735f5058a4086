"""Starting from what was learned elsewhere: another run's weights, those of its encoder, or word vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from unrolled.data.examples import Inputs, load_inputs
from unrolled.data.vectors import read_vectors
from unrolled.data.vocabulary import SPECIALS, Vocabulary
from unrolled.errors import UnknownLabel, UserError
from unrolled.models.build import check_weights
from unrolled.training.recipe import load_recipe
from unrolled.training.run_folder import RECIPE, check_run_folder, load_weights

LAYERS = {"input": "its input layer", "recurrent": "its recurrent layers"}
"""The parts of an encoder, and of a language model, that can be taken over each by itself."""


def task_in(folder: Path) -> str:
    """The task of a run folder."""
    check_run_folder(folder)
    return load_recipe(folder / RECIPE, own_cell=True).task


class Reader(Protocol):
    """A task whose model has an encoder and labels of its own."""

    @property
    def name(self) -> str: ...
    def open(self, recipe: Any, base: Path, symbols: Any = None, *, inputs: Inputs | None = None) -> Any: ...
    def load_symbols(self, folder: Path) -> Any: ...


def open_reading(task: Reader, recipe: Any, base: Path, init: Path) -> tuple[Any, bool]:
    """The data under a run's symbols: all of them if it has the data's labels; otherwise those of its input alone."""
    if task_in(init) == task.name:
        try:
            return task.open(recipe, base, task.load_symbols(init)), True
        except UnknownLabel:
            pass  # it answers something else: below it gives what reads the sequence
    return task.open(recipe, base, inputs=load_inputs(init)), False


def take_weights(model: nn.Module, init: Path, *, whole: bool) -> str:
    """Put another run's weights into a model; returns which, for people.

    Raises:
        UserError: they do not fit.
    """
    tensors = load_weights(init)[0]
    if whole:
        check_weights(model, tensors, init)
        return f"starting from {init}: all of its weights"
    encoder: Any = model.encoder
    prefix = "encoder." if any(name.startswith("encoder.") for name in tensors) else ""
    own = dict(encoder.named_parameters())
    taken = []
    for layer, said in LAYERS.items():
        names = [name for name in own if name.startswith(f"{layer}.")]
        there = {name for name in tensors if name.startswith(f"{prefix}{layer}.")}
        fits = {prefix + name for name in names} == there and all(
            tensors[prefix + name].shape == own[name].shape for name in names
        )
        if names and fits:
            with torch.no_grad():
                for name in names:
                    own[name].copy_(tensors[prefix + name])
            taken.append(said)
    if not taken:
        raise UserError(
            f"{init}: neither its input layer nor its recurrent layers fit this model; use its [model] settings"
        )
    return f"starting from {init}: {' and '.join(taken)}"


def put_vectors(model: nn.Module, vocabulary: Vocabulary, path: Path) -> str:
    """Put word vectors into a model's embedding, scaled to its deviation; returns what was done, for people.

    A word that has no vector, but has one in lower case, takes that.

    Raises:
        UserError: the vectors have another width than the embedding.
    """
    words, vectors = read_vectors(path)
    encoder: Any = model.encoder
    weight = getattr(encoder.input, "words", encoder.input).weight
    if vectors.shape[1] != weight.shape[1]:
        raise UserError(
            f"{path}: its vectors have {vectors.shape[1]} numbers, and model.embedding is {weight.shape[1]}; "
            f"set model.embedding = {vectors.shape[1]}"
        )
    places = {word: place for place, word in enumerate(words)}
    with torch.no_grad():
        scaled = torch.from_numpy(vectors) * (weight.std() / vectors.std())
        found = 0
        for id, word in enumerate(vocabulary.symbols[len(SPECIALS) :], start=len(SPECIALS)):
            place = places.get(word, places.get(word.lower()))
            if place is not None:
                weight[id] = scaled[place]
                found += 1
    return f"word vectors: {found:,} of {len(vocabulary) - len(SPECIALS):,} words start from {path.name}"
