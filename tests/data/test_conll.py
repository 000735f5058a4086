"""CoNLL as people write it: stray blanks, comments, rows that are odd, spans in every spelling."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.labelled import Example, Labelled, read_labelled
from unrolled.errors import UserError

SENTENCE = [("Dr", "B-person"), ("Ann", "I-person"), ("saw", "O"), ("Rome", "B-place")]
SEPARATORS = ("\t", " ", "  ")


def rows_of(sentence: list[tuple[str, str]], separator: str = "\t") -> str:
    return "".join(f"{word}{separator}{label}\n" for word, label in sentence) + "\n"


def read(folder: Path, text: str, *, labelled: bool = True, skip: int = 0) -> Labelled:
    path = folder / "a.conll"
    path.write_text(text)
    return read_labelled(path, "tag", labelled=labelled, skip_bad_rows=skip)


def pairs(example: Example) -> list[tuple[str, str]]:
    assert isinstance(example.x, tuple)
    assert isinstance(example.y, tuple)
    return list(zip(example.x, example.y, strict=True))


@given(st.sampled_from(SEPARATORS), st.lists(st.sampled_from(["", " ", "\t", " \t", "  "]), min_size=24, max_size=24))
def test_blanks_behind_a_label_are_none(
    tmp_path_factory: pytest.TempPathFactory, separator: str, behind: list[str]
) -> None:
    rows = (rows_of(SENTENCE, separator) * 5).splitlines()
    text = "\n".join(row + end for row, end in zip(rows, behind, strict=False)) + "\n"
    found = read(tmp_path_factory.mktemp("conll"), text)
    assert [pairs(one) for one in found.examples] == [SENTENCE] * 5


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("comment", ["# id = 0", "#id 0 1", "# text", "#", "# a b c d"])
def test_comments_are_no_tokens(tmp_path: Path, separator: str, comment: str) -> None:
    text = "".join(f"{comment}\n{rows_of(SENTENCE, separator)}" for _ in range(5))
    if comment == "#":  # a token without a label
        with pytest.raises(UserError, match=r"line 1: expected a token and a label in 2 columns.*found '#'"):
            read(tmp_path, text)
        return
    found = read(tmp_path, text)
    assert [pairs(one) for one in found.examples] == [SENTENCE] * 5
    assert found.examples[1].rows == (8, 9, 10, 11)
    assert "5 comment lines left out" in found.description


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_token_may_begin_with_a_number_sign(tmp_path: Path, separator: str) -> None:
    sentence = [("#", "O"), ("#MeToo", "B-person"), *SENTENCE]
    assert pairs(read(tmp_path, rows_of(sentence, separator) * 3).examples[0]) == sentence
    tags = [("#", "#"), ("1", "CD"), ("#", "#"), ("2", "CD")]
    assert pairs(read(tmp_path, rows_of(tags, separator) * 3).examples[0]) == tags


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("odd", ["Ann", "Ann{0}", "Ann{0}x{0}O", "#Ann"])  # fmt: skip
def test_one_odd_row_is_named_and_its_sentence_can_be_left_out(tmp_path: Path, separator: str, odd: str) -> None:
    good = rows_of(SENTENCE, separator)
    text = "# a comment\n" + good * 4 + f"He{separator}O\n{odd.format(separator)}\n\n" + good * 4
    with pytest.raises(UserError, match=r"a\.conll, line 23: "):
        read(tmp_path, text)
    found = read(tmp_path, text, skip=1)
    assert [pairs(one) for one in found.examples] == [SENTENCE] * 8
    assert len(found.skipped) == 1
    assert found.skipped[0].split("a.conll, ")[1].startswith("line 23: ")


def test_a_tab_decides_what_parts_columns(tmp_path: Path) -> None:
    text = "New York\tB-place\nis\tO\n\n" * 4
    assert read(tmp_path, text).examples[0].x == ("New York", "is")
    with pytest.raises(UserError, match=r"line 13: expected a token and a label in 2 columns, found 'New York'"):
        read(tmp_path, text + "New York\n")


def test_tokens_without_labels_are_read_for_answers(tmp_path: Path) -> None:
    assert read(tmp_path, "Ann\tB-person\nsaw\n\nBob\tB-person\n", labelled=False).examples[0].x == ("Ann", "saw")
    assert read(tmp_path, "# a text\nAnn\n#\n\n#MeToo\n", labelled=False).examples[1].x == ("#MeToo",)
    with pytest.raises(UserError, match=r"line 3: expected a token in 1 column, found 'New York'"):
        read(tmp_path, "Ann\nsaw\nNew York\n", labelled=False)
