"""What callers give from Python: what is no text is refused, numbers keep to their ranges, random states stay."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unrolled
from commands import DATES, REVIEWS, SURNAMES, TEXT
from unrolled.arguments import checked_frames, checked_text, real, several, whole
from unrolled.errors import UserError
from unrolled.training.recipe import recipe_from_mapping

TAGS = "Ann\tB-person\nsaw\tO\nBob\tB-person\n\nBob\tB-person\nwent\tO\n\n" * 20
FILES = {
    "language-model": ("a.txt", TEXT), "classify": ("a.tsv", REVIEWS), "tag": ("a.conll", TAGS),
    "translate": ("b.tsv", DATES), "generate": ("c.tsv", SURNAMES),
}  # fmt: skip
NO_TEXTS: list[Any] = [
    b"one two",
    None,
    3,
    1.5,
    Path("a"),
    {"a": 1},
    {"text": "a"},
    bytearray(b"a"),
    ["a", "b"],
    [["a"]],
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of every task, hardly trained."""
    folder = tmp_path_factory.mktemp("arguments")
    made = {}
    for task, (name, text) in FILES.items():
        (folder / name).write_text(text)
        level = "character" if task in ("translate", "generate", "language-model") else "word"
        data = {"path": str(folder / name), "level": level}
        model = {"hidden": 6, "layers": 1, "embedding": 4, "engine": "eager"}  # nothing is compiled
        recipe = recipe_from_mapping(
            {"task": task, "data": data, "model": model, "training": {"steps": 2, "batch": 8, "window": 10}}
        )
        made[task] = unrolled.train(recipe, folder=folder / task, quiet=True, device="cpu")
    return made


TEXTS: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "language model: score": lambda runs, x: runs["language-model"].score(x),
    "language model: sample": lambda runs, x: runs["language-model"].sample(x, length=2),
    "language model: next": lambda runs, x: runs["language-model"].next(x),
    "language model: surprises": lambda runs, x: runs["language-model"].surprises(x),
    "language model: observe": lambda runs, x: runs["language-model"].observe(x),
    "classify: predict": lambda runs, x: runs["classify"].predict([x]),
    "classify: score": lambda runs, x: runs["classify"].score(x, label="good"),
    "classify: saliency": lambda runs, x: runs["classify"].saliency(x),
    "classify: observe": lambda runs, x: runs["classify"].observe(x),
    "tag: predict": lambda runs, x: runs["tag"].predict_all([x]),
    "translate: predict": lambda runs, x: runs["translate"].predict([x]),
    "translate: score": lambda runs, x: runs["translate"].score(x, source="1. may 1999"),
    "translate: source": lambda runs, x: runs["translate"].score("1999-05-01", source=x),
    "translate: tree": lambda runs, x: runs["translate"].search_tree(x),
    "generate: score": lambda runs, x: runs["generate"].score(x),
    "generate: sample": lambda runs, x: runs["generate"].sample(x, length=2),
    "generate: predict": lambda runs, x: runs["generate"].predict([x]),
}


@pytest.mark.parametrize("verb", TEXTS)
def test_what_is_no_text_is_refused(verb: str, runs: dict[str, Any]) -> None:
    for x in NO_TEXTS:
        if verb.startswith("tag") and x == ["a", "b"]:
            continue  # tokens
        with pytest.raises(TypeError):
            TEXTS[verb](runs, x)
    with pytest.raises(UserError, match="not valid Unicode at character 2"):
        TEXTS[verb](runs, "a\ud800")


@pytest.mark.parametrize("task", ["classify", "tag", "translate", "generate"])
def test_what_is_no_list_of_texts_is_refused(task: str, runs: dict[str, Any]) -> None:
    for x in (b"text", None, 3, {"a": 1}, Path("a")):
        with pytest.raises(TypeError):
            runs[task].predict(x)


def test_a_blank_in_a_token_does_not_change_the_kind_of_answer(runs: dict[str, Any]) -> None:
    run = runs["tag"]
    assert len(run.predict(("New York", "Bob")).labels) == 2
    assert [one.x for one in run.predict(["New York", "Bob"])] == [("New", "York"), ("Bob",)]
    assert [one.x for one in run.predict([["New York", "Bob"], ["Ann"]])] == [("New York", "Bob"), ("Ann",)]
    assert [one.x for one in run.predict_all(["Ann saw", "Bob"])] == [("Ann", "saw"), ("Bob",)]


def state() -> tuple[Any, ...]:
    name, numbers, *rest = np.random.get_state()  # the state that must stay where it is
    return torch.get_rng_state().tolist(), name, np.asarray(numbers).tolist(), *rest, random.getstate()


