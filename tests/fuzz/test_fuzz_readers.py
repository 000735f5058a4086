"""Random data files: every reader gives examples or one line of error, whatever the bytes are."""

import gzip
import io
import json
import lzma
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiling import ODD, spoiled_bytes, spoiled_value

from unrolled.data.corpus import open_corpus
from unrolled.data.examples import check_frames, inputs_of, read_files
from unrolled.data.labelled import FITTING, read_labelled
from unrolled.data.settings import DataSettings
from unrolled.data.tag_labels import TagLabels
from unrolled.data.vectors import read_vectors, vector_words
from unrolled.errors import UserError

pytestmark = pytest.mark.fuzz

ROWS = {
    "tsv": "text\tlabel\na fine film\tgood\na dull film\tbad\n\nit is fine\tgood\n",
    "csv": 'text,label\n"a fine, film",good\n"a ""dull"" film",bad\nit is fine,good\n',
    "jsonl": '{"text": "a fine film", "label": "good"}\n{"text": ["a", "dull"], "label": 1}\n',
    "conll": "# id = 1\nAnn\tB-x\nran\tO\n\nDr\tB-x\nBob\tI-x\n\n",
    "conllu": "# text\n1-2\tab" + "\t_" * 8 + "\n1\ta\t_\tX" + "\t_" * 6 + "\n\n1\tb\t_\tY" + "\t_" * 6 + "\n",
    "fasta": ">s1 EI\nACGT\nAC\n>s2 IE\nGGG\n",
    "ts": "@problemName x\n@classLabel true up down\n@data\n1,2,3:4,5,6:up\n1,2:4,5:down\n",
    "frames-csv": "1,2,3,4,x\n5,6,7,8,y\n",
    "lines": "Ann\nBob\n\nCleo\n",
}
"""A small whole file of each format that is text."""
COLUMNS = st.sampled_from(
    ["", "", "", "1", "2", "text", "label", "-1", "0", "²", "9" * 5000, "FORM", "frames:2", "frames:0"]
)
TOKENS = st.sampled_from(
    ["\t", "\t\t", "\n", "\n\n", "\r", " ", ",", '"', ":", ";", ">", "@data", "#", "# id", "-DOCSTART-", "nan", "1e999",
     "B-x", "I-x", "L-x", "x-B", "b_x", "O", "0", "_", "1", "2-3", "\0", "\ufeff", "\u2028", "\x85", "\x1c", "é",
     "[", "{", "}"]
)  # fmt: skip
"""What some reader may trip over."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreign")


@st.composite
def contents(draw: Callable[..., Any], whole: str) -> bytes:
    """A whole file with something done to it: bytes or tokens, perhaps packed, and then perhaps spoiled again."""
    content = whole.encode()
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            content = spoiled_bytes(draw, content)
        else:
            place = draw(st.integers(0, len(content)))
            content = content[:place] + str(draw(TOKENS)).encode() * draw(st.integers(1, 3)) + content[place:]
    packed = draw(st.sampled_from(["", "", "", "gz", "xz"]))
    if packed:
        content = gzip.compress(content) if packed == "gz" else lzma.compress(content)
        content = spoiled_bytes(draw, content) if draw(st.booleans()) else content
    return content


def one_line(error: UserError) -> None:
    """What is wrong is said in one line that can be written."""
    assert "\n" not in str(error)
    str(error).encode()


def tried(path: Path, kind: str, **reading: Any) -> None:
    """Read a file with labels and without, and make parts and symbols of it as training does."""
    for labelled in (True, False):
        try:
            found = read_labelled(path, kind, labelled=labelled, **reading)
        except UserError as error:
            one_line(error)
            continue
        assert found.examples
        for example in found.examples:
            assert isinstance(example.x, str | tuple | np.ndarray)
            json.dumps(example.y, ensure_ascii=False).encode()
        found.description.encode()
    try:
        given = {"text": reading.get("text", ""), "label": reading.get("label", ""), "format": reading["format"]}
        if "parallel" in given["format"]:
            return
        files = read_files(DataSettings(path=str(path), level="word", split="stratified", **given), kind, Path())
        name, examples = files.training
        inputs = inputs_of(DataSettings(level="word"), examples, Path())
        check_frames(name, examples, inputs)
        if kind == "tag":
            tags = [example.y if isinstance(example.y, tuple) else () for example in examples]
            labels = TagLabels.of(tags, name, rows=[example.rows for example in examples])
            for row, example in zip(tags, examples, strict=True):
                labels.targets(row, name, example.rows)
    except UserError as error:
        one_line(error)


@given(st.data(), st.sampled_from([(kind, format) for kind in FITTING for format in FITTING[kind] if format in ROWS]))
def test_files_of_text(folder: Path, data: st.DataObject, what: tuple[str, str]) -> None:
    kind, format = what
    path = folder / "foreign.data"
    path.write_bytes(data.draw(contents(ROWS[format])))
    text, label = data.draw(COLUMNS), data.draw(COLUMNS)
    text = "frames:2" if format == "frames-csv" and data.draw(st.booleans()) else text
    tried(path, kind, format=format, text=text, label=label, skip_bad_rows=data.draw(st.sampled_from([0, 0, 3])))


@given(st.data(), st.sampled_from(["classify", "tag", "translate", "generate"]))
def test_files_whose_format_is_guessed(folder: Path, data: st.DataObject, kind: str) -> None:
    path = folder / data.draw(st.sampled_from(["guess.txt", "guess.tsv", "guess.ts", "guess", "guess.npz", "guess.fa"]))
    path.write_bytes(data.draw(contents(ROWS[data.draw(st.sampled_from(sorted(ROWS)))])))
    tried(path, kind, format="")


@given(st.data())
def test_json_lines_of_odd_values(folder: Path, data: st.DataObject) -> None:
    rows = [json.loads(line) for line in ROWS["jsonl"].splitlines()]
    rows = [spoiled_value(data.draw, row) if data.draw(st.booleans()) else row for row in rows] + [data.draw(ODD)]
    path = folder / "odd.jsonl"
    path.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode())
    tried(path, data.draw(st.sampled_from(["classify", "translate", "generate"])), format="jsonl", skip_bad_rows=2)


@given(st.data())
def test_files_side_by_side(folder: Path, data: st.DataObject) -> None:
    sides = [folder / "side.a", folder / "side.b"]
    for side in sides:
        side.write_bytes(data.draw(contents(ROWS["lines"])))
    tried(sides[0], "translate", format="parallel", beside=sides[1], skip_bad_rows=data.draw(st.sampled_from([0, 3])))
    sides[0].write_bytes(data.draw(contents(ROWS["fasta"])))
    tried(sides[0], "classify", format="fasta", beside=sides[1])


ARRAYS = st.sampled_from([
    np.arange(12.0).reshape(2, 3, 2), np.arange(12.0).reshape(6, 2), np.zeros((3, 0, 2)), np.zeros((10**12, 0, 3)),
    np.zeros(0), np.array([3, 3]), np.array([-3, 9]), np.array([2**63, 2**63, 6], dtype=np.uint64),
    np.array([2.5, 3.5]), np.array(["a", "b"]),
    np.array([b"a", b"\xff"]), np.array(["a", ""]), np.full((2, 3, 2), 1e300), np.full((2, 3, 2), np.nan), np.array(7),
    np.array([1 + 2j, 3]), np.array(["2001-01-01", "NaT"], dtype="M8[D]"), np.array([(1, 2)], dtype="i4,f8"),
    np.array(list("aabbab")),
    np.array([True, False]), np.array(["\ud800", "b"]),
])  # fmt: skip


@given(st.data(), st.dictionaries(st.sampled_from(["x", "y", "lengths", "z"]), ARRAYS))
def test_archives_of_arrays(folder: Path, data: st.DataObject, arrays: dict[str, Any]) -> None:
    made = io.BytesIO()
    (np.savez_compressed if data.draw(st.booleans()) else np.savez)(made, **arrays)
    content = made.getvalue()
    if data.draw(st.booleans()):
        content = spoiled_bytes(data.draw, content)
    path = folder / "foreign.npz"
    path.write_bytes(content)
    tried(path, data.draw(st.sampled_from(["classify", "tag"])), format="npz", skip_bad_rows=1)


@given(st.data())
def test_parquet(folder: Path, data: st.DataObject) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    bytes_ = pyarrow.array([b"a fine film", b"\xff\xfe"] * 3, pyarrow.binary())
    columns = st.sampled_from([
        pyarrow.array(["a", "b", None] * 2), pyarrow.array([float("inf"), float("nan"), 1.0] * 2), bytes_,
        pyarrow.array([2**62, -(2**62), 0] * 2, pyarrow.timestamp("us")), pyarrow.array([{"a": 1}] * 6),
        pyarrow.array([["a", "b"], [], None] * 2), pyarrow.array([[["a"]]] * 6), pyarrow.array([None] * 6),
        pyarrow.array([1] * 6, pyarrow.duration("ns")), pyarrow.array([2**62 + 1] * 6, pyarrow.timestamp("ns")),
        pyarrow.Array.from_buffers(pyarrow.string(), 6, bytes_.buffers()),
    ])  # fmt: skip
    names = data.draw(st.lists(st.sampled_from(["text", "label", "id", "", "é"]), min_size=1, max_size=3, unique=True))
    made = io.BytesIO()
    parquet.write_table(pyarrow.table({name: data.draw(columns) for name in names}), made)
    content = made.getvalue()
    if data.draw(st.booleans()):
        content = spoiled_bytes(data.draw, content)
    path = folder / "foreign.parquet"
    path.write_bytes(content)
    tried(path, data.draw(st.sampled_from(["classify", "translate", "generate"])), format="parquet", skip_bad_rows=3)


@given(st.data(), st.sampled_from(["2 2\na 1 2\nb 3 4\n", "a 1 2\nb 3 4\n"]))
def test_word_vectors(folder: Path, data: st.DataObject, whole: str) -> None:
    path = folder / "vectors.txt"
    path.write_bytes(data.draw(contents(whole)))
    try:
        words, vectors = read_vectors(path)
        assert vectors.shape[0] == len(words)
        assert np.isfinite(vectors).all()
    except UserError as error:
        one_line(error)
    with suppress(UserError):
        vector_words(path)


@settings(max_examples=40)  # each encodes a file, and may learn a BPE
@given(st.data(), st.sampled_from(["character", "word", "bpe", "byte"]), st.sampled_from(["text", "lines"]))
def test_plain_text(folder: Path, data: st.DataObject, level: str, format: str) -> None:
    path = folder / "plain.txt"
    path.write_bytes(data.draw(contents(data.draw(st.sampled_from([ROWS["lines"], "to be or not " * 20, "é\n" * 30])))))
    size = 300 if level == "bpe" else 0
    lower = data.draw(st.booleans())
    given_ = DataSettings(path=str(path), level=level, format=format, vocabulary_size=size, lowercase=lower)
    try:
        corpus = open_corpus(given_)
        assert len(corpus.train) > 0
    except UserError as error:
        one_line(error)


@pytest.mark.parametrize("packed", ["gz", "xz"])
def test_a_packed_file_that_unpacks_to_far_more_than_data(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.data.reading.LARGE", 1 << 20)
    path = tmp_path / f"bomb.tsv.{packed}"
    path.write_bytes((gzip if packed == "gz" else lzma).compress(b"\0" * (4 << 20)))
    with pytest.raises(UserError, match="unpacks to more than"):
        read_labelled(path, "classify")


def test_archives_and_tables_that_claim_far_more_than_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unrolled.data.reading.LARGE", 1 << 20)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((1000, 1000, 2)), y=np.zeros(1000))
    with pytest.raises(UserError, match="unpacks to more than"):
        read_labelled(tmp_path / "bomb.npz", "classify")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"text": ["x" * 2000] * 20_000, "label": ["a"] * 20_000})
    parquet.write_table(table, tmp_path / "bomb.parquet")
    with pytest.raises(UserError, match="unpacks to more than"):
        read_labelled(tmp_path / "bomb.parquet", "classify")
    (tmp_path / "keys.jsonl").write_text("".join(f'{{"k{number}": 1}}\n' for number in range(3000)))
    with pytest.raises(UserError, match="line 1,001: more than 1,000 different keys"):
        read_labelled(tmp_path / "keys.jsonl", "classify")
