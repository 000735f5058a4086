import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import encoding, subwords
from unrolled.data.encoding import EncodedText, Encoder, Scheme, SurfaceWriter, encode_file, encode_text, lowered
from unrolled.data.reading import TextFile
from unrolled.data.surfaces import CodeTable, coded, split_words
from unrolled.errors import UserError

BPE = subwords.trained(["the cat sat on the mat, the hat  \n and that was that\n don't " * 20], 300)
SCHEMES = [
    Scheme(level, form, words=words, lowercase=lowercase, tokenizer=BPE if level == "bpe" else "")
    for level in ("character", "byte", "word", "bpe")
    for form in ("text", "lines")
    for words in ("punctuation", "whitespace")
    for lowercase in (False, True)
    if level == "word" or words == "punctuation"
]
texts = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("ab ,'.\n\r\t  Σ")), max_size=60)


def symbols(encoded: EncodedText) -> list[str | None]:
    """Each surface's own spelling; None for the end of a line."""
    return [encoded.lexicon[surface] if surface else None for surface in encoded.surfaces]


def in_chunks(text: str, size: int, scheme: Scheme) -> tuple[list[str | None], int]:
    encoder = Encoder(lambda: (text[start : start + size] for start in range(0, len(text), size)), scheme)
    numbers = [int(number) for surfaces in encoder.surfaces() for number in surfaces]
    return [encoder.lexicon[number] if number else None for number in numbers], encoder.characters


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@given(text=texts, size=st.integers(1, 9))
def test_tiny_chunks_are_the_whole(scheme, text, size):
    once = in_chunks(text, max(len(text), 1), scheme)
    assert in_chunks(text, size, scheme) == once


@given(text=texts, size=st.integers(1, 5))
def test_pieces_are_the_text_and_words_and_bpe_are_cut_there_anyway(text, size):
    pieces = list(subwords.pieces(text, size))
    assert "".join(pieces) == text
    bpe = subwords.loaded(BPE)
    assert [t for piece in pieces for t in bpe.encode(piece).tokens] == bpe.encode(text).tokens


def test_a_text_without_blanks_is_cut_in_the_end(monkeypatch):
    monkeypatch.setattr(subwords, "LONGEST", 50)
    pieces = list(subwords.pieces(["a" * 30] * 10, 10))
    assert "".join(pieces) == "a" * 300
    assert max(map(len, pieces)) <= 60


def test_running_characters_keep_every_character():
    text = "a\r\nb\n\n\ufeff 😀"
    assert symbols(encode_text(text, Scheme("character"))) == list(text)


def test_lines_end_with_surface_0_and_blank_ones_are_skipped():
    text = "ab\r\n\n  \nc"
    for level in ("character", "byte"):
        encoded = encode_text(text, Scheme(level, "lines"))
        assert symbols(encoded) == ["a", "b", None, "c", None]
        assert encoded.characters == 5


def test_words_have_an_end_for_every_line_blank_ones_too():
    text = "to be,\r\n\nor not"
    assert symbols(encode_text(text, Scheme("word"))) == ["to", "be", ",", None, None, "or", "not", None]
    assert symbols(encode_text(text + "\n", Scheme("word", words="whitespace"))) == (
        ["to", "be,", None, None, "or", "not", None]
    )


def test_specials_in_the_text_are_words_like_others():
    text = "<unk> a <eos> <unk>\n"
    assert symbols(encode_text(text, Scheme("word", words="whitespace"))) == ["<unk>", "a", "<eos>", "<unk>", None]
    assert split_words("<unk>", "punctuation") == ["<", "unk", ">"]
    encoded = encode_text("<unk><pad>", Scheme("bpe", tokenizer=BPE))
    assert b"".join(subwords.token_bytes(token) for token in symbols(encoded)) == b"<unk><pad>"


def test_unique_keeps_first_occurrences_after_folding():
    scheme = Scheme("character", "lines", unique=True, lowercase=True)
    assert symbols(encode_text("b\na\nB\nb\nc", scheme)) == ["b", None, "a", None, "c", None]


def test_lower_case_does_not_look_at_neighbours():
    assert lowered("ΑΣ Σ") == "ας σ".replace("ς", "σ")


@given(st.binary(max_size=1))
def test_every_byte_has_one_letter(data):
    assert len(subwords._byte_of_character()) == 256
    letter = {byte: character for character, byte in subwords._byte_of_character().items()}
    assert subwords.token_bytes("".join(letter[byte] for byte in data)) == data


