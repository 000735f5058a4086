"""One tiny run, trained once as a person would, and a place to use it in."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import REVIEWS, TEXT, TINY, Answer, typed
from typer.testing import CliRunner

from unrolled.cli.app import app


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with text.txt and runs/demo, and what the training printed."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text(TEXT)
    (folder / "reviews.tsv").write_text(REVIEWS)
    (folder / "README.md").write_text("The cat sat.\n\nA dog ate the hat.\n")
    steps = ["--set", "training.steps=60", "--set", "training.window=20", "--set", "training.learning_rate=0.03"]
    result = typed(
        "train", "language-model", "--data", "text.txt", "--run", "runs/demo", "--threads", "1", *TINY, *steps,
        folder=folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    classified = typed(
        "train", "classify", "--data", "reviews.tsv", "--run", "runs/reviews", "--threads", "1", *TINY, *steps,
        folder=folder,
    )  # fmt: skip
    assert classified.returncode == 0, classified.stderr
    return folder, result


@pytest.fixture
def place(trained: tuple[Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the test's own, with text.txt, README.md and runs/demo."""
    for name in ("text.txt", "README.md", "reviews.tsv"):
        shutil.copy(trained[0] / name, tmp_path)
    for name in ("demo", "reviews"):
        shutil.copytree(trained[0] / "runs" / name, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("UNROLLED_ENGINE", raising=False)
    return tmp_path


@pytest.fixture
def unrolled(place: Path) -> Callable[..., Answer]:
    """Types a command in this process: quick, for what needs no process of its own."""

    def run(*words: str, input: str | None = None) -> Answer:
        result = CliRunner().invoke(app, list(words), input=input, prog_name="unrolled", color=False)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run
