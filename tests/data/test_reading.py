import gzip
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.reading import Decoder, TextFile, lines
from unrolled.errors import UserError


def file_of(folder: Path, data: bytes, name: str = "a.txt") -> TextFile:
    path = folder / name
    path.write_bytes(data)
    return TextFile(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1 << 20])
def test_the_text_is_exact_whatever_the_chunks_and_the_packing(tmp_path, pack, size):
    text = "Straße 日本\r\n\n\ttrès 😀\n no end"
    assert "".join(file_of(tmp_path, pack(text.encode())).chunks(size)) == text


def test_only_the_leading_byte_order_mark_is_dropped(tmp_path):
    assert "".join(file_of(tmp_path, "\ufeffa\ufeffb".encode()).chunks(1)) == "a\ufeffb"


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    file = file_of(tmp_path, b"abc" * 1000)
    heard: list[int] = []
    list(file.chunks(100, progress=heard.append))
    assert heard == sorted(heard)
    assert heard[-1] == file.size


@given(st.binary(), st.integers(1, 7))
def test_a_bad_byte_is_found_at_its_place(data, size):
    decoder = Decoder(Path("x"))
    try:
        expected = data.decode()
    except UnicodeDecodeError as error:
        place = f"0x{data[error.start]:02x} at offset {error.start:,}, line {data[: error.start].count(10) + 1:,};"
        with pytest.raises(UserError) as caught:
            decode_all(decoder, data, size)
        assert place in str(caught.value)
    else:
        assert decode_all(decoder, data, size) == expected


def decode_all(decoder: Decoder, data: bytes, size: int) -> str:
    pieces = [decoder.decode(data[start : start + size]) for start in range(0, len(data), size)]
    return "".join([*pieces, decoder.decode(b"", final=True)])


@given(st.lists(st.text("ab\r\n", max_size=5)))
def test_lines_do_not_depend_on_the_chunks(chunks):
    text = "".join(chunks)
    whole = [line.removesuffix("\r") for line in text.split("\n")]
    assert list(lines(chunks)) == (whole[:-1] if text.endswith("\n") or not text else whole)


def test_messages(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt does not exist; check the path"):
        TextFile(tmp_path / "none.txt")
    with pytest.raises(UserError, match="is a folder; give a text file"):
        TextFile(tmp_path)
    with pytest.raises(UserError, match=r"a\.txt is empty; give a text file"):
        list(file_of(tmp_path, b"").chunks())
    with pytest.raises(UserError, match="is empty"):
        list(file_of(tmp_path, "\ufeff".encode()).chunks())
    with pytest.raises(UserError, match=r"a\.txt is not UTF-8: byte 0xe9 at offset 6, line 2; convert"):
        list(file_of(tmp_path, "abc\nété".encode("latin-1").replace(b"\xe9t", b"et", 1)).chunks(3))
    with pytest.raises(UserError, match=r"byte 0xf0 at offset 1, line 1"):
        list(file_of(tmp_path, b"a\xf0\x9f").chunks(1))
    for pack in (gzip.compress, lzma.compress):
        with pytest.raises(UserError, match="is a damaged archive"):
            list(file_of(tmp_path, pack(b"abc" * 1000)[:-20]).chunks())
    damaged = bytearray(gzip.compress(bytes(range(1, 100))))
    damaged[15] ^= 0xFF
    with pytest.raises(UserError, match="is a damaged archive"):
        list(file_of(tmp_path, bytes(damaged)).chunks())


def test_a_file_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    file = file_of(tmp_path, b"abc")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: Permission denied"):
        list(file.chunks())
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: Permission denied"):
        file.digest()
