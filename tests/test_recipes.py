"""Every recipe opens with the command that runs it and the figure it reached, loads, and trains."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled.run import load
from unrolled.training.recipe import load_recipe
from unrolled.training.session import begin

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
SMALL = {
    "model.hidden": 8,
    "model.embedding": 8,
    "training.steps": 2,
    "training.batch": 4,
    "training.window": 5,
    "training.validate_every": 0,
    "training.clip_norm": 1.0,
}


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"shakespeare", "shakespeare-quick", "names", "dinosaurs", "wikitext2"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_its_command_and_figure_and_stands_in_the_readme(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert head.splitlines()[0].split(" --init ")[0] == f"# unrolled train recipes/{path.name}"
    assert "\n# Reached: " in head
    assert f"`{path.stem}`" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_on_its_data(path: Path, tmp_path: Path, shared_data: Path) -> None:
    recipe = load_recipe(path, SMALL)
    assert not recipe.data.path or (path.parent / recipe.data.path).resolve().is_relative_to(shared_data.resolve())
    given: dict[str, object] = dict(SMALL)
    if (
        recipe.task != "language-model" and recipe.data.path
    ):  # all of a table takes longer to read and to measure than to train two steps
        rows = str(_whole_rows(path.parent / recipe.data.path, tmp_path))
        given |= {f"data.{name}": rows for name in ("path", "valid", "test") if getattr(recipe.data, name)}
    if recipe.data.vectors:  # they are made first, by the command in the recipe's head
        given["data.vectors"] = str(_vectors(tmp_path))
    if path.stem.startswith("shakespeare"):  # measuring all of it would be most of the test's time
        given["data.path"] = str(_beginning(path.parent / recipe.data.path, tmp_path))
    if path.stem == "wikitext2":
        beginning = str(_beginning(path.parent / recipe.data.valid, tmp_path))
        given |= {"data.valid": beginning, "data.test": beginning, "model.cutoffs": [2500]}
    recipe = load_recipe(path, given)
    begin(recipe, base=path.parent, name="run", folder=tmp_path / "run", quiet=True, device="cpu")
    run = load(tmp_path / "run")
    if recipe.task in ("language-model", "generate"):
        assert run.sample(length=5, seed=1)
    elif recipe.model.predicts == "number":
        assert run.metrics["test"]["root_mean_square_error"] > 0
    else:
        assert 0 <= run.metrics["test"]["exact" if recipe.task == "translate" else "accuracy"] <= 1


def _whole_rows(path: Path, folder: Path) -> Path:
    """The beginning of a labelled file, up to the end of a row or a sentence; small files as they are."""
    if path.stat().st_size < 50_000 or path.suffix == ".ts":
        return path
    opened = gzip.open if path.suffix == ".gz" else open
    part = folder / path.name.removesuffix(".gz")
    with opened(path, "rt", encoding="utf-8") as file:
        if "conll" in path.name:
            text = file.read(60_000)
            whole = text[: max(text.rfind("\n\n"), text.rfind("\n\t\n"))]
            part.write_text(whole + "\n", encoding="utf-8")
        else:  # rows from everywhere: some files are sorted by their label
            first, *rows = file.readlines()
            part.write_text(first + "".join(rows[:: max(1, len(rows) // 400)]), encoding="utf-8")
    return part


def _vectors(folder: Path) -> Path:
    (folder / "vectors.txt").write_text("the 1 0 0 0 0 0 0 0\nLondon 0 1 0 0 0 0 0 0\n", encoding="utf-8")
    return folder / "vectors.txt"


def _beginning(path: Path, folder: Path) -> Path:
    part = folder / "beginning.txt"
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        part.write_text(file.read(20_000), encoding="utf-8")
    return part


def test_the_share_of_new_names(tmp_path: Path) -> None:
    text = tmp_path / "names.txt"
    text.write_text("\n".join(f"{a}{b}{c}" for a in "bdgk" for b in "aeiou" for c in "mnrst") + "\n", encoding="utf-8")
    recipe = load_recipe(ROOT / "recipes" / "names.toml", {**SMALL, "data.path": str(text)})
    begin(recipe, base=Path(), name="run", folder=tmp_path / "run", quiet=True, device="cpu")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.novelty", str(tmp_path / "run"), "--count", "50"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    first, second, third = done.stdout.splitlines()
    assert first.startswith("50 samples, ")
    assert first.endswith("training part: 80 lines")
    assert second.startswith("not in the training part: ")
    assert third.startswith("for instance: ")
