"""Rows are split class by class: every part has its share of every class, whatever the rows' order."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.examples import parts_of_rows
from unrolled.data.labelled import Example
from unrolled.data.splitting import STRATIFIED, Split
from unrolled.errors import UserError

RULE = Split.parse(STRATIFIED, "rows")


@given(classes=st.lists(st.integers(10, 40), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_every_part_has_its_share_of_every_class(classes: list[int], seed: int) -> None:
    examples = [
        Example(f"{label} text {number}", str(label), 1) for label, n in enumerate(classes) for number in range(n)
    ]
    random.Random(seed).shuffle(examples)
    parts = parts_of_rows(RULE, examples, "classify")
    assert np.bincount(parts, minlength=3).tolist() == np.bincount(RULE.parts(len(examples)), minlength=3).tolist()
    for label, count in enumerate(classes):
        own = parts[[example.y == str(label) for example in examples]]
        for part in (1, 2):
            assert abs((own == part).sum() - count / 10) < 1


@pytest.mark.parametrize("period", [2, 5, 10])
def test_rows_that_take_turns(period: int) -> None:
    examples = [Example(f"it is thing {n}", f"class{n % period}", n + 1) for n in range(200)]
    parts = parts_of_rows(RULE, examples, "classify")
    for part in (0, 1, 2):
        assert {example.y for example, own in zip(examples, parts, strict=True) if own == part} == {
            f"class{n}" for n in range(period)
        }


@given(seed=st.integers(0, 99), kind=st.sampled_from(["classify", "tag", "translate"]))
def test_the_order_of_the_rows_does_not_matter(seed: int, kind: str) -> None:
    examples = [Example(f"text {n}", ("O",) if kind == "tag" else f"y {n % 3}", n) for n in range(60)]
    shuffled = random.Random(seed).sample(examples, len(examples))
    first, second = (
        dict(zip((example.x for example in rows), parts_of_rows(RULE, rows, kind).tolist(), strict=True))
        for rows in (examples, shuffled)
    )
    assert first == second


def test_a_source_with_several_targets_is_in_one_part() -> None:
    examples = [Example(f"source {n // 3}", f"target {n}", n) for n in range(90)]
    parts = parts_of_rows(RULE, examples, "translate").reshape(-1, 3)
    assert (parts == parts[:, :1]).all()
    assert set(parts.ravel().tolist()) == {0, 1, 2}


def test_text_and_lines_are_not_split_so() -> None:
    for format in ("text", "lines"):
        with pytest.raises(UserError, match="is for tasks that read rows"):
            Split.parse(STRATIFIED, format)
