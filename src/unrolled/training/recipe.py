"""A recipe: everything that decides a run, read from TOML, checked as a whole, written back complete."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unrolled.data.settings import PATHS, DataSettings
from unrolled.decoding.settings import DecodingSettings
from unrolled.errors import UserError
from unrolled.files import check_depth, read_regular
from unrolled.models.settings import CELL_NAMES, NO_CELL, ModelSettings
from unrolled.training.plan import SHARES
from unrolled.training.recipe_reading import Reading, line_numbers, nearest
from unrolled.training.settings import BUDGETS, DEFAULT_EPOCHS, TrainingSettings

LARGEST_RECIPE = 1 << 20
"""Bytes of a recipe that are read at most."""
TASKS = ("language-model", "generate", "classify", "tag", "translate")
DEFAULTS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "language-model": {},
    "classify": {
        "data": {"format": "", "level": "word", "min_count": 2},
        "model": {"hidden": 128, "layers": 1, "bidirectional": True, "dropout": 0.3, "embedding_dropout": 0.3},
        "training": {"batch": 32, "learning_rate": 1e-3, "validate_every": 0},
    },
    "tag": {
        "data": {"format": "", "level": "word", "min_count": 2},
        "model": {
            "hidden": 200,
            "layers": 1,
            "bidirectional": True,
            "embedding": 100,
            "characters": 50,
            "dropout": 0.4,
            "embedding_dropout": 0.4,
        },
        "training": {"batch": 32, "learning_rate": 2e-3, "validate_every": 0},
    },
    "translate": {
        "data": {"format": "", "level": "bpe", "vocabulary_size": 4000},
        "model": {
            "hidden": 256,
            "layers": 1,
            "bidirectional": True,
            "embedding": 256,
            "dropout": 0.3,
            "embedding_dropout": 0.2,
        },
        "training": {"batch": 64, "learning_rate": 2e-3, "validate_every": 0},
    },
    "generate": {
        "data": {"format": "", "level": "character"},
        "model": {"hidden": 256, "layers": 1, "embedding": 64, "dropout": 0.3},
        "training": {"batch": 64, "learning_rate": 2e-3, "validate_every": 0},
    },
}
"""What a task's recipe says where it says nothing: keys whose default for language models would be none for it."""

Overrides = Mapping[str, object] | Sequence[str]


@dataclass(frozen=True)
class Recipe:
    """The task and one settings object a section; made by ``load_recipe`` or ``recipe_from_mapping``, which check it.

    ``chosen`` are the keys that were given, as "section.key"; None: all of them. Of the others a run of
    ``training.minutes`` sets the sizes.

    >>> recipe = recipe_from_mapping({"task": "language-model", "model": {"hidden": 256}})
    >>> recipe.with_overrides(["training.steps=100"]).training.budget
    ('steps', 100.0)
    """

    task: str = "language-model"
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)
    chosen: frozenset[str] | None = field(default=None, compare=False, repr=False)

    def has_chosen(self, *keys: str) -> bool:
        """Whether somebody chose one of these keys ("model.hidden"), rather than leaving it to its default."""
        return self.chosen is None or bool(self.chosen.intersection(keys))

    def with_overrides(self, overrides: Overrides, *, source: str = "recipe") -> "Recipe":
        """Give a checked copy in which ``{"section.key": value}`` or ``["section.key=value"]`` replace what was set."""
        reading = Reading(Recipe, source=source)
        given = reading.overrides(overrides)
        recipe = _build(reading, _without_unset_budgets(sections_of(self)), given, own_cell=True)
        return recipe if self.chosen is None else replace(recipe, chosen=self.chosen | given.keys())

    def rebased(self, old: Path, new: Path) -> "Recipe":
        """Give a copy whose relative data paths, meant from folder ``old``, lead to the same files from ``new``."""

        def moved(path: str) -> str:
            path = os.path.expanduser(path)
            return os.path.relpath(old / path, new) if path and not os.path.isabs(path) else path

        paths: dict[str, Any] = {name: moved(getattr(self.data, name)) for name in PATHS}
        return replace(self, data=replace(self.data, **paths))


