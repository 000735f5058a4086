"""As many answers as lines, and names of files are no texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.cli.predict import as_dict, as_tsv, pretty
from unrolled.cli.rows import Blank, answered, check_no_file_names, lines_of
from unrolled.errors import UserError

LINES = st.lists(
    st.one_of(st.sampled_from(["", "  ", "\t"]), st.text(st.characters(exclude_characters="\r\n", codec="utf-8")))
)


@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), closed=st.booleans())
def test_every_line_has_its_answer(lines: list[str], end: str, closed: bool) -> None:
    content = end.join(lines) + (end if closed and lines else "")
    read = lines_of(content.encode(), "a file")
    assert read == (lines if closed or not lines or lines[-1] else lines[:-1])
    asked: list[str] = []

    def answer(texts: list[str]) -> list[str]:
        asked.extend(texts)
        return [f"answer to {text}" for text in texts]

    answers = answered(read, answer)
    assert len(answers) == len(read)
    for line, found in zip(read, answers, strict=True):
        assert found == (f"answer to {line}" if line.strip() else Blank(line))
    assert asked == [line for line in read if line.strip()]


def test_the_answer_to_a_blank_line_says_nothing_in_the_tasks_own_words() -> None:
    assert as_dict(Blank(" "), "classify") == {"text": " ", "label": None, "probability": None, "probabilities": {}}
    assert as_dict(Blank(""), "tag") == {"tokens": [], "labels": [], "probabilities": []}
    assert as_dict(Blank(""), "translate") == {"text": "", "translation": "", "candidates": []}
    assert as_tsv([Blank("")]) == "\t\t\n"
    assert pretty([Blank(""), Blank("")]).count("blank") == 2


@pytest.mark.parametrize("text", ["fims.tsv", "./nothere/films.tsv", "a/b.txt", "C:\\rows.CSV", "x.csv.gz"])
def test_what_looks_like_a_file_is_no_text(text: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        check_no_file_names(["a text", text])


@pytest.mark.parametrize("text", ["see films.tsv", "and/or", "it is fine.", "3.5", "", "v1.2", "e.g. this"])
def test_what_does_not_is_one(text: str) -> None:
    check_no_file_names([text])


def test_the_nearest_file_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films.tsv").touch()
    with pytest.raises(UserError, match=r"fims\.tsv does not exist \(did you mean films\.tsv\?\)"):
        check_no_file_names(["fims.tsv"])
    with pytest.raises(UserError, match=r"films\.tsv is a file among texts"):
        check_no_file_names(["a text", "films.tsv"])
