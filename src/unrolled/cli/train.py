"""`unrolled train`: from a recipe, or a task and a file, to a run folder."""

import json as json_format
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.began import spent
from unrolled.cli.common import Common, path_of, say_json, verb
from unrolled.cli.ending import INTERRUPTED, tell
from unrolled.cli.figures import budget_lines, part_text, shortfall
from unrolled.cli.keys import print_keys
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.cells import Cell
    from unrolled.training.ending import Result
    from unrolled.training.recipe import Recipe

EXAMPLES = (
    "unrolled train language-model --run runs/manual --set training.minutes=2",
    "unrolled train language-model --data README.md --set training.steps=50",
    "unrolled train language-model --data README.md --init runs/demo",
    "unrolled train classify --data reviews.tsv --set training.epochs=5",
    "unrolled train generate --data surnames.tsv --set model.condition=state",
    "unrolled train translate --data pairs.tsv --level character",
    "unrolled train --resume runs/demo",
    "unrolled train --keys",
)
INHERITED = ("format", "level", "words", "lowercase", "unknown")
"""Keys of [data] that `--init` takes over from its run: how text is cut into the symbols of its vocabulary."""

Recipes = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE|TASK",
        help="A recipe's .toml file, or a task: language-model, generate, classify, tag, translate.",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe's key; as often as you like.")
]


@verb
def train(
    common: Common,
    what: Recipes = None,
    data: Annotated[str, typer.Option(metavar="FILE", help="The data; language models have a built-in text.")] = "",
    valid: Annotated[str, typer.Option(metavar="FILE", help="Data to validate on.")] = "",
    test: Annotated[str, typer.Option(metavar="FILE", help="Data to test on.")] = "",
    format: Annotated[
        str, typer.Option(help="text (running), lines (each by itself), or tsv, csv, jsonl, ...", show_default=False)
    ] = "",
    level: Annotated[str, typer.Option(help="character, word, bpe or byte.", show_default=False)] = "",
    text: Annotated[str, typer.Option(metavar="COL", help="The text's column: a name or a number from 1.")] = "",
    label: Annotated[str, typer.Option(metavar="COL", help="The label's, or the translation's, column.")] = "",
    beside: Annotated[
        str, typer.Option(metavar="FILE", help="The other side of parallel text, or a FASTA file's labels.")
    ] = "",
    skip_bad_rows: Annotated[int, typer.Option(metavar="N", min=0, help="Tolerate so many bad rows.")] = 0,
    cell: Annotated[str, typer.Option(help="The recurrence: a name (`unrolled cells`) or FILE.py:name.")] = "",
    settings: Settings = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=path_of, help="The run folder; otherwise runs/NAME.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", parser=path_of, help="Go on with an interrupted run; with --data, if its text has moved."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            parser=path_of,
            help="Start from that run's weights; if its labels are others, its encoder's.",
        ),
    ] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Show every key of a recipe, and stop.")] = False,
) -> None:
    """Train a model into a run folder: weights, recipe, vocabulary, log and curves.

    Ctrl-C saves everything; --resume goes on to the same end, bit for bit.
    """
    if keys:
        print_keys(common.json)
        return
    words = {
        "RECIPE": what, "--format": format, "--level": level, "--text": text, "--label": label, "--beside": beside,
        "--skip-bad-rows": skip_bad_rows, "--cell": cell, "--set": settings, "--run": run, "--init": init,
    }  # fmt: skip
    given = [name for name, value in words.items() if value]
    if resume is not None:
        if given:
            raise typer.BadParameter(f"--resume goes on with a run as it is: leave out {', '.join(given)}")
        _go_on(common, resume, {"path": data, "valid": valid, "test": test})
        return
    if what is None:
        raise typer.BadParameter("give a recipe's .toml file, or a task such as language-model (--keys lists all keys)")
    short = {
        "data.format": format, "data.level": level, "data.text": text, "data.label": label,
        "data.skip_bad_rows": skip_bad_rows, "data.beside": beside, "model.cell": cell,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in short.items() if value] + (settings or [])
    common.prepare()
    recipe, own = recipe_of(what, overrides, init)
    recipe = with_files(recipe, data, valid, test)
    _start(common, recipe, own, name_of(what, data), run, init)


def recipe_of(what: str, overrides: list[str], init: Path | None) -> "tuple[Recipe, Cell | None]":
    """The recipe that a file or a task's name means, its paths relative to the working folder, and the user's cell."""
    from unrolled.run import own_cell
    from unrolled.training.recipe import TASKS, load_recipe, recipe_from_mapping
    from unrolled.training.recipe_reading import nearest

    if what not in TASKS:
        if not what.endswith(".toml") and not Path(what).exists():
            raise UserError(f"{what} is no task{nearest(what, TASKS)}; and there is no recipe's file of that name")
        folder = Path(what).parent
        recipe = load_recipe(what, overrides).rebased(folder.resolve(), Path.cwd())
        return recipe, own_cell(recipe)
    start, inherited_cell = inherited(init, what) if init else ({}, None)
    own_name = inherited_cell is not None
    recipe = recipe_from_mapping({"task": what, **start}, overrides, source=f"task {what}", own_cell=own_name)
    replaced = any(override.partition("=")[0].strip() == "model.cell" for override in overrides)
    return recipe, own_cell(recipe) if replaced else inherited_cell