def load_recipe(path: str | os.PathLike[str], overrides: Overrides = (), *, own_cell: bool = False) -> Recipe:
    """Read the recipe file ``path``, put ``overrides`` over it and check the whole.

    ``own_cell=True`` is for the recipe of a run folder: there ``model.cell`` may be any name, for the run brings the
    cell's program along and nothing of the user's is executed.

    Raises:
        UserError: with every mistake at once, each with its line or marked as an override.

    >>> load_recipe("recipes/names.toml", {"training.seed": 2})    # doctest: +SKIP
    """
    text = _read(Path(path))
    try:
        mapping = _toml(text)
    except ValueError as error:
        raise UserError(f"{path}: not valid TOML: {error}; correct the recipe there") from None
    reading = Reading(Recipe, source=str(path), lines=line_numbers(text))
    return _build(reading, mapping, reading.overrides(overrides), own_cell=own_cell)


def recipe_from_mapping(
    mapping: Mapping[str, object], overrides: Overrides = (), *, source: str = "recipe", own_cell: bool = False
) -> Recipe:
    """Check a recipe given as ``{"task": ..., "data": {...}, ...}``; ``source`` names it in the errors.

    >>> recipe_from_mapping({"task": "language-model", "data": {"path": "book.txt"}}).data.path
    'book.txt'
    """
    reading = Reading(Recipe, source=source)
    return _build(reading, mapping, reading.overrides(overrides), own_cell=own_cell)


def recipe_text(recipe: Recipe) -> str:
    """Write ``recipe`` as TOML with every key, so that a later change of a default cannot change what it means."""
    import tomli_w

    sections = sections_of(recipe)
    written = tomli_w.dumps(
        {name: _plain_section(value) if isinstance(value, dict) else value for name, value in sections.items()}
    )
    return re.sub(r"\[\n([\d\s,]+)\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", written)  # on one line


def sections_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe as {"task": ..., "data": {...}, ...}."""
    return {name: value for name, value in asdict(recipe).items() if name != "chosen"}


def _plain_section(section: dict[str, object]) -> dict[str, object]:
    return {key: "none" if value is None else value for key, value in section.items()}  # TOML has no null


def _toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: it is none; the message says why in one line.
    """
    try:
        mapping = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("it holds a whole number of thousands of digits") from None
        raise
    check_depth(mapping)
    return mapping


def _read(path: Path) -> str:
    try:
        return read_regular(path, LARGEST_RECIPE).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe; give the path of a .toml file") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give the path of a recipe's .toml file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path and its permissions") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save the recipe as UTF-8") from None


def _build(
    reading: Reading, mapping: Mapping[str, object], overrides: Mapping[str, object], *, own_cell: bool
) -> Recipe:
    merged = reading.merge(_without_replaced_budget(_with_defaults(mapping, overrides), overrides), overrides)
    if "task" not in merged:
        reading.complain("task", f"task is missing; say which, as in task = {TASKS[0]!r}")
    values = reading.top_level(merged)
    recipe = Recipe(**values)  # type: ignore[arg-type]  # each value was made from the hint of its own field
    _check_task(reading, recipe)
    _check_cell(reading, recipe, own_cell=own_cell or "model.cell" in overrides)
    _check_agreement(reading, recipe)
    _check_budget(reading, merged, recipe)
    reading.raise_complaints()
    recipe = replace(recipe, chosen=_chosen(mapping, overrides))
    if not any(getattr(recipe.training, name) for name in BUDGETS):
        recipe = replace(recipe, training=replace(recipe.training, epochs=DEFAULT_EPOCHS))
    return recipe


def _chosen(mapping: Mapping[str, object], overrides: Mapping[str, object]) -> frozenset[str]:
    given = (f"{name}.{key}" for name, section in mapping.items() if isinstance(section, Mapping) for key in section)
    return frozenset((*given, *overrides))


_NOT_OF_LEVEL = {"bpe": ("min_count",), "byte": ("min_count", "vocabulary_size")}
"""Of the data's defaults those that have no meaning for a level, and would be refused beside it."""


def _with_defaults(mapping: Mapping[str, object], overrides: Mapping[str, object]) -> Mapping[str, object]:
    """The recipe's keys over those that its task has by default."""
    task = overrides.get("task", mapping.get("task"))
    defaults = DEFAULTS.get(task, {}) if isinstance(task, str) else {}
    sections: dict[str, object] = {}
    for name, keys in defaults.items():
        given = mapping.get(name, {})
        if not isinstance(given, Mapping):
            continue  # it is complained about where it is read
        if name == "data":
            level = overrides.get("data.level", given.get("level"))
            keys = {key: value for key, value in keys.items() if key not in _NOT_OF_LEVEL.get(str(level), ())}
        sections[name] = {**keys, **given}
    return {**mapping, **sections}


