"""CoNLL columns: what is a row, what a comment, what a mistake; and which line it is on."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.labelled import Labelled, read_labelled
from unrolled.errors import UserError

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6).filter(
    lambda word: not word.startswith("-DOC")
)
SENTENCES = st.lists(
    st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-x", "I-x"])), min_size=1, max_size=5), min_size=1
)
AROUND = st.text(" ", max_size=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conll")


def read(folder: Path, content: str, **settings: object) -> Labelled:
    path = folder / "rows.conll"
    path.write_bytes(content.encode())
    return read_labelled(path, "tag", **settings)  # type: ignore[arg-type]


@given(
    SENTENCES, st.sampled_from(["\t", " ", "  "]), AROUND, st.sampled_from(["", " ", "\t", " \t", "\r"]), st.booleans()
)
def test_blanks_around_columns_and_comments_change_nothing(
    folder: Path, sentences: list[list[tuple[str, str]]], mark: str, before: str, after: str, comments: bool
) -> None:
    lines: list[str] = []
    rows: list[tuple[int, ...]] = []
    for number, sentence in enumerate(sentences):
        lines += [f"# id = {number}"] * comments
        rows.append(tuple(range(len(lines) + 1, len(lines) + 1 + len(sentence))))
        lines += [f"{before}{word}{mark}{label}{after}" for word, label in sentence]
        lines.append(after.strip("\r"))
    found = read(folder, "\n".join(lines) + "\n")
    assert [(one.x, one.y, one.rows) for one in found.examples] == [
        (*zip(*sentence, strict=True), own) for sentence, own in zip(sentences, rows, strict=True)
    ]
    assert (f"{len(sentences)} comment line" in found.description) == comments


def test_what_is_a_comment_is_decided_by_the_columns(tmp_path: Path) -> None:
    rows = "# 1\n#\tO\n# O\n#tag\tB-x\n# one more\n# 2\nAnn\tB-x\n#7 O\nran O\n"
    found = read(tmp_path, rows)
    assert found.examples[0].x == ("#", "#", "#tag", "Ann", "#7", "ran")
    assert found.examples[0].rows == (2, 3, 4, 7, 8, 9)
    assert "3 comment lines left out" in found.description
    tokens = read(tmp_path, "#tag\n# a comment\nran\n", labelled=False)
    assert tokens.examples[0].x == ("#tag", "ran")


@pytest.mark.parametrize("row", ["Dr Bob B-x", "Ann", "Ann\t", "\tO", "Ann\tNNP\tB-x", "Ann\t\tO"])
def test_a_row_of_other_columns_is_a_bad_row(tmp_path: Path, row: str) -> None:
    good = "Ann\tB-x\nran\tO\n\n"
    text = good * 3 + f"We\tO\n{row}\n\n" + good
    with pytest.raises(UserError, match=r"rows\.conll, line 11: expected a token and a label in 2 columns"):
        read(tmp_path, text)
    found = read(tmp_path, text, skip_bad_rows=1)
    assert len(found.examples) == 4
    assert "1 bad rows skipped" in found.description


def test_sentences_of_other_widths_are_read_where_the_columns_are_named(tmp_path: Path) -> None:
    text = "a X p\nb Y p\n\nc X p q r\nd Y p q r\n"
    assert [one.y for one in read(tmp_path, text, text="1", label="2").examples] == [("X", "Y"), ("X", "Y")]
    with pytest.raises(UserError, match="line 4: expected a token and a label in 3 columns"):
        read(tmp_path, text + "e X p\n")


def test_to_predict_labels_need_not_be_there(tmp_path: Path) -> None:
    found = read(tmp_path, "Ann\tO\nran\n\nBob\tO\n", labelled=False)
    assert [one.x for one in found.examples] == [("Ann", "ran"), ("Bob",)]


def test_conllu_numbers_that_are_none_do_not_drop_words(tmp_path: Path) -> None:
    rest = "\t_\tX" + "\t_" * 6
    path = tmp_path / "a.conllu"
    path.write_text(f"# text\n1-2\tab{rest}\n1\ta{rest}\n_\tb{rest}\n2.1\tc{rest}\n")
    assert read_labelled(path, "tag").examples[0].x == ("a", "b")


@pytest.mark.parametrize("column", ["0", "9" * 5000, "²", "x", "-0"])
def test_columns_that_are_no_numbers(tmp_path: Path, column: str) -> None:
    with pytest.raises(UserError, match="there is no column"):
        read(tmp_path, "a O\n", label=column)