def inherited(init: Path, task: str) -> "tuple[dict[str, Any], Cell | None]":
    """What a run gives to one that starts from its weights: [model], how text is cut, and a cell of its own."""
    from unrolled.models.build import cell_of_run
    from unrolled.training.recipe import load_recipe
    from unrolled.training.run_folder import RECIPE, check_run_folder

    check_run_folder(init)
    recipe = load_recipe(init / RECIPE, own_cell=True)
    cut = {key: getattr(recipe.data, key) for key in INHERITED if key != "format" or recipe.task == task}
    return {"data": cut, "model": asdict(recipe.model)}, cell_of_run(init)


def with_files(recipe: "Recipe", data: str, valid: str, test: str) -> "Recipe":
    """The recipe on the command line's files. Another text than the recipe's has nothing to do with its other files."""
    before = replace(recipe.data, path=data, valid="", test="") if data else recipe.data
    after = replace(before, valid=valid or before.valid, test=test or before.test)
    return replace(recipe, data=after)


def name_of(what: str, data: str) -> str:
    """A run's name: the text's where there is one, otherwise the recipe's or the task's."""
    name = Path(data or what).name.partition(".")[0]
    return name or "run"


def _start(
    common: Common, recipe: "Recipe", own: "Cell | None", name: str, folder: Path | None, init: Path | None
) -> None:
    from unrolled.training.session import begin

    places: list[Path] = []
    try:
        result = begin(
            recipe, base=Path(), name=name, folder=folder, init=init, cell=own, device=common.device.value,
            quiet=common.quiet, started=places.append, spent=spent(),
        )  # fmt: skip
    except KeyboardInterrupt:
        _interrupted(places[0] if places else None)
    else:
        _conclude(common, result)


def _go_on(common: Common, folder: Path, data: dict[str, str]) -> None:
    common.prepare()
    from unrolled.training.session import resume

    moved = {key: Path(file).absolute() for key, file in data.items() if file}
    try:
        result = resume(folder, data=moved, device=common.device.value, quiet=common.quiet, spent=spent())
    except KeyboardInterrupt:
        _interrupted(folder)
    else:
        _conclude(common, result)


def _interrupted(folder: Path | None) -> None:
    if folder is None:
        tell("interrupted before the first step: no run folder was made")
    else:
        tell(f"interrupted; everything is saved. Go on with: unrolled train --resume {folder}")
    raise typer.Exit(INTERRUPTED)


def _conclude(common: Common, result: "Result") -> None:
    """Say how it ended: figures, where everything is, what to try next."""
    from unrolled.training.processes import is_first

    if not is_first():
        return  # one process of several speaks
    if not result.complete:
        _interrupted(result.folder)
    if common.json:
        say_json({"run": str(result.folder), **result.metrics})
    else:
        print(conclusion(result.folder, result.metrics, quiet=common.quiet))


def conclusion(folder: Path, metrics: dict[str, Any], *, quiet: bool = False) -> str:
    """What a finished run prints."""
    task, lines = metrics["task"], list[str]()
    for part in ("validation", "test"):
        if part in metrics:
            lines += [f"\n{part} part", part_text(task, metrics[part])]
    lines = lines or ["\nno validation part, so no figures"]
    lines += ["", *budget_lines(metrics)] if "minutes" in metrics else []
    lines += [f"\n{warning}" for warning in [shortfall(metrics)] if warning]
    lines += [f"\nrun folder  {folder}", f"curves      {folder / 'curves.png'}"]
    return "\n".join(lines if quiet else [*lines, "", *suggestions(folder, task)])


def suggestions(folder: Path, task: str = "language-model") -> list[str]:
    """What to try next with a run."""
    if task != "language-model":
        return [
            "try next",
            *[f"  unrolled sample {folder} --count 5"] * (task == "generate"),
            f"  unrolled predict {folder} {json_format.dumps('a text')}",
            f"  unrolled evaluate {folder}",
            f"  unrolled show {folder}",
        ]
    return [
        "try next",
        f"  unrolled sample {folder} --temperature 0.7",
        f"  unrolled score {folder} {json_format.dumps('one text')} {json_format.dumps('another text')}",
        f"  unrolled next {folder} {json_format.dumps('a beginning')}",
        f"  unrolled show {folder}",
    ]
