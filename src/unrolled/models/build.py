"""A model from its settings and vocabulary, the cell it runs on, and the weights put into it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.cells import Cell, cell_named
from unrolled.cells.rnn import rnn
from unrolled.data.examples import FrameScale
from unrolled.data.vocabulary import SPECIALS, UNK, Vocabulary
from unrolled.errors import UserError
from unrolled.files import atomic_write_text, read_json
from unrolled.models.encoder import InputKind
from unrolled.models.language_model import LanguageModel
from unrolled.models.settings import NO_CELL, ModelSettings
from unrolled.recurrence.program import LONGEST_TEXT, TraceError, cell_from_json, program_to_json, trace

CELL = "cell.json"


@dataclass(frozen=True)
class Saved:
    """Weights that a model is to take.

    Attributes:
        tensors: by the parameters' names. source: the run folder that they are from.
    """

    tensors: Mapping[str, Tensor]
    source: Path


def build_model(
    settings: ModelSettings, vocabulary: Vocabulary, cell: Cell | None = None, *, saved: Saved | None = None
) -> LanguageModel:
    """The model of a recipe.

    Args:
        cell: the recurrence, where it is not one of the package's own that `settings.cell` names.
        saved: see `built`.

    Raises:
        UserError: settings that do not go together, or a cell that no run folder can keep.
    """
    spellings = torch.from_numpy(_spellings(vocabulary)).long() if settings.characters else None
    alphabet = vocabulary.spelling_size if settings.characters else 0

    def make() -> LanguageModel:
        recurrence = cell or _named_cell(settings)
        return LanguageModel(settings, len(vocabulary), recurrence, spellings=spellings, alphabet=alphabet)

    return built(make, cell, lambda model: model.features(torch.zeros(1, 1, dtype=torch.long)), saved=saved)


Model = TypeVar("Model", bound=torch.nn.Module)


def built(
    make: Callable[[], Model], cell: Cell | None, attempt: Callable[[Model], object], *, saved: Saved | None = None,
    outline: Callable[[], Model] | None = None,
) -> Model:  # fmt: skip
    """A model that works: made, and tried once on something small.

    Args:
        cell: the user's own cell, which has to fit into a run folder.
        attempt: calls the model, so that an engine that refuses it says so now.
        saved: the weights that it will take: a model that they do not fit is refused before memory is taken for it.
        outline: makes a model of the same parameters, where `make` itself costs time or memory.

    Raises:
        UserError: settings that do not go together, a model larger than the memory, weights that do not fit, or a cell
            that no run folder can keep.
    """
    try:
        _check_size(outline or make, saved)
        model = make()
        if cell is not None:
            written_cell(cell)  # before training, not after it
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            attempt(model)
    except (ValueError, TraceError) as error:
        raise UserError(f"the model cannot be built: {error}") from error
    return model


def settings_cell(settings: ModelSettings, cell: Cell | None) -> Cell | None:
    """The recurrence of some settings: the user's own, one of the package's, or None for none."""
    if cell is not None:
        return cell
    return None if settings.cell == NO_CELL else _named_cell(settings)


def input_kind(settings: ModelSettings, inputs: Vocabulary | FrameScale) -> InputKind:
    """What an encoder reads."""
    if isinstance(inputs, FrameScale):
        if settings.characters:
            raise UserError("model.characters spells words, and the data are frames; set it to 0")
        return InputKind(frame=len(inputs.mean))
    return InputKind(len(inputs), alphabet=inputs.spelling_size if settings.characters else 0)


def _spellings(vocabulary: Vocabulary) -> NDArray[np.int32]:
    """How each symbol is spelt where a text spells it: special symbols are not, but for a word that means <unk>."""
    table = vocabulary.spellings_for(vocabulary.symbols)
    table[: len(SPECIALS)] = 0
    if vocabulary.unknown:
        table[UNK] = vocabulary.spell(vocabulary.unknown)
    return table


def _named_cell(settings: ModelSettings) -> Cell:
    return rnn(settings.nonlinearity) if settings.cell == "rnn" else cell_named(settings.cell)


def _check_size(make: Callable[[], Model], saved: Saved | None) -> None:
    """Make the model without its numbers, and look at their shapes: a recipe can ask for any size."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            outline = dict(make().named_parameters())
    except RuntimeError as error:  # more numbers than torch can count
        raise UserError(f"the model cannot be built: {str(error).partition(chr(10))[0]}; make it smaller") from None
    if saved is not None:
        _check_shapes(outline, saved.tensors, saved.source)
    needed, memory = sum(parameter.nbytes for parameter in outline.values()), _memory()
    if needed > memory:
        raise UserError(
            f"the model's weights need {needed / 1e9:,.0f} GB, and this machine has {memory / 1e9:,.0f} GB of memory; "
            "make model.hidden, model.embedding or the vocabulary smaller"
        )


