"""What taggers thought of their labels, and where models with attention looked."""

import itertools
import math

import numpy as np
import pytest
import torch

from unrolled import UserError
from unrolled.inspecting.attention import AttentionMap, draw_attention
from unrolled.inspecting.labels import LabelTable, draw_labels


def test_marginals_are_sums_over_all_sequences(tiny) -> None:
    run = tiny("tag")
    table = run.label_table(["Dr", "Ann"])
    names = table.labels
    own = np.zeros((2, len(names)))
    for first, second in itertools.product(range(len(names)), repeat=2):
        if np.isfinite([table.transitions[-1, first], table.transitions[first, second]]).all():
            score = run.score(["Dr", "Ann"], labels=[names[first], names[second]])
            own[0, first] += math.exp(score.log_probability)
            own[1, second] += math.exp(score.log_probability)
    np.testing.assert_allclose(table.probabilities, own, atol=1e-5)
    assert [names[place] for place in table.chosen] == list(run.predict(("Dr", "Ann")).labels)
    assert np.isnan(table.transitions[-1, names.index("I-person")])
    assert table.as_dict()["transitions"][0][0] == pytest.approx(run.model.crf.transitions[0, 0].item())
    assert [share for _, share in table.ranked(0)] == sorted(table.probabilities[0], reverse=True)


def test_without_a_crf_there_are_no_transitions(tiny) -> None:
    table = tiny("tag", crf=False).label_table("Ann went")
    assert table.transitions is None
    np.testing.assert_allclose(table.probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert table.chosen == tuple(table.probabilities.argmax(axis=1))


@pytest.mark.parametrize(("steps", "crf"), [(1, True), (300, True), (1, False)])
def test_labels_of_any_length_are_drawn(drawn, steps: int, crf: bool) -> None:
    transitions = np.where(np.eye(4, dtype=bool), np.nan, 0.5) if crf else None
    shares = np.full((steps, 3), 1 / 3)
    found = LabelTable(("word",) * steps, ("O", "B-a", "I-a"), shares, (0,) * steps, transitions)
    height, width = drawn(draw_labels, found)
    assert 400 < width <= 2600
    assert 150 < height < 700


def test_a_classifiers_pooling_is_a_map_of_one_row(tiny) -> None:
    run = tiny("classify", pooling="attention")
    found = run.attention("a lovely film")
    assert (found.source, found.target) == (["a", "lovely", "film"], [run.predict("a lovely film").label])
    assert found.weights.shape == (1, 3)
    assert float(found.weights.sum()) == pytest.approx(1.0)
    with pytest.raises(UserError, match='pools by "last", which has no weights'):
        tiny("classify", cell="gru").attention("a film")


def test_a_translators_attention(tiny) -> None:
    run = tiny("translate")
    found = run.attention("11. may 1999", "1999")
    source, target, weights = found
    assert (source, target) == ([*"11.␣may␣1999"], [*"1999", "<eos>"])
    assert weights.shape == (5, 12)
    place, share = found.most(1)[0][0]
    assert share == pytest.approx(float(weights[0].max()))
    assert float(weights[0, place]) == pytest.approx(share)
    with pytest.raises(UserError, match="the text is empty"):
        run.attention(" ", "1999")


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (300, 300)])
def test_maps_of_any_size_are_drawn(drawn, rows: int, columns: int) -> None:
    found = AttentionMap(["source"] * columns, ["target"] * rows, torch.rand(rows, columns).softmax(-1))
    height, width = drawn(draw_attention, found)
    assert 150 < height <= 2420
    assert 450 < width < 2600
