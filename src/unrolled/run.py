"""A trained run, to be used. `train` makes one, `load` opens one; what it can do depends on its task."""

from __future__ import annotations

import copy
import importlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from unrolled.arguments import MOST_SEED, whole
from unrolled.cells import CELLS, Cell
from unrolled.data.examples import FrameScale
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.files import is_text_list, read_json
from unrolled.inspecting.embeddings import Embeddings, embeddings_of
from unrolled.inspecting.gradients import GradientDecay, Watched, gradient_decay, multiply_recurrent
from unrolled.inspecting.observation import Observation, observation, observing
from unrolled.models.build import Saved, cell_of_file, cell_of_run, check_weights
from unrolled.nn.recurrent import Recurrent
from unrolled.recurrence.keeping import keeping_of
from unrolled.recurrence.program import outline
from unrolled.tasks import FOLDERS, task_of
from unrolled.tasks.task import parts_of
from unrolled.training.recipe import Recipe, load_recipe
from unrolled.training.run_folder import FINGERPRINT, METRICS, RECIPE, check_run_folder, load_weights
from unrolled.training.session import begin


class Run:
    """A run folder, opened. Nothing in it is executed: weights are safetensors, everything else is JSON and TOML.

        run = unrolled.load("runs/shakespeare-quick")

    `load` gives the class of the run's task: a language model samples and scores, a classifier predicts.

    Args:
        folder: the run folder. recipe: the recipe in it.
        device: where the model runs.

    Attributes:
        verbs: what `unrolled VERB RUN` can do with it, besides `show`.
        symbols: what texts and labels become numbers by.
    """

    verbs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path, recipe: Recipe, *, device: str = "cpu") -> None:
        self.folder, self.recipe, self.task = folder, recipe, task_of(recipe.task)
        self.symbols: Any = self.task.load_symbols(folder)
        tensors, self.weights_metadata = load_weights(folder)
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
            self.model: Any = self.task.build(recipe, self.symbols, cell_of_run(folder), saved=Saved(tensors, folder))
        check_weights(self.model, tensors, folder)
        self.task.restore(self.model, folder)
        self.device = torch.device(device)
        self.model.to(self.device).eval()

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The figures that training ended with; empty while it has not."""
        path = self.folder / METRICS
        found = read_json(path) if os.path.lexists(path) else {}
        if not is_text_list([json.dumps(found, ensure_ascii=False)]):
            raise UserError(f"{path} holds half a character; copy the run folder again")
        return found

    @cached_property
    def material(self) -> Any:
        """The data that the run was trained on.

        Raises:
            UserError: they are no longer where they were, or have changed: rows that were learned from may now be in
                the test part.
        """
        material = self.task.open(self.recipe, self.folder, self.symbols)
        trained_on = self.weights_metadata.get(FINGERPRINT, material.fingerprint)
        if trained_on != material.fingerprint:
            name = self.recipe.data.path or "the built-in data"
            raise UserError(
                f"{name} has changed since the run was trained on it, so which of it is new to the model is not known"
            )
        return material

    def own_part(self) -> Any:
        """The test part of the run's own data, or the validation part.

        Raises:
            UserError: there is none, or the data cannot be read.
        """
        try:
            parts = parts_of(self.material)
        except UserError as error:
            raise UserError(f"the run's own data cannot be used: {error}; give a file to evaluate on") from None
        if not parts:
            raise UserError("the run's data were all for training: give a file to evaluate on")
        return parts["test" if "test" in parts else "validation"]

    @property
    def reads_frames(self) -> bool:
        """Whether sequences are frames (T, D); otherwise texts."""
        return isinstance(getattr(self.symbols, "inputs", None), FrameScale)

    def check_can(self, verb: str) -> None:
        """Refuse a verb that has no meaning for this task.

        Raises:
            UserError: it has none; the message says what has.
        """
        if verb not in (*self.verbs, "show"):
            possible = ", ".join(self.verbs)
            raise UserError(
                f"{self.folder} is a run of the task {self.recipe.task}: `{verb}` is not for it, but {possible}"
            )

    def score_all(self, texts: Sequence[Any], **given: Any) -> list[Any]:
        """What `score` says of each of several texts: as many answers as texts, in their order, an empty text's too.

        A text of which the model predicts no symbol has a score of no symbols, whose perplexity is not a number.
        """
        raise UserError(f"{self.folder} is a run of the task {self.recipe.task}: `score` is not for it")

    def observe(self, x: Any) -> Observation:
        """Every gate and state of the recurrent stack while the model reads a text (tokens, or frames, where it takes
        those); of a translator its encoder's.

            seen = run.observe("The cat, which already ate, was full")
            seen.layer(0).values["update"]      # (T, H)

        Raises:
            UserError: there is nothing to read, or the model has no recurrence.
        """
        symbols, recurrent, read = self._reading(x)
        if recurrent is None:
            raise UserError(
                f'{self.folder}: the model has no recurrence (model.cell = "none"): there is no gate to see'
            )
        with observing(recurrent) as found, torch.no_grad():
            read()
        return observation(symbols, recurrent, found)

    def embeddings(self, *, target: bool = False) -> Embeddings:
        """The vectors of the symbols that the model reads; of a translator those of its sources, or of its targets.

            run.embeddings().neighbours("cat")

        Raises:
            UserError: the model reads frames, or has no targets.
        """
        symbols, layer, recurrent = self._embedding(target)
        if not isinstance(symbols, Vocabulary):
            raise UserError(f"{self.folder}: the model reads frames, which have no embedding")
        return embeddings_of(symbols, layer, recurrent)

    def _embedding(self, target: bool) -> tuple[Any, Any, Recurrent | None]:
        """What `embeddings` asks of a task: the symbols, the layer that embeds them, and the stack above it."""
        if target:
            raise UserError(f"{self.folder} is a run of the task {self.recipe.task}: only translators read targets")
        holder = getattr(self.model, "encoder", self.model)
        return getattr(self.symbols, "inputs", self.symbols), holder.input, holder.recurrent

    def gradients(
        self, text: Any = None, *, length: int = 100, fresh: str | None = None, label: str | None = None, seed: int = 0
    ) -> GradientDecay:
        """How far back the loss of one timestep reaches: ‖∂L⟨t⟩/∂a⟨s⟩‖ by distance t - s.

            run.gradients().factor                      # what a timestep more multiplies the norm by
            run.gradients(fresh="rnn:orthogonal")       # the same sizes with weights just drawn

        Args:
            text: what to read; None for pieces of the run's own test part, or its validation part.
            length: so many timesteps of each sequence at most.
            fresh: None for the weights as they are trained; "CELL" or "CELL:INITIALISER" for a model of the same recipe
                with that cell and weights just drawn; "own" for the run's own cell. "CELL:INITIALISER:GAIN" multiplies
                the weights on the state by a number: what too large ones do.
            label: of a generator the class that the text is read as.
            seed: what fresh weights are drawn by.

        Raises:
            UserError: the model reads from both ends or has no recurrence, there is nothing to read, or no such cell.
        """
        length, seed = whole("length", length, 2), whole("seed", seed, 0, MOST_SEED)
        model, name = (self.model, str(self.folder)) if fresh is None else self._fresh(fresh, seed)
        model = copy.deepcopy(model).double().to("cpu").eval().requires_grad_(False)
        holder = getattr(model, "encoder", model)
        layer = holder.recurrent
        if layer is None:
            raise UserError(f"{self.folder}: the model has no recurrence: no gradient goes through time")
        if layer.bidirectional:
            raise UserError(
                f"{self.folder} reads from both ends, so that a distance has two directions: look at a model of one"
            )
        layer.engine = "auto" if layer.engine == "vendor" else layer.engine
        return gradient_decay(name, layer, self._watched(model, text, length, label))

    def _fresh(self, wish: str, seed: int) -> tuple[Any, str]:
        """A model of the run's recipe with weights just drawn, and its name."""
        cell, initialiser, gain = (*wish.split(":", 2), "", "")[:3]
        changes: dict[str, object] = {}
        if cell != "own":
            changes["model.cell"] = cell
        if initialiser:
            changes["model.initialiser"] = initialiser
        recipe = self.recipe.with_overrides(changes)
        if cell in CELLS and "forget" not in outline(CELLS[cell]).observed:
            recipe = recipe.with_overrides({"model.forget_bias": "none"})
        if cell in CELLS and not keeping_of(outline(CELLS[cell])):
            recipe = recipe.with_overrides({"model.chrono": 0})
        own = cell_of_run(self.folder) if cell == "own" else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.task.build(recipe, self.symbols, own)
        if gain:
            multiply_recurrent(model, gain)
        return model, f"{wish}, fresh"

    def _watched(self, model: Any, text: Any, length: int, label: str | None) -> Iterable[Watched]:
        """What `gradients` asks of a task: sequences, and the loss of each of their timesteps."""
        raise UserError(f"{self.folder} is a run of the task {self.recipe.task}, whose gradients are not shown")

    def _reading(self, x: Any) -> tuple[Sequence[str], Recurrent | None, Callable[[], object]]:
        """What `observe` asks of a task: the symbols as people see them, the stack, and how to make it read them."""
        raise UserError(f"{self.folder} is a run of the task {self.recipe.task}, whose gates cannot be shown yet")

    def symbol_counts(self) -> dict[str, int]:
        """How many symbols and labels of each kind there are."""
        return {name: count for name, count, _ in self.task.shown_symbols(self.symbols)}

    def symbol_lines(self) -> list[tuple[str, str]]:
        """The same for people, with the first of them."""
        return [(name, f"{count:,} {text}") for name, count, text in self.task.shown_symbols(self.symbols)]

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.recipe.task}, {self.recipe.model.cell})"


