"""What the tests of training share: a tiny recipe, a way to run it, and what a run folder holds bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from unrolled.training import loop
from unrolled.training.ending import Result
from unrolled.training.recipe import Recipe, recipe_from_mapping
from unrolled.training.run_folder import load_state, load_weights
from unrolled.training.session import begin, resume

TINY = {
    "model.hidden": 12,
    "model.layers": 1,
    "model.embedding": 8,
    "training.steps": 12,
    "training.batch": 4,
    "training.window": 16,
    "training.warmup": 2,
    "training.validate_every": 4,
}


def tiny(path: Path, **overrides: object) -> Recipe:
    """A recipe of a dozen steps over `path`; overrides are written section__key."""
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    if "training.minutes" in given or "training.epochs" in given:
        given["training.steps"] = 0
    return recipe_from_mapping({"task": "language-model", "data": {"path": str(path)}}, {**TINY, **given})


def trained(recipe: Recipe, folder: Path) -> Result:
    """Train into `folder`, quietly."""
    return begin(recipe, base=Path(), name="run", folder=folder, quiet=True, device="cpu")


def assert_same_run(left: Path, right: Path) -> None:
    """Best weights, last weights, optimiser, averages, random state, position: bit for bit the same."""
    for ours, theirs in (
        (load_weights(left)[0], load_weights(right)[0]),
        (load_state(left)[0], load_state(right)[0]),
    ):
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name
    ours, theirs = load_state(left)[1], load_state(right)[1]
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


@contextmanager
def interrupted_after(updates: int) -> Iterator[None]:
    """Training asks, before every update, whether it was interrupted; it is after so many of them."""
    asked = iter([False] * updates + [True])

    class Stop:
        def __enter__(self) -> "Stop":
            return self

        def __exit__(self, *_: object) -> None:
            return

        @property
        def asked(self) -> bool:
            return next(asked, False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Interruption", Stop)
        yield


def assert_resumes(recipe: Recipe, folder: Path, updates: int) -> None:
    """A run that is interrupted after so many updates and resumed is the uninterrupted one."""
    whole, stopped = folder / "whole", folder / "stopped"
    trained(recipe, whole)
    with interrupted_after(updates):
        assert not trained(recipe, stopped).complete
    assert resume(stopped, device="cpu", quiet=True).complete
    assert_same_run(whole, stopped)
