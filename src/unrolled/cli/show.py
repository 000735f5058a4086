"""`unrolled show`: what is in a run folder."""

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.cli.common import Common, RunFolder, say_json, table, verb
from unrolled.cli.figures import part_text, size

if TYPE_CHECKING:
    from unrolled.run import Run

EXAMPLES = ("unrolled show runs/demo", "unrolled show runs/demo --json")


@verb
def show(common: Common, run: RunFolder) -> None:
    """What a run folder holds: task, data, vocabulary, model, training, figures, files, versions."""
    from unrolled.files import understood
    from unrolled.training.run_folder import METRICS

    opened = common.load(run, "show")
    facts = facts_of(opened)
    if common.json:
        say_json(facts)
        return
    with understood(opened.folder / METRICS):
        figures = {part: facts["metrics"][part] for part in ("validation", "test") if part in facts["metrics"]}
        paragraph = table([[name, text] for name, text in paragraphs(opened, facts)])
        parts = [f"\n{part} part\n{part_text(facts['task'], own)}" for part, own in figures.items()]
    print(f"{run}: {facts['task']}, {opened.recipe.model.cell}, {opened.recipe.data.level} level\n")
    print("\n".join([paragraph, *parts]))
    print("\n" + table([[name, size(count)] for name, count in facts["files"].items()], right="-r"))


def facts_of(run: "Run") -> dict[str, Any]:
    """Everything about a run that a machine may want to know."""

    from unrolled.files import read_json
    from unrolled.training.recipe import sections_of
    from unrolled.training.run_folder import STATE_MIRROR, VERSIONS

    return {
        "run": str(run.folder),
        **sections_of(run.recipe),
        "symbols": dict(run.symbol_counts()),
        "parameters": {name: list(value.shape) for name, value in run.model.named_parameters()},
        "weights": dict(run.weights_metadata),
        "state": _optional(read_json, run.folder / STATE_MIRROR),
        "metrics": run.metrics,
        "files": files_of(run.folder),
        "versions": _optional(read_json, run.folder / VERSIONS),
    }


def _optional(read: Any, path: Path) -> dict[str, Any]:
    return read(path) if os.path.lexists(path) else {}


def files_of(folder: Path) -> dict[str, int]:
    """The folder's files and their bytes; what is inside a folder counts for that folder."""
    names = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return {path.name + "/" * path.is_dir(): _bytes(path) for path in names}


def _bytes(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in inside if not file.is_dir())


def paragraphs(run: "Run", facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The table of `show`: what a line is about, and what it says."""
    lines = [
        *_data(run),
        *run.symbol_lines(),
        *_model(run),
        *_training(run, facts),
        ("versions", ", ".join(f"{name} {value}" for name, value in facts["versions"].items())),
    ]
    said: set[str] = set()
    return [("" if name in said else said.add(name) or name, text) for name, text in lines]  # type: ignore[func-returns-value]


def _data(run: "Run") -> list[tuple[str, str]]:
    data = run.recipe.data
    kinds = {"lines": "every line a sequence by itself", "text": "running text"}
    kind = kinds.get(
        data.format, {"translate": "pairs", "generate": "sequences"}.get(run.recipe.task, "labelled sequences")
    )
    text = data.path
    if not text:
        from unrolled.data.builtin import NAME
        from unrolled.data.dates import DATES
        from unrolled.data.made import made_name

        text = DATES if run.recipe.task == "translate" else NAME
        text = made_name(data.made, data.made_length) if data.made else text
    others = [f"{part} {path}" for part, path in (("validation", data.valid), ("test", data.test)) if path]
    return [
        ("data", ", ".join([text, *others])),
        ("data", f"{kind}{_changed(data, ('path', 'valid', 'test', 'format'))}"),
    ]


def _model(run: "Run") -> list[tuple[str, str]]:
    model = run.recipe.model
    inputs = f"embedding {model.embedding}" if model.embedding else "one-hot input"
    layers = f"{model.layers} layer{'s' * (model.layers > 1)} of {model.hidden}"
    count = sum(parameter.numel() for parameter in run.model.parameters())
    own = " (a cell of its own: cell.json)" if (run.folder / "cell.json").exists() else ""
    shown = ("cell", "hidden", "layers", "embedding")
    return [
        ("model", f"{model.cell}{own}, {layers}, {inputs}{_changed(model, shown)}; {count:,} parameters"),
        *(("model", f"{name} {_shape(value)}") for name, value in run.model.named_parameters()),
    ]


def _shape(value: Any) -> str:
    return " × ".join(map(str, value.shape))


def _training(run: "Run", facts: dict[str, Any]) -> list[tuple[str, str]]:
    settings, metrics, state = run.recipe.training, facts["metrics"], facts["state"]
    step = metrics.get("step", state.get("step", 0))
    shown = ("steps", "batch", "window", "optimiser", "learning_rate", "schedule")
    text = run.recipe.task == "language-model"
    shape = f"{settings.batch} × {settings.window} symbols" if text else f"{settings.batch} sequences"
    how = (
        f"{step:,} of {settings.steps:,} steps of {shape}, {settings.optimiser}, "
        f"learning rate {settings.learning_rate:g}, {settings.schedule}{_changed(settings, shown)}"
    )
    lines = [("training", how)]
    if metrics:
        from unrolled.training.progress import duration, quantity

        counted = run.task.counted
        speed = f"{duration(metrics['seconds'])}, {quantity(metrics[f'{counted}_per_second'])} {counted}/s"
        lines.append(("training", f"best at step {metrics['best_step']:,}; {speed}"))
    else:
        lines.append(("training", f"not finished; go on with: unrolled train --resume {run.folder}"))
    return lines


def _changed(settings: Any, said: tuple[str, ...]) -> str:
    """The keys that are not at their default and have not been said; a pace is a hundred numbers that nobody reads."""
    found = [
        f"{declared.name} {getattr(settings, declared.name)}"
        for declared in fields(settings)
        if declared.name not in (*said, "pace", "validated") and getattr(settings, declared.name) != declared.default
    ]
    return "".join(f", {text}" for text in found)