def load(folder: str | Path, *, device: str = "cpu") -> Run:
    """Open a run folder.

    Raises:
        UserError: it is none, or is damaged; the message names the file.
    """
    folder = Path(folder)
    check_run_folder(folder)
    recipe = load_recipe(folder / RECIPE, own_cell=True)
    module = importlib.import_module(f"unrolled.tasks.{FOLDERS[recipe.task]}.run")
    run: Run = module.RUN(folder, recipe, device=device)
    return run


def train(
    recipe: str | Path | Recipe,
    overrides: Mapping[str, object] | Sequence[str] = (),
    *,
    folder: str | Path | None = None,
    init: str | Path | None = None,
    cell: Cell | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Run:
    """Train a recipe and open the run; the same as `unrolled train`.

        run = unrolled.train("recipes/names.toml", {"model.hidden": 256})

    Args:
        recipe: a TOML file, or a `Recipe`, whose paths are then relative to the working folder.
        overrides: {"section.key": value}, or ["section.key=value", ...].
        folder: the run folder; None for runs/NAME.
        init: a run whose weights to start from.
        cell: a cell of your own, in the place of `model.cell`.
    """
    base, name = Path(), "run"
    if isinstance(recipe, Recipe):
        recipe = recipe.with_overrides(overrides)
    else:
        base, name = Path(recipe).parent, Path(recipe).stem
        recipe = load_recipe(recipe, overrides)
    result = begin(
        recipe, base=base, name=name, folder=None if folder is None else Path(folder),
        init=None if init is None else Path(init), cell=cell or own_cell(recipe), device=device, quiet=quiet,
    )  # fmt: skip
    return load(result.folder)


def own_cell(recipe: Recipe) -> Cell | None:
    """The user's cell that `model.cell=FILE.py:name` names, or None. Only an override can have put it there."""
    return cell_of_file(recipe.model.cell) if ":" in recipe.model.cell else None


__all__ = ["Run", "load", "train"]
