"""Saliency: what a linear model's must be, and that leaving out is leaving out."""

import numpy as np
import pytest

from unrolled import UserError
from unrolled.inspecting.saliency import Saliency, draw_saliency

TEXT = "a lovely dull film"


def test_gradient_times_input_sums_to_a_linear_models_score_without_its_bias(tiny) -> None:
    run = tiny("classify", cell="none", pooling="mean")
    for label in ("good", "bad"):
        found = run.saliency(TEXT, label=label)
        bias = run.model.output.bias[run.symbols.labels.names.index(label)].item()
        assert found.gradient_input.sum() == pytest.approx(found.score - bias, abs=1e-6)


@pytest.mark.parametrize(("embedding", "characters"), [(6, 0), (0, 0), (6, 4)])
def test_occlusion_is_the_difference_of_a_run_without_the_word(tiny, embedding: int, characters: int) -> None:
    run = tiny("classify", cell="gru", embedding=embedding, characters=characters)
    words = TEXT.split()
    found = run.saliency(TEXT, label="good")
    assert found.symbols == tuple(words)
    whole = run.score(TEXT, label="good").log_probability
    assert found.log_probability == pytest.approx(whole, abs=1e-6)
    without = [run.score(" ".join(words[:n] + words[n + 1 :]), label="good").log_probability for n in range(4)]
    np.testing.assert_allclose(found.occlusion, whole - np.array(without), atol=1e-5)
    assert np.abs(found.gradient_input).min() > 0


def test_one_word_and_mistakes(tiny) -> None:
    run = tiny("classify", cell="gru")
    found = run.saliency("film")
    assert found.label == run.predict("film").label
    assert found.occlusion.shape == found.gradient_input.shape == (1,)
    assert np.isfinite(found.occlusion).all()
    with pytest.raises(UserError, match="has no class 'best'; its classes: bad, good"):
        run.saliency("film", label="best")
    with pytest.raises(UserError, match="empty"):
        run.saliency(" ")


def test_of_a_number_in_its_own_units(tiny) -> None:
    run = tiny("classify", cell="gru", predicts="number")
    found = run.saliency("a lovely film")
    assert (found.label, found.outcome) == ("", "the number")
    whole, without = (run.predict(text).value for text in ("a lovely film", "a lovely"))
    assert found.occlusion[2] == pytest.approx(whole - without, abs=1e-5)
    assert found.score == pytest.approx(whole - run.symbols.labels.mean, abs=1e-5)
    with pytest.raises(UserError, match="it predicts numbers"):
        run.saliency("a film", label="good")


@pytest.mark.parametrize("steps", [1, 300])
def test_any_length_is_drawn(drawn, steps: int) -> None:
    values = np.sin(np.arange(steps))
    found = Saliency(("word",) * steps, "good", 1.0, -0.1, values, -values)
    height, width = drawn(draw_saliency, found)
    assert 400 < width <= 2420
    assert 400 < height < 600
