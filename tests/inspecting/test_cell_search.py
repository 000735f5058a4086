"""Features of texts, and the units that track them."""

import numpy as np
import pytest

from unrolled.inspecting.cell_picture import draw_cells
from unrolled.inspecting.cell_search import UnitName, correlations, search_cells
from unrolled.inspecting.text_features import text_features


def test_features_of_a_text() -> None:
    found = text_features([list('  ab ("C1"\n\n#x')])
    expected = {
        "indentation of the line": [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0],
        "characters of the line so far": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 1, 2],
        "characters of the word so far": [0, 0, 1, 2, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1],
        "words of the line so far": [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0, 1],
        "depth of brackets": [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "inside quotes": [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0],
        "after # in the line": [0] * 12 + [1, 1],
        "a capital": [0] * 7 + [1] + [0] * 6,
        "a digit": [0] * 8 + [1] + [0] * 5,
        "place in the text": list(range(1, 15)),
    }
    for name, values in expected.items():
        assert found[name].tolist() == values, name


def test_texts_begin_anew_and_a_word_counts_with_its_characters() -> None:
    found = text_features([[" one", " (two"], [" three"]])
    assert found["characters of the line so far"].tolist() == [4, 9, 6]
    assert found["depth of brackets"].tolist() == [0, 1, 0]


def test_the_unit_that_tracks_is_found() -> None:
    random = np.random.default_rng(4)
    inside = (np.arange(400) // 7 % 2).astype(float)
    states = random.normal(size=(400, 20)).astype(np.float32)
    states[:, 13] = -inside + 0.1 * states[:, 13]
    states[:, 5] = 1e-5 * inside  # a perfect correlation of nothing
    names = [UnitName(0, "c", unit) for unit in range(20)]
    features = {"inside": inside, "never": np.zeros(400), "once": (np.arange(400) > 200).astype(float)}
    found = search_cells("text", ["x"] * 400, features, states, names)
    assert [units[0].feature for units in found.found] == ["inside"]
    best = found.found[0][0]
    assert str(best.unit) == "layer 0 c[13]"
    half = np.corrcoef(inside[200:], states[200:, 13])[0, 1]
    assert best.correlation == pytest.approx(half, abs=1e-5)
    assert best.correlation < -0.9
    assert correlations(inside, states)[5] == 0


def test_pictures(drawn) -> None:
    random = np.random.default_rng(4)
    features = {"a": random.random(300), "b": random.random(300)}
    states = random.normal(size=(300, 3)).astype(np.float32)
    names = [UnitName(0, "c", unit) for unit in range(3)]
    found = search_cells("text", list("ab\n") * 100, features, states, names)
    assert drawn(draw_cells, found)[1] > 1500
    short = search_cells("text", ["a", "b"], {"a": np.ones(2)}, states[:2], names)
    assert short.found == ()
    assert drawn(draw_cells, short)[0] > 50
