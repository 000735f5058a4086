"""A text file of any size, plain or compressed, read as pieces of text: never the whole of it at once."""

import codecs
import gzip
import hashlib
import lzma
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from unrolled.errors import UserError

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

CHUNK = 1 << 20
"""Bytes read at once: large enough for NumPy to be busy, small enough for its 16-fold copies not to matter."""

LARGE, DENSEST = 1 << 30, 500
"""Bytes, and times its size, that a packed file may unpack to: one that has more of both is no data but a bomb."""

_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
"""The first bytes of a compressed file, which no UTF-8 text can have; a file's name proves nothing."""


class TextFile:
    """A UTF-8 text on disk: plain, .gz or .xz.

    UserError, when it is made or read: no such file, a folder, not readable, empty, not UTF-8 (with byte and line), a
    damaged archive.

    >>> import tempfile; path = Path(tempfile.mkdtemp()) / "a.txt"; _ = path.write_text("to be")
    >>> list(TextFile(path).chunks(2))
    ['to', ' b', 'e']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise UserError(f"{path} is a folder; give a text file")
        try:
            status = path.stat()
        except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
            raise _unreadable(path, error) from None
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is not a plain file; it is read more than once, so copy what it gives into a file")
        self.size = status.st_size

    def digest(self) -> str:
        """SHA-256 of the file's bytes as they lie on disk."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def chunks(self, size: int = CHUNK, *, progress: Callable[[int], None] | None = None) -> Iterator[str]:
        """The text in pieces of about ``size`` bytes, exactly as it is but for a leading byte order mark.

        ``progress`` hears after each piece how many bytes of the file are read.
        """
        try:
            with self.path.open("rb") as raw:
                yield from self._decoded(raw, size, progress)
        except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
            raise UserError(f"{self.path} is a damaged archive ({error}); fetch or pack it again") from None
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _decoded(self, raw: BinaryIO, size: int, progress: Callable[[int], None] | None) -> Iterator[str]:
        decoder = Decoder(self.path)
        empty, unpacked = True, 0
        opened = _opened(raw)
        for data in _blocks(opened, size):
            unpacked += len(data)
            if opened is not raw:
                check_unpacked(self.path, self.size, unpacked)
            text = decoder.decode(data)
            if empty:
                text = text.removeprefix("\ufeff")
            if text:
                empty = False
                yield text
            if progress:
                progress(raw.tell())
        decoder.decode(b"", final=True)
        if empty:
            raise UserError(f"{self.path} is empty; give a text file with something in it")


def check_unpacked(path: Path, packed: int, unpacked: int) -> None:
    """Refuse what unpacks to far more than data do.

    Raises:
        UserError: so many bytes come of so few.
    """
    if unpacked > LARGE and unpacked > DENSEST * packed:
        raise UserError(
            f"{path} has {packed:,} bytes and unpacks to more than {LARGE:,}: it is no data; unpack it first"
        )


class Decoder:
    """Strict UTF-8, piece by piece; a bad byte is reported with its place in the whole (unpacked) file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._bytes = 0
        self._lines = 0

    def decode(self, data: bytes, final: bool = False) -> str:
        held_back = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            place = self._bytes - held_back + error.start
            line = self._lines + error.object[: error.start].count(b"\n") + 1
            raise UserError(
                f"{self.path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {place:,}, line {line:,}; "
                "convert the file to UTF-8 (for instance: iconv -f LATIN1 -t UTF-8)"
            ) from None
        self._bytes += len(data)
        self._lines += data.count(b"\n")
        return text


def lines(chunks: Iterable[str]) -> Iterator[str]:
    r"""The lines of a text that comes in pieces, without their ends (\n or \r\n).

    >>> list(lines(["a\r", "\nb", "c\n", "d"]))
    ['a', 'bc', 'd']
    """
    started: list[str] = []
    for chunk in chunks:
        *whole, rest = chunk.split("\n")
        for line in whole:
            started.append(line)
            yield "".join(started).removesuffix("\r")
            started = []
        if rest:
            started.append(rest)
    if started:
        yield "".join(started).removesuffix("\r")


def _opened(raw: BinaryIO) -> BinaryIO:
    start = raw.read(len(_XZ))
    raw.seek(0)
    if start.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if start.startswith(_XZ):
        return cast(BinaryIO, lzma.open(raw))
    return raw


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while data := file.read(size):
        yield data


def _unreadable(path: Path, error: OSError | ValueError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist; check the path (a recipe's paths are relative to the recipe)")
    return UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
