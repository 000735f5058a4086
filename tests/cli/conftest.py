"""One tiny run, trained once as a person would, and a place to use it in."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import DATES, REVIEWS, SURNAMES, TEXT, TINY, Answer, here, typed
from once import made_once


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with text.txt and runs, and in demo.out and demo.err what runs/demo's training printed."""
    return made_once(tmp_path_factory, worker_id, "cli", train_all)


def train_all(folder: Path) -> None:
    """See `trained`."""
    (folder / "text.txt").write_text(TEXT)
    (folder / "reviews.tsv").write_text(REVIEWS)
    (folder / "README.md").write_text("The cat sat.\n\nA dog ate the hat.\n")
    steps = ["--set", "training.steps=60", "--set", "training.window=20", "--set", "training.learning_rate=0.03"]
    result = typed(
        "train", "language-model", "--data", "text.txt", "--run", "runs/demo", "--threads", "1", *TINY, *steps,
        folder=folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (folder / "demo.out").write_text(result.stdout, encoding="utf-8")
    (folder / "demo.err").write_text(result.stderr, encoding="utf-8")
    classified = typed(
        "train", "classify", "--data", "reviews.tsv", "--run", "runs/reviews", "--threads", "1", *TINY, *steps,
        folder=folder,
    )  # fmt: skip
    assert classified.returncode == 0, classified.stderr
    for task, lines, name in (("translate", DATES, "dates"), ("generate", SURNAMES, "surnames")):
        (folder / f"{name}.tsv").write_text(lines)
        level = ["--level", "character", "--set", "data.vocabulary_size=0"]
        made = typed(
            "train", task, "--data", f"{name}.tsv", "--run", f"runs/{name}", "--threads", "1", *TINY, *steps, *level,
            folder=folder,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the test's own, with text.txt, README.md and runs/demo."""
    for name in ("text.txt", "README.md", "reviews.tsv"):
        shutil.copy(trained / name, tmp_path)
    for name in ("dates.tsv", "surnames.tsv"):
        shutil.copy(trained / name, tmp_path)
    shutil.copy(trained / "dates.tsv", tmp_path / "pairs.tsv")
    for name in ("demo", "reviews", "dates", "surnames"):
        shutil.copytree(trained / "runs" / name, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("UNROLLED_ENGINE", raising=False)
    return tmp_path


@pytest.fixture
def unrolled(place: Path) -> Callable[..., Answer]:
    """Types a command in this process: quick, for what needs no process of its own."""
    return here
