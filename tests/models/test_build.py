"""A recipe can ask for any size: a model is held to its weights' shapes and to the memory before it is made."""

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch

from once import made_once
from sessions import tiny, trained
from unrolled.data.vocabulary import SPECIALS, Vocabulary
from unrolled.errors import UserError
from unrolled.models.build import Saved, build_model
from unrolled.models.settings import MOST_UNITS, ModelSettings
from unrolled.run import load
from unrolled.training.run_folder import load_weights, save_weights
from unrolled.training.session import begin, resume

VOCABULARY = Vocabulary((*SPECIALS, "a", "b"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, worker_id: str, story: Path) -> Path:
    def make(folder: Path) -> None:
        trained(tiny(story, training__steps=1), folder / "run")

    return made_once(tmp_path_factory, worker_id, "build", make) / "run"


def changed(whole: Path, tmp_path: Path, key: str, value: object) -> Path:
    """The run with another value in its recipe."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    lines = (run / "recipe.toml").read_text().splitlines()
    written = [f"{key} = {json.dumps(value)}" if line.startswith(f"{key} = ") else line for line in lines]
    assert written != lines
    (run / "recipe.toml").write_text("\n".join(written) + "\n")
    return run


SIZES = [
    ("hidden", 10_000_000), ("hidden", 13), ("layers", 999), ("layers", 1_000_000), ("layers", 2**62),
    ("embedding", 10_000_000), ("embedding", 2**62), ("embedding", 2**70), ("head_layers", 1_000_000),
    ("head_layers", 1), ("hidden", 2**62), ("cell", "gru"), ("cell", "no cell"), ("softmax", "adaptive"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), SIZES)
def test_a_size_that_is_not_that_of_the_weights_is_refused(
    whole: Path, tmp_path: Path, key: str, value: object
) -> None:
    run = changed(whole, tmp_path, key, value)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for use in (load, lambda folder: resume(folder, device="cpu", quiet=True)):
        with pytest.raises(UserError) as caught:
            use(run)
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes, of which none is needed"


def test_a_model_larger_than_the_memory_is_refused() -> None:
    with pytest.raises(UserError, match=r"the model's weights need [0-9,]+ GB, and this machine has"):
        build_model(ModelSettings(hidden=10_000_000), VOCABULARY)
    with pytest.raises(UserError, match="of memory; make model"):
        build_model(ModelSettings(hidden=MOST_UNITS, embedding=MOST_UNITS, layers=3), VOCABULARY)


def test_weights_of_another_type_are_refused(tmp_path: Path) -> None:
    settings = ModelSettings(hidden=4, layers=1, embedding=4)
    model = build_model(settings, VOCABULARY)
    tensors = dict(model.named_parameters())
    build_model(settings, VOCABULARY, saved=Saved(tensors, tmp_path))
    with pytest.raises(UserError, match=r"output\.bias is of torch\.bool there and of torch\.float32 here"):
        build_model(settings, VOCABULARY, saved=Saved(tensors | {"output.bias": torch.zeros(6) > 0}, tmp_path))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused(whole: Path, tmp_path: Path, value: float) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    tensors, metadata = load_weights(run)
    save_weights(run, tensors | {"output.bias": torch.full_like(tensors["output.bias"], value)}, metadata)
    with pytest.raises(UserError, match=r"output\.bias holds NaN or infinity"):
        load(run)


def test_a_run_to_start_from_is_held_to_its_weights_too(whole: Path, tmp_path: Path, story: Path) -> None:
    with pytest.raises(UserError, match="do not fit this model"):
        begin(tiny(story, model__hidden=1_000_000), base=Path(), name="run", folder=tmp_path / "new", init=whole,
              device="cpu", quiet=True)  # fmt: skip
