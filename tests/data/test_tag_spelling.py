"""Tags of spans in every spelling: recognised, there and back; mistakes are named and plain labels left alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.tag_labels import TagLabels
from unrolled.data.tag_schemes import OUTSIDE, tags_of
from unrolled.data.tag_spelling import FAMILIES, FORMS, UNTYPED, Spelling, spelling_of
from unrolled.errors import UserError

TYPES = ("person", "creative-work")
SPELLINGS = st.builds(Spelling, st.sampled_from(sorted(FAMILIES)), st.sampled_from(FORMS), st.sampled_from(["O", "o"]))


@given(SPELLINGS, st.sampled_from("BIES"), st.sampled_from(["x", "creative-work", "a_b", "B"]))
def test_every_spelling_goes_there_and_back(spelling: Spelling, prefix: str, type: str) -> None:
    tag = f"{prefix}-{type if 'TYPE' in spelling.form else UNTYPED}"
    assert spelling.canonical(spelling.spelled(tag)) == tag
    assert spelling.canonical(spelling.spelled(OUTSIDE)) == OUTSIDE
    assert Spelling.read(spelling.written()) == spelling


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_files_of_spans_are_read_as_spans(family: str, form: str, tmp_path: Path) -> None:
    spelling = Spelling(family, form, "o" if "b" in form else "O")
    types = TYPES if "TYPE" in form else (UNTYPED,)
    tags = []
    for number in range(12):
        from unrolled.data.tag_schemes import Span

        spans = [Span(0, 1 + number % 3, types[0]), Span(4, 5 + number % 4, types[-1])]
        tags.append(tags_of(spans, 9, "BIOES"))
    written = [[spelling.spelled(tag) for tag in row] for row in tags]
    labels = TagLabels.of(written, "data")
    assert (labels.scheme, labels.written) == ("BIOES", "BIOES")
    labels.save(tmp_path)
    assert TagLabels.load(tmp_path) == labels
    for row in written:
        assert list(labels.spelled(labels.answer(labels.targets(row, "here").tolist()))) == row


@pytest.mark.parametrize(
    ("rows", "written"),
    [
        ([["B_PER", "I_PER", "O"], ["B_LOC"]], "IOB2"),
        ([["PER-B", "PER-I", "O"], ["LOC-B", "O"]], "IOB2"),
        ([["b-per", "i-per", "o"], ["b-loc"]], "IOB2"),
        ([["I_PER", "I_PER", "O"]], "IO"),
        ([["B", "I", "O"], ["B", "O"]], "IOB2"),
        ([["B-PER", "I-PER", "0"], ["B-LOC", "0"]], "IOB2"),
        ([["B-PER", "I-PER", "none"], ["B-LOC", "none"]], "IOB2"),
        ([["U-x", "O"], ["B-x", "L-x"]], "BIOES"),
    ],
)
def test_unusual_files_are_recognised(rows: list[list[str]], written: str) -> None:
    labels = TagLabels.of(rows, "data")
    assert labels.written == written
    for row in rows:
        assert list(labels.spelled(labels.answer(labels.targets(row, "here").tolist()))) == row


@pytest.mark.parametrize(
    "rows",
    [
        [["NOUN", "VERB", "O"]], [["V", "N"], ["N"]], [["O", "O"]], [["A", "B", "AB", "O"]], [["E", "I"]],
        [["in-B", "out-A", "O"]], [["p", "q"]], [["S-1", "S-2", "A"]], [["U-1", "L-2"]],
    ],
)  # fmt: skip
def test_labels_that_are_no_spans_stay_labels(rows: list[list[str]]) -> None:
    assert TagLabels.of(rows, "data").scheme == ""
    assert set(TagLabels.of(rows, "data").names) == {label for row in rows for label in row}


@pytest.mark.parametrize("odd", ["# id", "Bperson", "B-", "0", "b-person", "L-person", "NOUN"])
def test_a_mistake_among_spans_is_named_with_its_line(odd: str) -> None:
    rows = [["B-person", "I-person", "O"]] * 20 + [["O", odd]]
    lines = [[4 * n + 1, 4 * n + 2, 4 * n + 3] for n in range(21)]
    with pytest.raises(UserError) as caught:
        TagLabels.of(rows, "people.conll", rows=lines)
    assert f"people.conll, line 82: the label {odd!r} is not a tag of a span, as 'B-person' is" in str(caught.value)
    assert TagLabels.of(rows, "people.conll", "none").scheme == ""
    assert spelling_of(rows[:20]) == (Spelling(), frozenset())


def test_a_spelling_is_shown_in_words() -> None:
    assert Spelling().shown == ""
    assert Spelling("BILOU", "TYPE-B", "0").shown == "BILOU, as TYPE-B, outside 0"


def test_a_step_that_the_scheme_forbids_is_named_with_its_line() -> None:
    rows = [["B-x", "I-x", "O"]] * 9 + [["O", "I-x"]]
    labels = TagLabels.of(rows, "data")
    assert labels.written == "IOB2"
    with pytest.raises(UserError, match=r"data, line 42: I-x after O in IOB2; correct the row"):
        labels.targets(rows[-1], "data", [41, 42])


def test_spans_of_which_only_the_end_is_marked_are_refused() -> None:
    with pytest.raises(UserError, match=r"spans in IOE .* convert them to IOB2 or BIOES"):
        TagLabels.of([["I-x", "E-x", "O"]], "data")


@pytest.mark.parametrize("written", ["BIOES", "BIOES B-TYPE", "none B-TYPE O", "BIOES X O", "BIOES B-TYPE "])
def test_a_foreign_spelling_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"spelling|values to unpack"):
        Spelling.read(written)