def _memory() -> float:
    """The bytes of memory that this machine has, where the system says so."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def _check_shapes(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    for name in sorted(wanted.keys() ^ tensors.keys()):
        side = "lacks" if name in wanted else "has a surplus"
        raise _unfit(source, f"it {side} {name[:80]}")
    for name, parameter in wanted.items():
        tensor = tensors[name]
        if parameter.shape != tensor.shape:
            raise _unfit(source, f"{name} is {tuple(tensor.shape)} there and {tuple(parameter.shape)} here")
        if parameter.dtype != tensor.dtype:
            raise _unfit(source, f"{name} is of {tensor.dtype} there and of {parameter.dtype} here")


def _unfit(source: Path, flaw: str) -> UserError:
    return UserError(f"{source}: its weights do not fit this model: {flaw}; use the same [model] settings")


def check_weights(model: torch.nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy saved tensors into a model.

    Raises:
        UserError: a tensor is missing, unknown, has another shape or type, or holds a number that is not finite.
    """
    wanted = dict(model.named_parameters())
    _check_shapes(wanted, tensors, source)
    for name in wanted:
        if not tensors[name].isfinite().all():
            raise UserError(f"{source}: its weights cannot be used: {name} holds NaN or infinity; train it anew")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])


def cell_of_file(reference: str) -> Cell:
    """The cell that `FILE.py:name` means. This runs the file: only what the user typed may come here.

    Raises:
        UserError: no such file or name, or the file fails.
    """
    path, _, name = reference.rpartition(":")
    if not Path(path).is_file():
        raise UserError(f"model.cell={reference}: there is no file {path}")
    specification = importlib.util.spec_from_file_location("unrolled_user_cell", path)
    if specification is None or specification.loader is None:
        raise UserError(f"model.cell={reference}: {path} is no Python file")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"model.cell={reference}: {path} fails: {type(error).__name__}: {error}") from error
    cell = getattr(module, name, None)
    if not isinstance(cell, Cell):
        found = [key for key, value in vars(module).items() if isinstance(value, Cell)]
        raise UserError(f"model.cell={reference}: {path} has no cell {name!r}; its cells: {', '.join(found) or 'none'}")
    return cell


def written_cell(cell: Cell) -> dict[str, Any]:
    """A user's cell as a run folder keeps it: its traced program.

    Raises:
        UserError: the step uses something that is not an operator; only a layer in memory can have such a cell.
    """
    try:
        return program_to_json(trace(cell))
    except TraceError as error:
        raise UserError(
            f"{error}; a run keeps its cell as a list of operators, so that it loads without the cell's source: "
            "write the step with those alone"
        ) from error


def write_cell(folder: Path, cell: Cell) -> None:
    """Keep a user's cell in a run folder, as its traced program.

    Raises:
        UserError: see `written_cell`.
    """
    atomic_write_text(folder / CELL, json.dumps(written_cell(cell), indent=1) + "\n")


def cell_of_run(folder: Path) -> Cell | None:
    """The cell that a run brings along, or None if it uses one of the package's.

    Raises:
        UserError: cell.json is broken.
    """
    path = folder / CELL
    if not os.path.lexists(path):
        return None
    program = read_json(path, LONGEST_TEXT)
    try:
        return cell_from_json(program)
    except UserError as error:
        raise UserError(f"{path}: {error}; copy the run folder again") from None
