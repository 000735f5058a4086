"""A run starts from another: all of it where the labels are the same, its encoder where they are not."""

from pathlib import Path

import pytest
import torch

from commands import REVIEWS
from unrolled.errors import UserError
from unrolled.training.recipe import Recipe, recipe_from_mapping
from unrolled.training.run_folder import load_weights
from unrolled.training.session import begin

MODEL = {"hidden": 12, "embedding": 8, "layers": 1, "dropout": 0.0, "embedding_dropout": 0.0}
NONE = {"steps": 1, "batch": 8, "learning_rate": 1e-12, "weight_decay": 0.0}
"""So little training that the weights stay as they began."""


def recipe_of(task: str, path: Path, **model: object) -> Recipe:
    return recipe_from_mapping(
        {"task": task, "data": {"path": str(path), "level": "word"}, "model": {**MODEL, **model}, "training": NONE}
    )


def begun(recipe: Recipe, folder: Path, init: Path | None = None) -> dict[str, torch.Tensor]:
    recipe = recipe.with_overrides({"training.seed": 2 if init else 1})  # so that only what was taken is the same
    begin(recipe, base=Path(), name="run", folder=folder, init=init, quiet=True, device="cpu")
    return load_weights(folder)[0]


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, atol=1e-9)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.tsv"
    path.write_text(REVIEWS)
    return path


def test_the_same_labels_give_everything(reviews: Path, tmp_path: Path) -> None:
    first = begun(recipe_of("classify", reviews), tmp_path / "first")
    second = begun(recipe_of("classify", reviews), tmp_path / "second", tmp_path / "first")
    assert all(same(first[name], second[name]) for name in first)


def test_other_labels_give_the_encoder_and_the_vocabulary(reviews: Path, tmp_path: Path) -> None:
    first = begun(recipe_of("classify", reviews), tmp_path / "first")
    other = tmp_path / "other.tsv"
    other.write_text("long\ta fine story\nshort\ta poor and dull one\nhigh\tlovely\n" * 10)
    second = begun(recipe_of("classify", other), tmp_path / "second", tmp_path / "first")
    for name in first:
        assert same(first[name], second[name]) == name.startswith("encoder."), name
    kept = [(tmp_path / run / "vocabulary.json").read_text() for run in ("first", "second")]
    assert kept[0] == kept[1]


def test_a_tagger_starts_from_a_classifier(reviews: Path, tmp_path: Path) -> None:
    first = begun(recipe_of("classify", reviews), tmp_path / "first")
    tags = tmp_path / "tags.conll"
    tags.write_text("a\tO\nfine\tX\nfilm\tO\n\n" * 30)
    second = begun(recipe_of("tag", tags, characters=0), tmp_path / "second", tmp_path / "first")
    assert all(same(first[name], second[name]) for name in first if name.startswith("encoder."))


def test_a_language_model_gives_what_fits(reviews: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a fine film and a dull film\n" * 200)
    first = begun(recipe_of("language-model", text), tmp_path / "first")
    both = begun(recipe_of("classify", reviews, bidirectional=True), tmp_path / "both", tmp_path / "first")
    assert same(first["input.weight"], both["encoder.input.weight"])
    assert not any(same(both[f"encoder.{name}"], value) for name, value in first.items() if "recurrent" in name)
    one = begun(recipe_of("classify", reviews, bidirectional=False), tmp_path / "one", tmp_path / "first")
    assert all(same(one[f"encoder.{name}"], value) for name, value in first.items() if name[:5] in ("input", "recur"))


def test_what_does_not_fit_is_said(reviews: Path, tmp_path: Path) -> None:
    begun(recipe_of("classify", reviews), tmp_path / "first")
    other = tmp_path / "other.tsv"
    other.write_text("long\ta fine story\nshort\ta poor one\n" * 20)
    with pytest.raises(UserError, match="neither its input layer nor its recurrent layers fit this model"):
        begun(recipe_of("classify", other, embedding=4, hidden=6), tmp_path / "second", tmp_path / "first")
    text = tmp_path / "text.txt"
    text.write_text("a fine film\n" * 200)
    with pytest.raises(UserError, match="is a run of the task classify, and language-model starts only from its own"):
        begun(recipe_of("language-model", text), tmp_path / "third", tmp_path / "first")
