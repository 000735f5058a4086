"""Sizes that nobody chose: they grow with the time and the text, and leave alone what somebody chose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.tasks.sizes import SIZES, classifier, fitted, recurrent_parameters, symbol_model, tagger
from unrolled.training.recipe import Recipe, recipe_from_mapping, recipe_text


def recipe(task: str = "language-model", **chosen: object) -> Recipe:
    overrides = {name.replace("__", "."): value for name, value in chosen.items()}
    return recipe_from_mapping({"task": task, "training": {"minutes": 1}}, overrides)


def parameters(sized: Recipe) -> int:
    return recurrent_parameters(sized.model.hidden, sized.model.embedding, sized.model.layers)


@given(
    seconds=st.floats(5.0, 7200.0), more=st.floats(1.0, 10.0), symbols=st.integers(100, 10**8),
    vocabulary=st.sampled_from([30, 256, 8_000, 50_000]), cores=st.integers(1, 64),
)  # fmt: skip
def test_with_more_time_a_language_model_is_no_smaller(
    seconds: float, more: float, symbols: int, vocabulary: int, cores: int
) -> None:
    less, greater = (
        symbol_model(recipe(), symbols=symbols, vocabulary=vocabulary, seconds=time, cores=cores)
        for time in (seconds, more * seconds)
    )
    assert parameters(less) <= parameters(greater)
    assert less.model.dropout <= greater.model.dropout
    assert less.model.hidden in SIZES
    assert recipe_text(less)  # a recipe that can be written


def test_a_small_text_is_not_learned_by_heart() -> None:
    small, large = (
        symbol_model(recipe(), symbols=symbols, vocabulary=100, seconds=300, cores=2)
        for symbols in (100_000, 50_000_000)
    )
    assert small.model.dropout > large.model.dropout == 0


def test_what_somebody_chose_stays() -> None:
    chosen = recipe(model__hidden=77, training__batch=5)
    sized = symbol_model(chosen, symbols=10**6, vocabulary=100, seconds=60, cores=1)
    assert (sized.model.hidden, sized.training.batch) == (77, 5)
    assert sized.training.window == 64
    assert fitted(Recipe(), {"model.hidden": 3}) == Recipe()  # made in Python: every value was chosen


@pytest.mark.parametrize(("seconds", "hidden"), [(60, 64), (240, 100)])
def test_classifiers_of_words_start_from_what_counting_knows(seconds: float, hidden: int) -> None:
    words = classifier(recipe("classify"), words=True, seconds=seconds, cores=1)
    assert (words.model.hidden, words.model.embedding_start, words.model.pooling) == (hidden, "ratios", "mean")
    frames = classifier(recipe("classify"), words=False, seconds=seconds, cores=1)
    assert (frames.model.hidden, frames.model.embedding_start, frames.model.pooling) == (hidden, "random", "last")


def test_taggers_of_short_runs_are_small() -> None:
    hidden = [tagger(recipe("tag"), sentences=9, seconds=seconds, cores=2).model.hidden for seconds in (60, 200, 600)]
    assert hidden == [64, 128, 200]
    assert tagger(recipe("tag", model__characters=0), sentences=9, seconds=60, cores=1).model.characters == 0