def _without_replaced_budget(mapping: Mapping[str, object], overrides: Mapping[str, object]) -> Mapping[str, object]:
    """Drop the recipe's own budget where an override gives another: --set training.steps=9 means instead, not also."""
    training = mapping.get("training")
    if not isinstance(training, Mapping) or not any(overrides.get(f"training.{name}") for name in BUDGETS):
        return mapping
    return {
        **mapping,
        "training": {key: value for key, value in training.items() if key not in (*BUDGETS, "pace", "validated")},
    }


def _without_unset_budgets(mapping: dict[str, Any]) -> dict[str, Any]:
    """A recipe's keys but for the budgets that are at 0: nobody asked for that."""
    training = mapping["training"]
    return {**mapping, "training": {key: training[key] for key in training if training[key] or key not in BUDGETS}}


def _check_budget(reading: Reading, merged: Mapping[str, object], recipe: Recipe) -> None:
    """0 turns a budget off: where it leaves a run without any, that is an override or a line too many.

    All three at 0, as `unrolled train --keys` lists them, is as if none was given.
    """
    training = merged.get("training")
    given = [name for name in BUDGETS if isinstance(training, Mapping) and name in training]
    overridden = [name for name in given if reading.is_override(f"training.{name}")]
    if any(getattr(recipe.training, name) for name in BUDGETS) or not (overridden or 0 < len(given) < len(BUDGETS)):
        return
    key = f"training.{(overridden or given)[0]}"
    rest = f"set {key} above 0, or leave it out ({DEFAULT_EPOCHS:g} epochs)"
    reading.disagree([key], f"{key} = 0 is no budget, and no other is given; {rest}")


def _check_task(reading: Reading, recipe: Recipe) -> None:
    if recipe.task not in TASKS:
        reading.complain("task", f"task {recipe.task!r} is unknown{nearest(recipe.task, TASKS)}")


def _check_cell(reading: Reading, recipe: Recipe, *, own_cell: bool) -> None:
    cell = recipe.model.cell
    if cell == NO_CELL and recipe.task in ("classify", "tag"):
        return
    if cell in CELL_NAMES or (own_cell and ":" in cell):
        return
    if ":" in cell:
        reading.complain(
            "model.cell",
            f"model.cell = {cell!r} would run code, and a recipe may come from anyone; "
            f"take the key out and give it yourself: --set model.cell={cell}",
        )
    elif cell.endswith(".py"):
        reading.complain("model.cell", f"model.cell = {cell!r} does not say which cell of the file; write {cell}:NAME")
    elif not own_cell or reading.is_override("model.cell"):
        reading.complain("model.cell", f"model.cell {cell!r} is no known cell{nearest(cell, CELL_NAMES)}")


def _check_agreement(reading: Reading, recipe: Recipe) -> None:
    """Complain about keys that are fine alone but not together."""
    model, training = recipe.model, recipe.training
    budgets = [name for name in BUDGETS if getattr(training, name) > 0]
    if training.pace and not training.steps:
        reading.disagree(
            ["training.pace"], "training.pace is of a run of training.steps, and there are none; remove it"
        )
    if list(training.validated) != sorted(training.validated):
        reading.disagree(["training.validated"], "training.validated must rise; remove it")
    if list(training.pace) != sorted(training.pace) or len(training.pace) > SHARES or training.pace[:1] > (0,):
        reading.disagree(
            ["training.pace"], f"training.pace must rise from 0 and have at most {SHARES} numbers; remove it"
        )
    if len(budgets) > 1:
        keys = [f"training.{name}" for name in budgets]
        reading.disagree(keys, f"{' and '.join(keys)} are both budgets; keep one of them")
    if model.tied and model.embedding == 0:
        reading.disagree(
            ["model.tied", "model.embedding"],
            "model.tied shares the embedding's weights, but model.embedding is 0 (one-hot); give it a size",
        )
    if list(model.cutoffs) != sorted(set(model.cutoffs)):
        reading.disagree(["model.cutoffs"], f"model.cutoffs must rise, not {list(model.cutoffs)}")
    if model.characters and recipe.data.level != "word":
        reading.disagree(
            ["model.characters", "data.level"],
            f"model.characters is for words, but data.level is {recipe.data.level!r}; use level 'word' or characters 0",
        )
    if model.bidirectional and recipe.task in ("language-model", "generate"):
        reading.disagree(
            ["task", "model.bidirectional"],
            "model.bidirectional would let the model see the symbol it has to predict; set it to false",
        )
    if recipe.decoding.coverage and model.attention == "none":
        reading.disagree(
            ["decoding.coverage", "model.attention"],
            "decoding.coverage asks what attention has covered, and model.attention is none; leave one of them out",
        )