USES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "load": lambda runs: [unrolled.load(run.folder) for run in runs.values()],
    "evaluate": lambda runs: [run.evaluate() for run in runs.values()],
    "predict": lambda runs: [
        runs[task].predict("1. may 1999") for task in ("classify", "tag", "translate", "generate")
    ],
    "score": lambda runs: [runs["language-model"].score("The"), runs["generate"].score("Rossi")],
    "next": lambda runs: runs["language-model"].next("The"),
    "sample": lambda runs: [runs[task].sample(length=5) for task in ("language-model", "generate")],
    "seeded": lambda runs: [runs[task].sample(length=5, seed=1) for task in ("language-model", "generate")],
    "observe": lambda runs: runs["classify"].observe("a film"),
    "saliency": lambda runs: runs["classify"].saliency("a film"),
    "embeddings": lambda runs: runs["language-model"].embeddings().plane(5),
    "gradients": lambda runs: runs["language-model"].gradients("The cat", fresh="gru"),
    "tree": lambda runs: runs["translate"].search_tree("1. may 1999"),
}


@pytest.mark.parametrize("use", USES)
def test_using_a_run_moves_no_random_state(use: str, runs: dict[str, Any]) -> None:
    before = state()
    USES[use](runs)
    assert state() == before


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"length": 0}, "length 0"), ({"length": -(10**30)}, "length"), ({"length": 10**30}, "length"),
        ({"temperature": math.nan}, "temperature nan"), ({"temperature": math.inf}, "temperature inf"),
        ({"temperature": -1}, "temperature -1"), ({"top_k": 10**30}, "top_k"), ({"top_p": math.nan}, "top_p nan"),
        ({"min_p": -0.1}, "min_p -0.1"), ({"repetition": math.inf}, "repetition inf"), ({"seed": -1}, "seed -1"),
        ({"seed": 2**64}, "seed 18446744073709551616"), ({"length": 10**5000}, "length of thousands of digits"),
    ],
)  # fmt: skip
def test_numbers_of_a_sample_out_of_range(how: dict[str, Any], named: str, runs: dict[str, Any]) -> None:
    for task in ("language-model", "generate"):
        with pytest.raises(UserError) as error:
            runs[task].sample(**how)
        assert str(error.value).startswith(named)


@pytest.mark.parametrize(
    "how", [{"length": 2.5}, {"length": "9"}, {"seed": 1.0}, {"top_k": True}, {"temperature": "1"}]
)
def test_what_is_no_number(how: dict[str, Any], runs: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(how))} must be a"):
        runs["language-model"].sample(**how)


@pytest.mark.parametrize(
    "search",
    [
        {"beam": 0}, {"beam": 10**20}, {"beam": -1}, {"alpha": 300}, {"alpha": math.nan}, {"alpha": -1},
        {"coverage": math.inf}, {"block_repeats": -1}, {"best": 0}, {"best": 10**9}, {"block_repeats": 10**30},
    ],
)  # fmt: skip
def test_numbers_of_a_search_out_of_range(search: dict[str, Any], runs: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(search))):
        runs["translate"].predict("1. may 1999", **search)


def test_numbers_of_numpy_are_numbers(runs: dict[str, Any]) -> None:
    numbers: dict[str, Any] = {"length": np.int64(3), "seed": np.int32(1), "temperature": np.float32(0.5)}
    assert runs["language-model"].sample(**numbers) == runs["language-model"].sample(length=3, seed=1, temperature=0.5)


def test_counts_and_tops(runs: dict[str, Any]) -> None:
    run = runs["language-model"]
    for call in (lambda: run.samples(0), lambda: run.samples(10**12), lambda: run.next(top=0)):
        with pytest.raises(UserError, match=r"count|top"):
            call()
    with pytest.raises(UserError, match="length 1"):
        run.gradients(length=1)
    with pytest.raises(UserError, match="seed -1"):
        run.gradients(fresh="gru", seed=-1)
    with pytest.raises(UserError, match="beam width 2000"):
        runs["translate"].blame(wider=2000)


@given(st.integers() | st.floats() | st.text(max_size=3) | st.none() | st.booleans(), st.integers(-5, 5))
def test_a_whole_number_is_in_its_range_or_refused(value: Any, low: int) -> None:
    try:
        found = whole("n", value, low, low + 10)
    except TypeError:
        assert not isinstance(value, int) or isinstance(value, bool)
    except UserError:
        assert not low <= value <= low + 10
    else:
        assert found == value
        assert low <= found <= low + 10


@given(st.floats() | st.integers() | st.text(max_size=3))
def test_a_number_is_in_its_range_or_refused(value: Any) -> None:
    try:
        assert 0 <= real("x", value, 0, 1) <= 1
    except TypeError:
        assert isinstance(value, str)
    except UserError:
        assert not 0 <= value <= 1


@given(st.text())
def test_a_text_is_itself(text: str) -> None:
    assert checked_text(text) is text


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros(3), np.zeros((0, 2)), np.array([["a", "b"]]), np.array([[1, None]]), np.array([[np.nan, 1.0]]),
        np.array([[1e300, 1.0]]), np.zeros((2, 2), dtype=complex), np.zeros((1, 2, 3)), np.array(3.0),
    ],
)  # fmt: skip
def test_frames_that_are_none(frames: Any) -> None:
    with pytest.raises(UserError, match="the frames given"):
        checked_frames(frames)


def test_several_are_anything_that_gives_them() -> None:
    assert several(iter("ab"), "a text") == ["a", "b"]
    with pytest.raises(TypeError, match=r"a text or a list of them must be given, not bytes; decode it first"):
        several(b"ab", "a text")
