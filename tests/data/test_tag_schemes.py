"""Spans as tags: there and back in every scheme, and what each scheme allows."""

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.tag_schemes import (
    SCHEMES,
    Span,
    check,
    converted,
    label_set,
    repaired,
    scheme_of,
    spans_of,
    tags_of,
    transitions,
    types_of,
)

TYPES = ("creative-work", "person")


@st.composite
def spans(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Spans that do not overlap, some of them neighbours."""
    found, place = [], 0
    for _ in range(draw(st.integers(0, 5))):
        first = place + draw(st.integers(0, 2))
        place = first + draw(st.integers(1, 3))
        found.append(Span(first, place, draw(st.sampled_from(TYPES))))
    return found, place + draw(st.integers(0, 2))


def apart(found: list[Span]) -> bool:
    return all(a.last != b.first or a.type != b.type for a, b in pairwise(found))


@given(spans(), st.sampled_from(SCHEMES))
def test_spans_come_back_from_their_tags(given: tuple[list[Span], int], scheme: str) -> None:
    found, length = given
    tags = tags_of(found, length, scheme)
    assert check(tags, scheme) is None
    if scheme != "IO" or apart(found):
        assert spans_of(tags, scheme) == found
    assert repaired(tags, scheme) == tags


@given(spans(), st.sampled_from(SCHEMES), st.sampled_from(SCHEMES))
def test_schemes_convert_into_each_other(given: tuple[list[Span], int], source: str, target: str) -> None:
    found, length = given
    if "IO" in (source, target) and not apart(found):
        return
    tags = tags_of(found, length, source)
    there = converted(tags, source, target)
    assert there == tags_of(found, length, target)
    assert converted(there, target, source) == tags


@pytest.mark.parametrize("scheme", SCHEMES)
def test_transitions_allow_exactly_what_the_check_accepts(scheme: str) -> None:
    labels = label_set(TYPES, scheme)
    allowed, first, last = transitions(labels, scheme)
    places = {label: place for place, label in enumerate(labels)}
    for length in (1, 2, 3):
        for tags in product(labels, repeat=length):
            ids = [places[tag] for tag in tags]
            passes = first[ids[0]] and last[ids[-1]] and all(allowed[a, b] for a, b in pairwise(ids))
            assert passes == (check(tags, scheme) is None), tags
            assert check(repaired(tags, scheme), scheme) is None, tags


def test_the_scheme_is_recognised() -> None:
    assert scheme_of([["B-x", "I-x", "O"], ["O", "B-x", "B-x"]]) == "IOB2"
    assert scheme_of([["I-x", "I-x", "O"], ["I-x", "B-x"]]) == "IOB1"
    assert scheme_of([["I-x", "O", "I-y"]]) == "IO"
    assert scheme_of([["S-x", "O", "B-y", "E-y"]]) == "BIOES"
    assert scheme_of([["NOUN", "VERB"]]) == ""
    assert scheme_of([["O", "O"]]) == ""
    assert scheme_of([["B-x", "NOUN"]]) == ""
    assert types_of([["B-creative-work", "O"], ["B-person"]]) == TYPES


def test_what_breaks_a_scheme_is_named() -> None:
    assert check(["O", "I-person"], "IOB2") == "I-person after O in IOB2, at token 2"
    assert check(["B-person", "O"], "BIOES") == "O after B-person in BIOES, at token 2"
    assert check(["B-person"], "BIOES") == "the end after B-person in BIOES, at token 2"
    assert check(["E-person"], "IOB2") == "'E-person' is no tag of IOB2, at token 1"


def test_broken_predictions_are_read_as_conlleval_reads_them() -> None:
    assert repaired(["O", "I-x", "I-x", "I-y"], "IOB2") == ["O", "B-x", "I-x", "B-y"]
    assert repaired(["B-x", "O", "E-x", "S-x", "I-x"], "BIOES") == ["S-x", "O", "S-x", "S-x", "S-x"]


def test_one_mistake_is_no_other_scheme() -> None:
    right = [["B-x", "I-x", "O"], ["B-x", "O", "B-x"]] * 20
    assert scheme_of([*right, ["I-x", "O"]]) == "IOB2"
    assert scheme_of([*right, ["O", "E-x"]]) == "IOB2"
    assert scheme_of([*([["B-x", "E-x", "S-x"]] * 9), ["B-x", "O"]]) == "BIOES"
