"""Tiny runs of every task, trained once: to be looked into, not to be good."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unrolled
from commands import DATES, REVIEWS
from unrolled.training.recipe import recipe_from_mapping

TAGS = "Ann\tB-person\nsaw\tO\nDr\tB-person\nBob\tI-person\n\nBob\tB-person\nwent\tO\n\n" * 20
FEW_DATES = "".join(DATES.splitlines(keepends=True)[::2])
MODEL = {"hidden": 8, "layers": 1, "embedding": 6, "engine": "eager"}  # nothing is compiled
TRAINING = {"steps": 2, "batch": 8, "learning_rate": 0.02}


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Trains a run of a task, with settings of the model; the same one again where the same is asked for."""
    folder = tmp_path_factory.mktemp("tiny")
    texts = {"classify": ("a.tsv", REVIEWS), "tag": ("a.conll", TAGS), "translate": ("b.tsv", FEW_DATES)}
    for name, text in texts.values():
        (folder / name).write_text(text)
    (folder / "numbers.tsv").write_text(REVIEWS.replace("good\t", "4.5\t").replace("bad\t", "1.5\t"))
    made: dict[str, Any] = {}

    def run(task: str, **model: object) -> Any:
        key = f"{task}{model}"
        if key not in made:
            name = "numbers.tsv" if "predicts" in model else texts[task][0]
            level = "character" if task == "translate" else "word"
            data = {"path": str(folder / name), "level": level, "vocabulary_size": 0, "min_count": 1, "split": "100"}
            recipe = recipe_from_mapping(
                {"task": task, "data": data, "model": {**MODEL, **model}, "training": TRAINING}
            )  # fmt: skip
            made[key] = unrolled.train(recipe, folder=folder / f"run{len(made)}", quiet=True, device="cpu")
        return made[key]

    return run


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Calls what draws with a path, and gives the picture's height and width."""
    from matplotlib.image import imread

    def size(draw: Callable[..., None], *arguments: object, **options: object) -> tuple[int, int]:
        draw(*arguments, tmp_path / "picture.png", **options)
        height, width = imread(tmp_path / "picture.png").shape[:2]
        return height, width

    return size
