"""Word vectors: written and read back; what is wrong is named; a model starts from them, unseen words too."""

from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from unrolled.data.vectors import read_vectors, write_vectors
from unrolled.errors import UserError
from unrolled.training.recipe import recipe_from_mapping
from unrolled.training.session import begin


def test_vectors_come_back(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    write_vectors(tmp_path / "v.txt", ["a", "dog's", "été"], vectors)
    words, found = read_vectors(tmp_path / "v.txt")
    assert words == ("a", "dog's", "été")
    np.testing.assert_allclose(found, vectors, atol=1e-4)


def test_glove_has_no_first_line_and_the_first_of_a_word_counts(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("a 1 2\nb 3 4\na 5 6\n")
    words, found = read_vectors(tmp_path / "v.txt")
    assert words == ("a", "b")
    assert found.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 3\n", "line 2: expected a word and 2 numbers, found 'b 3'"),
        ("a 1 x\n", "line 1: expected a word and 2 numbers"),
        ("a 1 nan\n", "line 1: expected a word and 2 numbers"),
        ("word\n", "line 1: expected a word and its numbers"),
        ("2 3\n", "it holds no vector"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        read_vectors(tmp_path / "v.txt")


def recipe_of(folder: Path, **model: object) -> object:
    sentences = "".join(f"{name}\tN\nsat\tV\n\n" for name in ("Ann", "Bob", "cat") * 10)
    (folder / "tags.conll").write_text(sentences)
    (folder / "v.txt").write_text("Ann 1 0 0\nbob 0 2 0\nZoe 0 0 3\n")
    data = {"path": "tags.conll", "vectors": "v.txt", "min_count": 1}
    training = {"steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    settings = {"hidden": 4, "embedding": 3, "characters": 0, "embedding_scale": 0.5, **model}
    return recipe_from_mapping({"task": "tag", "data": data, "model": settings, "training": training})


@pytest.mark.parametrize("characters", [0, 4])
def test_a_model_starts_from_them(tmp_path: Path, characters: int) -> None:
    recipe = recipe_of(tmp_path, characters=characters)
    begin(recipe, base=tmp_path, name="run", folder=tmp_path / "run", quiet=True, device="cpu")  # type: ignore[arg-type]
    (tmp_path / "v.txt").unlink()  # a run needs them no more
    run = unrolled.load(tmp_path / "run")
    encoder = run.model.encoder.input
    weight = getattr(encoder, "words", encoder).weight.detach()
    ids = run.symbols.inputs.ids
    assert "Zoe" in ids
    unit = torch.nn.functional.normalize(weight, dim=1)
    for word, direction in (("Ann", 0), ("Bob", 1), ("Zoe", 2)):
        assert unit[ids[word], direction] == pytest.approx(1, abs=1e-5)
    assert weight[ids["Zoe"]].norm() == pytest.approx(3 * float(weight[ids["Ann"]].norm()), rel=1e-4)


def test_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its vectors have 3 numbers, and model\.embedding is 5; set model\.embedding"):
        begin(recipe_of(tmp_path, embedding=5), base=tmp_path, name="run", folder=tmp_path / "run", quiet=True)  # type: ignore[arg-type]


def test_vectors_are_of_words() -> None:
    with pytest.raises(UserError, match=r"data\.vectors are of words, and data\.level is"):
        recipe_from_mapping({"task": "classify", "data": {"vectors": "v.txt", "level": "character"}})
