"""One mechanism for every level: a text becomes an `EncodedText`, kept in the cache, independent of any vocabulary."""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import cores
from unrolled.data import subwords
from unrolled.data.cache import kept
from unrolled.data.reading import Progress, TextFile, lines
from unrolled.data.surfaces import END_OF_LINE, CodeTable, Surfaces, coded, subworded, worded
from unrolled.errors import UserError

VERSION = 1
"""Of what is in the cache: raise it whenever the same text would be encoded differently."""
CHECKED = 1 << 20
"""Surfaces that are looked at together."""
PARALLEL_FROM = 32 << 20
"""Bytes of text from which threads are worth starting."""


@dataclass(frozen=True)
class Scheme:
    """How a text becomes surfaces. The fields are those of `DataSettings`; ``tokenizer`` is a BPE's JSON."""

    level: str
    format: str = "text"
    words: str = "punctuation"
    lowercase: bool = False
    unique: bool = False
    tokenizer: str = field(default="", repr=False)

    @property
    def line_ends(self) -> bool:
        """Whether surface 0, the end of a line, occurs."""
        return self.format == "lines" or self.level == "word"


@dataclass(frozen=True)
class EncodedText:
    """A text as numbers of its own symbols.

    surfaces: (N,) uint8, uint16 or uint32, in memory-mapped form where it comes from a file; 0 ends a line.
    lexicon: the distinct symbols; ``lexicon[surface]`` is a symbol's own spelling, known to the vocabulary or not.
    characters: how many characters of the user's text these are, each line's end counted as one.
    content: SHA-256 of the file or text.
    name: what to call the text in messages.
    """

    surfaces: NDArray[Any] = field(repr=False)
    lexicon: list[str] = field(repr=False)
    characters: int
    content: str
    name: str
    scheme: Scheme

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """How many characters each surface stands for; a word is counted with one blank after it."""
        level = self.scheme.level
        if level == "character":
            return np.ones(len(self.lexicon), dtype=np.int64)
        if level == "word":
            return np.array([0, *(len(word) + 1 for word in self.lexicon[1:])], dtype=np.int64)
        spelled = map(subwords.token_bytes, self.lexicon[1:]) if level == "bpe" else map(_latin, self.lexicon[1:])
        return np.array([1, *(sum(byte & 0xC0 != 0x80 for byte in token) for token in spelled)], dtype=np.int64)


def encode_file(file: TextFile, scheme: Scheme, progress: Progress | None = None) -> EncodedText:
    """Encode a file once; afterwards it is found in the cache by its content and the scheme.

    Memory stays at a few chunks however large the file. UserError as `TextFile`, or where format "lines" finds no line
    that is not blank.

    >>> encode_file(TextFile(Path("input.txt")), Scheme("character")).surfaces[:3]     # doctest: +SKIP
    array([19, 48, 57], dtype=uint8)
    """
    content = file.digest()
    named = asdict(scheme) | {"tokenizer": hashlib.sha256(scheme.tokenizer.encode()).hexdigest()}
    key = {"content": content, "version": VERSION, **named}
    path, about = kept(key, partial(_write, file, scheme, progress), partial(_is_sound, scheme))
    surfaces = np.asarray(np.memmap(path, dtype=about["dtype"], mode="r"))
    return EncodedText(surfaces, about["lexicon"], about["characters"], content, str(file.path), scheme)


def encode_text(text: str, scheme: Scheme, name: str = "the text") -> EncodedText:
    """Encode a text that is in memory.

    >>> encode_text("abba", Scheme("character")).surfaces.tolist()
    [1, 2, 2, 1]
    """
    content = hashlib.sha256(utf8(text)).hexdigest()
    encoder = Encoder(lambda: iter([text]), scheme)
    surfaces = np.concatenate([np.zeros(0, dtype=np.uint32), *encoder.surfaces()])
    if not surfaces.size:
        raise UserError(f"{name} is empty; give some text")
    return EncodedText(surfaces, encoder.lexicon, encoder.characters, content, name, scheme)


def documents(chunks: Iterable[str], scheme: Scheme) -> Iterator[str]:
    """The lines of format "lines": folded to lower case if asked, blank ones left out, with ``unique`` repeats too."""
    seen: set[bytes] = set()
    for line in lines(_folded(chunks, scheme.lowercase)):
        if not line.strip():
            continue
        if scheme.unique:
            mark = hashlib.blake2b(line.encode(), digest_size=16).digest()
            if mark in seen:
                continue
            seen.add(mark)
        yield line


def prepared(chunks: Iterable[str], scheme: Scheme) -> Iterator[str]:
    r"""The text as it is encoded: running text as it is, documents one a line, each ended by "\n"."""
    if scheme.format == "text":
        return _folded(chunks, scheme.lowercase)
    return _gathered(f"{line}\n" for line in documents(chunks, scheme))


