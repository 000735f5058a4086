"""Labelled files: every format there and back, guesses that are said, rows that cannot be read, real data."""

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.labelled import Example, read_labelled
from unrolled.errors import UserError

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from(["a", "b"])), min_size=1, max_size=8)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def pairs(examples: tuple[Example, ...]) -> list[tuple[object, object]]:
    return [(example.x, example.y) for example in examples]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labelled")


# There and back


@given(ROWS)
def test_tsv_is_never_quoted(folder: Path, rows: list[tuple[str, str]]) -> None:
    path = written(folder, "rows.tsv", "".join(f"{label}\t{text}\n" for text, label in rows))
    assert pairs(read_labelled(path, "classify", text="2", label="1").examples) == rows


@given(ROWS)
def test_csv_is_quoted_where_it_has_to_be(folder: Path, rows: list[tuple[str, str]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    body = "".join(f"{quoted(text + ', more' + chr(10) + 'lines')},{label}\r\n" for text, label in rows)
    path = written(folder, "rows.csv", "text,label\r\n" + body)
    assert pairs(read_labelled(path, "classify").examples) == [(f"{text}, more\nlines", label) for text, label in rows]


@given(ROWS)
def test_json_lines_and_parquet(folder: Path, rows: list[tuple[str, str]]) -> None:
    path = written(folder, "rows.jsonl", "".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows))
    assert pairs(read_labelled(path, "classify").examples) == rows
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.table({"text": [t for t, _ in rows], "label": [y for _, y in rows]}), folder / "rows.parquet"
    )
    assert pairs(read_labelled(folder / "rows.parquet", "classify").examples) == rows


@given(
    st.lists(
        st.lists(st.tuples(WORDS.filter(lambda w: not w.startswith(("#", "-DOC"))), WORDS), min_size=1), min_size=1
    )
)
def test_conll(folder: Path, sentences: list[list[tuple[str, str]]]) -> None:
    text = "\n\n".join("\n".join("\t".join(pair) for pair in sentence) for sentence in sentences)
    path = written(folder, "rows.conll", text)
    expected = [tuple(zip(*sentence, strict=True)) for sentence in sentences]
    assert pairs(read_labelled(path, "tag").examples) == expected


def test_packed_files_marks_and_line_ends(tmp_path: Path) -> None:
    text = "good\ta film\r\nbad\tanother\r\ngood\tthree\r\n"
    plain = read_labelled(written(tmp_path, "a.tsv", "\ufeff" + text), "classify")
    assert pairs(plain.examples) == [("a film", "good"), ("another", "bad"), ("three", "good")]
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.tsv.xz").write_bytes(lzma.compress(text.encode()))
    for packed in ("a.tsv.gz", "a.tsv.xz"):
        assert pairs(read_labelled(tmp_path / packed, "classify").examples) == pairs(plain.examples)
    assert plain.digest != read_labelled(tmp_path / "a.tsv.gz", "classify").digest


def test_frames(tmp_path: Path) -> None:
    for head in ("@classLabel true up down\n", ""):  # labels that are not wanted are left out all the same
        labelled = written(tmp_path, "b.ts", head + "@data\n1,2,3:4,5,6:up\n1,2:4,5:down\n")
        frames = [one.x.tolist() for one in read_labelled(labelled, "classify", labelled=False).examples]
        assert frames == [[[1, 4], [2, 5], [3, 6]], [[1, 4], [2, 5]]]
    bare = written(tmp_path, "c.ts", "@classLabel false\n@data\n1,2,3:4,5,6\n1:4\n")
    assert [one.x.tolist() for one in read_labelled(bare, "classify", labelled=False).examples] == [
        [[1, 4], [2, 5], [3, 6]],
        [[1, 4]],
    ]
    ts = "#c\n@problemName x\n@data\n1,2,3:4,5,6:up\n1,2:4,5:down\n"
    found = read_labelled(written(tmp_path, "a.ts", ts), "classify")
    assert [example.y for example in found.examples] == ["up", "down"]
    assert found.examples[0].x.tolist() == [[1, 4], [2, 5], [3, 6]]  # type: ignore[union-attr]
    assert found.examples[1].x.shape == (2, 2)  # type: ignore[union-attr]
    rows = read_labelled(written(tmp_path, "a.csv", "1,2,3,4,x\n5,6,7,8,y\n"), "classify", text="frames:2")
    assert rows.examples[1].x.tolist() == [[5, 6], [7, 8]]  # type: ignore[union-attr]
    x = np.arange(10, dtype=np.float64).reshape(5, 2)
    np.savez(tmp_path / "a.npz", x=x, lengths=np.array([2, 3]), y=np.array(["p", "q"]))
    ragged = read_labelled(tmp_path / "a.npz", "classify")
    assert [len(example.x) for example in ragged.examples] == [2, 3]
    np.savez(tmp_path / "b.npz", x=x[None], y=np.array(list("aabba")))
    assert read_labelled(tmp_path / "b.npz", "tag").examples[0].y == tuple("aabba")
    np.savez(tmp_path / "c.npz", x=np.array([object()], dtype=object), y=np.array(["a"]))
    with pytest.raises(UserError, match=r"c\.npz is no \.npz file of plain arrays"):
        read_labelled(tmp_path / "c.npz", "classify")


