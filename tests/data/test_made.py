"""Data that are made: what the classical problems say, and sentences whose verb agrees."""

import random

import numpy as np
import pytest

import unrolled
from unrolled.data import made
from unrolled.data.agreement import PLURAL, SINGULAR, agreement_text, made_agreement
from unrolled.errors import UserError
from unrolled.training.recipe import Recipe, recipe_from_mapping


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "COUNTS", (40, 8, 8))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("length", [2, 7, 50])
def test_adding_is_the_sum_of_two_marked_numbers_one_of_each_half(length: int) -> None:
    for example in (example for part in made.made_examples("adding", length) for example in part):
        assert isinstance(example.x, np.ndarray)
        assert example.x.shape == (length, 2)
        marked = np.flatnonzero(example.x[:, 1])
        assert marked[0] < length // 2 <= marked[1]
        assert float(example.y) == pytest.approx(float(example.x[marked, 0].sum()), abs=1e-5)  # type: ignore[arg-type]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("length", [2, 30])
def test_copy_asks_for_the_signs_after_the_pause(length: int) -> None:
    for example in made.made_examples("copy", length)[0]:
        assert isinstance(example.y, tuple)
        assert len(example.x) == len(example.y) == length + 20
        assert example.x[:10] == example.y[-10:]
        assert set(example.y[:-10]) == {made.BLANK}
        assert example.x.index(made.NOW) == length + 9  # type: ignore[union-attr]


@pytest.mark.usefixtures("few")
def test_made_data_are_the_same_each_time_and_parts_differ() -> None:
    once, again = made.made_examples("adding", 5), made.made_examples("adding", 5)
    assert all((a.x == b.x).all() for a, b in zip(once[0], again[0], strict=True))  # type: ignore[union-attr]
    assert {one.y for one in once[0]}.isdisjoint(one.y for one in once[1])


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 17, 60])
def test_only_the_subject_tells_the_verb(distance: int) -> None:
    for seed in range(30):
        one = made_agreement(random.Random(seed), distance)
        assert one.distance == distance
        singular, plural = one.text(False), one.text(True)
        assert f" {SINGULAR} " in singular
        assert f" {PLURAL} " in plural
        assert singular.replace(SINGULAR, PLURAL).replace(one.subject, one.subject + "s", 1) == plural


def test_both_numbers_and_all_distances_come_equally_often() -> None:
    lines = agreement_text(count=4000).splitlines()
    singular = sum(f" {SINGULAR} " in line for line in lines)
    assert 1850 < singular < 2150
    lengths = np.array([len(line.split()) for line in lines])
    assert set(lengths - 4) == set(range(61))


def recipe(task: str, name: str, **more: object) -> Recipe:
    sizes = {"hidden": 8, "layers": 1, **({"predicts": "number"} if name == "adding" else {})}
    data = {"made": name, **({"format": "lines", "level": "word"} if name == "agreement" else {})}
    training = {"steps": 3, "batch": 8}
    return recipe_from_mapping({"task": task, "data": data | more, "model": sizes, "training": training})


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("task", "name"), [("classify", "adding"), ("tag", "copy")])
def test_they_are_trained_on_by_name(tmp_path, task: str, name: str) -> None:  # type: ignore[no-untyped-def]
    run = unrolled.train(recipe(task, name, made_length=4), folder=tmp_path / "run", quiet=True, device="cpu")
    assert len(run.own_part().examples) == 8  # type: ignore[attr-defined]
    assert run.evaluate() is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("tag", {"made": "adding"}, 'data.made = "adding" is for the task classify, and this is tag'),
        ("language-model", {"made": "copy"}, "for which there is"),
        ("classify", {"made": "adding", "path": "x.tsv"}, "in the place of files"),
    ],
)
def test_mistakes(tmp_path, task: str, data: dict[str, object], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        unrolled.train(
            recipe_from_mapping({"task": task, "data": data, "training": {"steps": 1}}), folder=tmp_path / "run",
            quiet=True,
        )  # fmt: skip