@given(text=texts)
def test_widths_add_up_to_the_characters(text):
    if text.strip():
        for scheme in SCHEMES:
            encoded = encode_text(text, scheme)
            if scheme.level != "word":
                assert encoded.widths[encoded.surfaces].sum() == encoded.characters


@given(st.lists(texts, max_size=12))
def test_threads_give_what_one_gives(chunks):
    def run(workers: int) -> list[str]:
        table = CodeTable(byte=False, line_ends=False)
        parts = [part.tolist() for part in coded(chunks, table, workers=workers)]
        return ["".join(table.lexicon[surface] for surface in part) for part in parts]

    assert run(3) == run(1) == chunks


def test_a_file_is_encoded_once_and_found_again(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("abba" * 1000)
    heard: list[tuple[int, int]] = []
    first = encode_file(TextFile(path), Scheme("character"), lambda *step: heard.append(step))
    assert heard[-1] == (4000, 4000)
    assert first.surfaces.dtype == np.uint8
    assert not first.surfaces.flags.owndata
    monkeypatch.setattr(encoding, "_write", pytest.fail)  # the second time nothing is to be written
    path.rename(tmp_path / "b.txt")
    again = encode_file(TextFile(tmp_path / "b.txt"), Scheme("character"))
    assert symbols(again) == symbols(first) == list("abba" * 1000)


def test_words_report_both_passes_as_one_progress(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"to be or not\n" * 500))
    size = path.stat().st_size
    heard: list[tuple[int, int]] = []
    encode_file(TextFile(path), Scheme("word"), lambda *step: heard.append(step))
    assert heard == sorted(heard)
    assert heard[-1] == (2 * size, 2 * size)


def test_a_changed_file_is_encoded_anew(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("abc", "abd"):
        path.write_text(text)
        assert symbols(encode_file(TextFile(path), Scheme("character"))) == list(text)


@pytest.mark.parametrize("largest", [255, 256, 65_535, 65_536])
def test_the_writer_takes_as_few_bytes_as_are_needed(tmp_path, largest):
    path = tmp_path / "surfaces"
    parts = [np.arange(200, dtype=np.uint32), np.zeros(0, dtype=np.uint32), np.array([largest], dtype=np.uint32)]
    with SurfaceWriter(path) as writer:
        for part in [*parts, *parts]:
            writer.append(part)
    assert writer.dtype == np.min_scalar_type(largest)
    assert np.array_equal(np.fromfile(path, dtype=writer.dtype), np.concatenate([*parts, *parts]))
    assert list(tmp_path.iterdir()) == [path]


def test_messages(tmp_path):
    (tmp_path / "blank.txt").write_text("\n  \n\t\n")
    with pytest.raises(UserError, match=r"blank\.txt has no line that is not blank"):
        encode_file(TextFile(tmp_path / "blank.txt"), Scheme("character", "lines"))
    with pytest.raises(UserError, match="the text is empty; give some text"):
        encode_text("", Scheme("word"))
    with pytest.raises(UserError, match="the text is not valid Unicode at character 2"):
        encode_text("a\ud800", Scheme("character"))


MEMORY = """
import resource, sys
from pathlib import Path
from unrolled.data.encoding import Scheme, encode_file
from unrolled.data.reading import TextFile
import tokenizers
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
encoded = encode_file(TextFile(Path(sys.argv[1])), Scheme(sys.argv[2], sys.argv[3]))
print(peak() - before, encoded.characters)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the process's memory as Linux does")
@pytest.mark.parametrize(
    ("level", "form", "megabytes"),
    [("character", "text", 300), ("byte", "text", 300), ("character", "lines", 150), ("word", "text", 30)],
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, level: str, form: str, megabytes: int):
    path = tmp_path / "large.txt"
    line = "The quick brown fox jumps over the lazy dog, and the dog sleeps on until the morning comes.\n"
    with path.open("w") as file:
        for _ in range(megabytes * 1000 // len(line)):
            file.write(line * 1000)
    command = [sys.executable, "-c", MEMORY, str(path), level, form]
    environment = os.environ | {"UNROLLED_CACHE": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    grown, characters = map(int, done.stdout.split())
    assert characters == path.stat().st_size
    most = 40e6 + 25e6 * min(os.cpu_count() or 1, 8)
    assert grown < most, f"{grown:,} bytes for a file of {characters:,}"