def test_fasta_and_parallel_text(tmp_path: Path) -> None:
    fasta = written(tmp_path, "a.fasta", ">s1 EI\nACGT\nAC\n>s2 IE\nGGG\n")
    assert pairs(read_labelled(fasta, "classify").examples) == [("ACGTAC", "EI"), ("GGG", "IE")]
    table = written(tmp_path, "labels.tsv", "s1\tx\ns2\ty\n")
    assert [example.y for example in read_labelled(fasta, "classify", beside=table).examples] == ["x", "y"]
    with pytest.raises(UserError, match=r"line 3: the id 's1' is that of line 1"):
        read_labelled(written(tmp_path, "b.fasta", ">s1 a\nA\n>s1 b\nC\n"), "classify")
    english, french = written(tmp_path, "a.en", "Hi.\nGo.\n"), written(tmp_path, "a.fr", "Salut.\nVa !\n")
    assert pairs(read_labelled(english, "translate", beside=french).examples) == [("Hi.", "Salut."), ("Go.", "Va !")]
    with pytest.raises(UserError, match=r"has 2 lines and .* 1: parallel"):
        read_labelled(english, "translate", beside=written(tmp_path, "b.fr", "Salut.\n"))


# Which column is what


def test_of_two_columns_the_one_with_few_values_is_the_label_and_it_is_said(tmp_path: Path) -> None:
    for first, second, said in (("x", "text", "text 2, label 1"), ("text", "x", "text 1, label 2")):
        lines = [[f"{n % 2}{name}" if name == "x" else f"{name} {n}" for name in (first, second)] for n in range(6)]
        found = read_labelled(written(tmp_path, "a.tsv", "".join("\t".join(row) + "\n" for row in lines)), "classify")
        assert f"read as TSV: no header; {said}; 6 rows; 2 classes" in found.description
    pair = read_labelled(written(tmp_path, "b.tsv", "Hi.\tSalut.\nHi.\tBonjour.\n"), "translate")
    assert pairs(pair.examples) == [("Hi.", "Salut."), ("Hi.", "Bonjour.")]


