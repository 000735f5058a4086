"""Intervals: resampled by the estimator itself, and none where resampling says nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.cli.figures import part_text
from unrolled.data.tag_labels import TagLabels
from unrolled.tasks import intervals
from unrolled.tasks.generate.figures import GenerationFigures
from unrolled.tasks.intervals import LEAST, interval
from unrolled.tasks.tag.figures import TagFigures


def mean_of(values: list[float]) -> intervals.Figures:
    each = np.array(values)
    return lambda draws: each[draws].mean(axis=1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=LEAST, max_size=40))
def test_an_interval_lies_among_the_values_and_has_a_width(values: list[float]) -> None:
    found = interval(len(values), mean_of(values))
    if found is None:
        assert np.ptp(values) <= 1e-6 * max(1, np.abs(values).max()) or values.count(max(values)) >= len(values) - 1
    else:
        assert min(values) - 1 <= found[0] < found[1] <= max(values) + 1


@pytest.mark.parametrize("count", [0, 1, 2, LEAST - 1])
def test_few_items_have_no_interval(count: int) -> None:
    assert interval(count, mean_of([float(number) for number in range(count)])) is None


def test_what_every_resampling_agrees_on_has_no_interval() -> None:
    assert interval(50, mean_of([1.0] * 50)) is None


def test_many_items_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(number % 7) for number in range(100)]
    found = interval(100, mean_of(values))
    monkeypatch.setattr(intervals, "MOST_DRAWS", 250)
    assert interval(100, mean_of(values)) == found


def test_one_sequence_prints_no_interval() -> None:
    labels = TagLabels.of([("A", "B"), ("B", "A")], "the labels", "")
    one = TagFigures(labels, 1.0, [["A", "B", "A"]], [["A", "A", "A"]], None, frozenset()).as_dict()
    assert one["interval"] is None
    assert "interval" not in part_text("tag", one)
    generated = GenerationFigures(3.0, 9, 8, 2, np.array([0, 1]), np.array([0, 0])).as_dict()
    assert generated["interval"] is None
    assert "interval" not in part_text("generate", generated)
