"""Tiny runs of every task, trained once in this process, and servers of them on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import unrolled
from once import made_once
from servers import Served, serving
from unrolled.serving.library import Library

SMALL = {"model.hidden": 12, "model.layers": 2, "training.batch": 8, "training.seed": 1, "training.steps": 10}
SENTENCES = "\n\n".join(
    f"{who}\tDET\nold\tADJ\n{what}\tNOUN\n{did}\tVERB"
    for who in ("the", "a")
    for what in ("cat", "dog", "aunt")
    for did in ("ran", "sat", "slept")
)  # 18 sentences


def recipe_of(folder: Path, name: str, task: str, lines: str, **more: Any) -> None:
    """Train a tiny run of a file with such lines."""
    data = folder / f"{name}{'.conll' if task == 'tag' else '.txt' if task == 'language-model' else '.tsv'}"
    data.write_text(lines, encoding="utf-8")
    text = f'task = "{task}"\n[data]\npath = "{data.name}"\n'
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    unrolled.train(
        folder / f"{name}.toml", {**SMALL, **more}, folder=folder / "runs" / name, quiet=True, device="cpu"
    )  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, story: Path, worker_id: str) -> Path:
    """Runs: writer, words, names, reviews, origins, tags, both, ahead, dates. Trained by the first who asks."""
    text = story.read_text()
    return made_once(tmp_path_factory, worker_id, "serving", lambda folder: train_all(folder, text)) / "runs"


def train_all(folder: Path, text: str) -> None:
    """All of them; see `runs`."""
    reviews = "".join(f"{word} {thing}\t{label}\n" for word, label in (("good", "up"), ("bad", "down"), ("great", "up"))
                      for thing in ("film", "play", "song", "book", "meal"))  # fmt: skip
    names = "".join(f"{name}{end}\t{kind}\n" for name in ("Ros", "Mar", "Bel", "Tim")
                    for end, kind in (("si", "Italian"), ("son", "English")))  # fmt: skip
    dates = "".join(f"{day} may {year}\t{year}-05-{day:02}\n" for day in range(1, 28, 3) for year in (1999, 2004))
    one_way = {"model.bidirectional": False}
    recipe_of(folder, "writer", "language-model", text, **{"data.level": "character"})
    recipe_of(folder, "words", "language-model", text, **{"data.level": "word", "model.characters": 4})
    recipe_of(folder, "names", "generate", names * 6, **{"data.level": "character"})
    recipe_of(folder, "reviews", "classify", reviews * 3, **one_way, **{"model.pooling": "attention"})
    recipe_of(folder, "origins", "classify", names * 3, **one_way, **{
        "data.level": "character", "model.pooling": "last",
    })  # fmt: skip
    recipe_of(folder, "tags", "tag", SENTENCES + "\n", **one_way, **{"model.crf": False})
    recipe_of(folder, "both", "tag", SENTENCES + "\n", **{"model.bidirectional": True})
    recipe_of(folder, "ahead", "tag", SENTENCES + "\n", **{
        "model.bidirectional": True, "model.chunk": 2, "model.lookahead": 2, "model.crf": False,
    })  # fmt: skip
    recipe_of(folder, "dates", "translate", dates, **{"data.level": "character", "data.vocabulary_size": 0})


class Turns:
    """Holds the lanes of a server: each stops behind every turn until it is let go on."""

    def __init__(self, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        metrics = server.app.state.serving.metrics
        self.taken, self._turn = 0, metrics.turn
        self._allowed, self._free = threading.Semaphore(0), threading.Event()
        monkeypatch.setattr(metrics, "turn", self)

    def __call__(self, *arguments: Any) -> None:
        self._turn(*arguments)
        self.taken += 1
        if not self._free.is_set():
            self._allowed.acquire(timeout=120)

    def allow(self, turns: int) -> None:
        """Let so many turns pass."""
        self._allowed.release(turns)

    def free(self) -> None:
        """Hold nothing from now on."""
        self._free.set()
        self._allowed.release(1000)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Served], Turns]]:
    """Hold the lanes of a server, until the test lets them go or ends."""
    with ExitStack() as stack:

        def held(server: Served) -> Turns:
            turns = Turns(server, monkeypatch)
            stack.callback(turns.free)
            return turns

        yield held


@pytest.fixture(scope="session")
def library(runs: Path) -> Library:
    """All of the runs, loaded once."""
    return Library({folder.name: folder for folder in sorted(runs.iterdir())})


@pytest.fixture(scope="session")
def served(library: Library) -> Iterator[Served]:
    """A server of all runs."""
    with serving(library) as server:
        yield server


@pytest.fixture
def start(library: Library) -> Iterator[Callable[..., Served]]:
    """Start a server with limits of the test's own."""
    with ExitStack() as stack:
        yield lambda limits=None, **options: stack.enter_context(serving(library, limits, **options))
