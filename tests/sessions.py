"""What the tests of training share: a tiny recipe, a way to run it, and what a run folder holds bit for bit."""

from pathlib import Path

import torch

from unrolled.training.recipe import Recipe, recipe_from_mapping
from unrolled.training.run_folder import load_state, load_weights
from unrolled.training.session import Result, begin

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