class Encoder:
    """Encodes a text that can be read (again) by calling ``chunks``; counts its characters on the way."""

    def __init__(self, chunks: Callable[[], Iterator[str]], scheme: Scheme, *, workers: int = 1) -> None:
        self.lexicon: list[str] = [END_OF_LINE]
        self.characters = 0
        self._chunks = chunks
        self._scheme = scheme
        self._workers = workers

    def surfaces(self) -> Iterator[Surfaces]:
        """All surfaces in order; ``lexicon`` and ``characters`` are complete when they end."""
        scheme = self._scheme
        if scheme.level == "word":
            return worded(self._counted, scheme.words, self.lexicon)
        if scheme.level == "bpe":
            return subworded(self._counted(), scheme.tokenizer, self.lexicon, line_ends=scheme.line_ends)
        table = CodeTable(byte=scheme.level == "byte", line_ends=scheme.line_ends)
        self.lexicon = table.lexicon
        return coded(self._counted(), table, workers=self._workers)

    def _counted(self) -> Iterator[str]:
        self.characters = 0
        for chunk in prepared(self._chunks(), self._scheme):
            self.characters += len(chunk)
            yield chunk


def _write(file: TextFile, scheme: Scheme, progress: Progress | None, path: Path) -> dict[str, Any]:
    encoder = Encoder(_passes(file, scheme, progress), scheme, workers=_workers(file))
    with SurfaceWriter(path) as writer:
        for surfaces in encoder.surfaces():
            writer.append(surfaces)
    if not writer.count:
        raise UserError(f"{file.path} has no line that is not blank; give a file with something in it")
    return {"dtype": writer.dtype.name, "lexicon": encoder.lexicon, "characters": encoder.characters}


def _is_sound(scheme: Scheme, path: Path, about: dict[str, Any]) -> bool:
    """Whether an entry of the cache holds surfaces of a lexicon of this scheme, at least one."""
    lexicon, dtype = about["lexicon"], about["dtype"]
    if dtype not in ("uint8", "uint16", "uint32") or type(about["characters"]) is not int or about["characters"] < 1:
        return False
    if not isinstance(lexicon, list) or lexicon[:1] != [END_OF_LINE] or not _is_lexicon(lexicon[1:], scheme):
        return False
    size = path.stat().st_size
    if not size or size % np.dtype(dtype).itemsize:
        return False
    surfaces = np.memmap(path, dtype=dtype, mode="r")
    return all(
        int(surfaces[start : start + CHECKED].max()) < len(lexicon) for start in range(0, len(surfaces), CHECKED)
    )


def _is_lexicon(symbols: list[Any], scheme: Scheme) -> bool:
    if scheme.level == "bpe":
        return symbols == subwords.tokens(scheme.tokenizer)
    if not all(isinstance(symbol, str) and symbol for symbol in symbols) or len(set(symbols)) < len(symbols):
        return False
    "".join(symbols).encode()  # UnicodeEncodeError, a ValueError, for lone surrogates
    longest = {"character": 1, "byte": 1}.get(scheme.level, math.inf)
    return all(len(symbol) <= longest for symbol in symbols) and (scheme.level != "byte" or max(symbols) < "\u0100")


def _passes(file: TextFile, scheme: Scheme, progress: Progress | None) -> Callable[[], Iterator[str]]:
    """Each call reads the file from its start; the progress of all passes adds up to one whole."""
    total = file.size * (2 if scheme.level == "word" else 1)
    begun = iter(range(0, total + 1, max(file.size, 1)))

    def chunks() -> Iterator[str]:
        before = next(begun)
        return file.chunks(progress=(lambda done: progress(before + done, total)) if progress else None)

    return chunks


def _workers(file: TextFile) -> int:
    return min(cores.usable(), 8) if file.size >= PARALLEL_FROM else 1


class SurfaceWriter:
    """Appends surfaces to a file, each in as few bytes as the largest so far needs.

    The bytes lie in the file without a header (their number is not known before the end), the smallest of uint8, uint16
    and uint32 first; when a larger surface comes, what is there is written once more.
    """

    def __init__(self, path: Path) -> None:
        self.dtype = np.dtype(np.uint8)
        self.count = 0
        self._path = path
        self._file = path.open("wb")

    def __enter__(self) -> "SurfaceWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, surfaces: Surfaces) -> None:
        needed = np.min_scalar_type(int(surfaces.max(initial=0)))
        if needed.itemsize > self.dtype.itemsize:
            self._widen(needed)
        surfaces.astype(self.dtype).tofile(self._file)
        self.count += len(surfaces)

    def _widen(self, dtype: np.dtype[Any]) -> None:
        self._file.close()
        narrow = self._path.with_name(f"{self._path.name}.narrow")
        os.replace(self._path, narrow)
        self._file = self._path.open("wb")
        with narrow.open("rb") as old:
            while data := old.read(1 << 20):  # a whole number of any of the three types
                np.frombuffer(data, dtype=self.dtype).astype(dtype).tofile(self._file)
        narrow.unlink()
        self.dtype = dtype


def _folded(chunks: Iterable[str], lowercase: bool) -> Iterator[str]:
    return map(lowered, chunks) if lowercase else iter(chunks)


def lowered(text: str) -> str:
    """Lower case, character by character: the final sigma, which looks at its neighbours, is written as any other."""
    return text.replace("Σ", "σ").lower()


def utf8(text: str) -> bytes:
    """The text's bytes; UserError where it holds what UTF-8 cannot write (lone surrogates)."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the text is not valid Unicode at character {error.start + 1}; give UTF-8 text") from None


def _gathered(pieces: Iterable[str], size: int = 1 << 18) -> Iterator[str]:
    """Short pieces joined to longer ones."""
    held: list[str] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= size:
            yield "".join(held)
            held, length = [], 0
    if held:
        yield "".join(held)


def _latin(symbol: str) -> bytes:
    return symbol.encode("latin-1")