def test_columns_by_name_by_number_and_several(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", "rating\ttitle\ttext\n5\tNice\tI like it\n1\t\tBad\n")
    found = read_labelled(path, "classify", text="title,text", label="rating")
    assert pairs(found.examples) == [("Nice I like it", "5"), ("Bad", "1")]
    assert "a header; text title + text, label rating" in found.description
    assert pairs(read_labelled(path, "classify", text="3", label="1").examples) == [("I like it", "5"), ("Bad", "1")]
    with pytest.raises(UserError, match="no column 'stars'; its columns: rating, title, text"):
        read_labelled(path, "classify", text="text", label="stars")
    with pytest.raises(UserError, match=r"which column is what\? It has 1, 2, 3; give --text COL and --label COL"):
        read_labelled(written(tmp_path, "b.tsv", "a b\tc d\te f\n" * 3), "classify")


def test_conllu_columns_ranges_and_comments(tmp_path: Path) -> None:
    rows = [
        "# text = Can't", "1-2\tCan't" + "\t_" * 8, "1\tCa\tcan\tAUX\tMD" + "\t_" * 5,
        "2\tn't\tnot\tPART\tRB" + "\t_" * 5, "2.1\tgone" + "\t_" * 8, "", "1\tGo\tgo\tVERB\tVB" + "\t_" * 5,
    ]  # fmt: skip
    path = written(tmp_path, "a.conllu", "\n".join(rows) + "\n")
    assert pairs(read_labelled(path, "tag").examples) == [(("Ca", "n't"), ("AUX", "PART")), (("Go",), ("VERB",))]
    found = read_labelled(path, "tag", text="LEMMA", label="5").examples
    assert pairs(found) == [(("can", "not"), ("MD", "RB")), (("go",), ("VB",))]
    with pytest.raises(UserError, match="there is no column 'TAG'; give ID, FORM"):
        read_labelled(path, "tag", label="TAG")


def test_sentences_may_be_parted_by_blanks_and_documents_marked(tmp_path: Path) -> None:
    path = written(tmp_path, "a.annotated", "-DOCSTART- O\n\nAnn\tB-x\n\t\nBob\tB-x\nran\tO\n \n")
    assert pairs(read_labelled(path, "tag").examples) == [(("Ann",), ("B-x",)), (("Bob", "ran"), ("B-x", "O"))]


def test_to_predict_labels_may_be_missing(tmp_path: Path) -> None:
    for name, text in (
        ("a.tsv", "one\ntwo\n"),
        ("a.jsonl", '{"text": "one"}\n{"text": "two"}\n'),
        ("a.csv", "text\none\ntwo\n"),
    ):
        found = read_labelled(
            written(tmp_path, name, text), "classify", labelled=False, text="text" if "csv" in name else ""
        )
        assert pairs(found.examples) == [("one", None), ("two", None)]
    tokens = read_labelled(written(tmp_path, "a.conll", "Ann\nran\n\nBob\n"), "tag", labelled=False)
    assert pairs(tokens.examples) == [(("Ann", "ran"), None), (("Bob",), None)]


# What cannot be read

BAD = {
    "columns": (
        "a.tsv",
        "good\tfilm 1\ngood\nbad\tfilm 2\nbad\tfilm 3\ngood\tfilm 4\ttoo\n",
        2,
        "expected 2 columns",
        2,
    ),
    "text": ("b.tsv", "good\tfilm 1\nbad\t \nbad\tfilm 3\ngood\tfilm 4\n", 2, "expected a text that is not empty", 1),
    "json": (
        "c.jsonl",
        '{"text": "a", "label": "x"}\n[1]\n{"text": "b", "label": "y"}\n',
        2,
        "expected a JSON object",
        1,
    ),
    "number": ("d.ts", "@data\n1,2:3,4:x\n1,2:3:x\n1,nan:3,4:y\n5,6:7,8:y\n", 3, "expected 2 dimensions", 2),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named_and_tolerated_if_asked(tmp_path: Path, name: str) -> None:
    file, text, line, expected, count = BAD[name]
    path = written(tmp_path, file, text)
    for allowed in range(count):
        with pytest.raises(UserError) as caught:
            read_labelled(path, "classify", skip_bad_rows=allowed)
        message = str(caught.value)
        assert f"{file}, line {line}: {expected}" in message
        assert f"--skip-bad-rows {count}" in message
        assert (f"{count - 1} more bad row" in message) == (count > 1)
    found = read_labelled(path, "classify", skip_bad_rows=count)
    assert len(found.skipped) == count
    assert f"{count} bad rows skipped" in found.description
    assert len(found.examples) >= 2


def test_a_bad_line_spoils_its_sentence_only(tmp_path: Path) -> None:
    path = written(tmp_path, "a.conll", "Ann B\nran\n\nBob B\n")
    with pytest.raises(UserError, match=r"a\.conll, line 2: expected a token and a label in 2 columns, found 'ran'"):
        read_labelled(path, "tag")
    assert pairs(read_labelled(path, "tag", skip_bad_rows=1).examples) == [(("Bob",), ("B",))]


def test_formats_that_do_not_fit_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tsv cannot hold what the task tag learns from, but conll, conllu, npz"):
        read_labelled(written(tmp_path, "a.tsv", "a\tb\n"), "tag")
    with pytest.raises(UserError, match=r"nothing\.tsv does not exist"):
        read_labelled(tmp_path / "nothing.tsv", "classify")
    with pytest.raises(UserError, match="say so: --format tsv"):
        read_labelled(written(tmp_path, "a.txt", "some text\nand more\n"), "classify")
    with pytest.raises(UserError, match="is a folder"):
        read_labelled(tmp_path, "classify")
    with pytest.raises(UserError, match="line 3: the id '7' is that of line 2"):
        read_labelled(written(tmp_path, "b.csv", "id,text,label\n7,a b,x\n7,c d,y\n"), "classify")
    with pytest.raises(UserError, match="no line @data"):
        read_labelled(written(tmp_path, "b.ts", "1,2:x\n"), "classify")
    with pytest.raises(UserError, match="--text frames:2"):
        read_labelled(written(tmp_path, "c.csv", "1,2,x\n"), "classify", format="frames-csv")


# Real data

REAL = {
    "surnames/{}.tsv": (("train", 14_424), ("valid", 1_794), ("test", 1_794)),
    "mr-sentence-polarity/{}.tsv": (("train", 8_530), ("valid", 1_066), ("test", 1_066)),
    "dna-splice/{}.tsv": (("train", 2_405), ("valid", 300), ("test", 299)),
    "libras-movement/{}.csv": (("train", 250), ("test", 80)),
    "japanese-vowels/JapaneseVowels_{}.ts": (("TRAIN", 270), ("TEST", 370)),
    "basic-motions/BasicMotions_{}.ts": (("TRAIN", 40), ("TEST", 40)),
    "clothing-reviews/{}.tsv.gz": (("train", 18_104), ("valid", 2_269), ("test", 2_261)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_tables_and_frames(shared_data: Path, name: str) -> None:
    columns = {"libras-movement/{}.csv": ("frames:2", ""), "clothing-reviews/{}.tsv.gz": ("title,text", "rating")}
    text, label = columns.get(name, ("", ""))
    for part, count in REAL[name]:
        found = read_labelled(shared_data / name.format(part), "classify", text=text, label=label)
        assert len(found.examples) == count
        assert not found.skipped
    if name == "mr-sentence-polarity/{}.tsv":
        lines = (shared_data / name.format("test")).read_text(encoding="utf-8").splitlines()
        assert [f"{example.y}\t{example.x}" for example in found.examples] == lines
    if name.startswith("japanese"):
        shapes = [example.x.shape for example in found.examples]  # type: ignore[union-attr]
        assert {shape[1] for shape in shapes} == {12}
        assert (min(shapes)[0], max(shapes)[0]) == (7, 29)


@pytest.mark.parametrize(
    ("name", "sentences", "tokens"),
    [
        ("ud-english-ewt/en_ewt-ud-dev.conllu.gz", 2_001, 25_147),
        ("ud-english-ewt/en_ewt-ud-test.conllu.gz", 2_077, 25_094),
        ("wnut17/wnut17train.conll", 3_394, 62_730),
        ("wnut17/emerging.dev.conll", 1_009, 15_733),
        ("wnut17/emerging.test.annotated", 1_287, 23_394),
    ],
)
def test_real_sentences(shared_data: Path, name: str, sentences: int, tokens: int) -> None:
    found = read_labelled(shared_data / name, "tag")
    assert len(found.examples) == sentences
    assert sum(len(example.x) for example in found.examples) == tokens


def test_real_pairs_are_unquoted(shared_data: Path) -> None:
    for part, count in (("valid", 2_839), ("test", 3_024)):
        path = shared_data / "tatoeba-en-fr" / f"{part}.tsv"
        found = read_labelled(path, "translate")
        assert len(found.examples) == count
        assert [f"{x}\t{y}" for x, y in pairs(found.examples)] == path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("content", ["ann\nbob\n\ncleo\n", "one, two\nthree, four\n", "  ann \r\nbob\r\n"])
def test_a_plain_text_is_a_sequence_a_line_for_generators(tmp_path: Path, content: str) -> None:
    read = read_labelled(written(tmp_path, "names.txt", content), "generate")
    expected = [line.strip() for line in content.replace("\r\n", "\n").split("\n") if line.strip()]
    assert [(one.x, one.y) for one in read.examples] == [(text, None) for text in expected]
    assert read.description.startswith("read as LINES: a text a line; ")


def test_a_table_of_a_text_and_few_classes_is_recognised_for_generators(tmp_path: Path) -> None:
    rows = "".join(f"name{number}\t{'ab'[number % 2]}\n" for number in range(9))
    read = read_labelled(written(tmp_path, "names.txt", rows), "generate")
    assert (read.examples[3].x, read.examples[3].y) == ("name3", "b")
