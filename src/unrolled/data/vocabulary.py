"""The symbols that a model knows, their ids, and back to text."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.arguments import checked_text
from unrolled.data import subwords
from unrolled.data.encoding import lowered, utf8
from unrolled.data.settings import LEVELS, WORDS
from unrolled.data.surfaces import END_OF_LINE, split_words
from unrolled.errors import UserError
from unrolled.files import atomic_write_text, is_text_list, read_json

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
SPELLING = 16
"""Characters of a word's spelling; of longer words the first 10 and the last 6."""
_HEAD, _TAIL = 10, 6
_VISIBLE = {" ": "␣", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Vocabulary:
    """Symbols and their ids: four specials, then the ordinary symbols by falling frequency, ties alphabetical.

    symbols: id -> symbol. Bytes are written as the character of the same number; BPE tokens in byte-level letters.
    level, words, lowercase, unknown: as in `DataSettings`; they say how a text is cut into symbols.
    alphabet: for words, the characters of the training part's words, known or not, for their spellings.
    tokenizer: for BPE, its JSON.

    Specials are never recognised in a text: the word "<unk>" is a word like any other, unless ``unknown`` names it.

    >>> vocabulary = Vocabulary.from_counts({"b": 2, "a": 5, "c": 2}, level="character")
    >>> vocabulary.symbols[4:], vocabulary.encode("cab"), vocabulary.decode([6, 4, 5])
    (('a', 'b', 'c'), [6, 4, 5], 'cab')
    """

    symbols: tuple[str, ...] = field(repr=False)
    level: str = "character"
    words: str = "punctuation"
    lowercase: bool = False
    unknown: str = ""
    alphabet: str = field(default="", repr=False)
    tokenizer: str = field(default="", repr=False)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        *,
        level: str,
        size: int = 0,
        min_count: int = 1,
        words: str = "punctuation",
        lowercase: bool = False,
        unknown: str = "",
        tokenizer: str = "",
    ) -> Self:
        """The ``size`` (0: all) most frequent symbols that occur ``min_count`` times. Bytes and BPE keep all theirs."""
        if level in ("byte", "bpe"):
            whole = map(chr, range(256)) if level == "byte" else subwords.tokens(tokenizer)
            counts = {symbol: counts.get(symbol, 0) for symbol in whole}
            size, min_count = 0, 0
        frequent = [symbol for symbol, count in counts.items() if count >= min_count and symbol != unknown]
        frequent.sort(key=lambda symbol: (-counts[symbol], symbol))
        seen = (word for word, count in counts.items() if count)
        alphabet = "".join(sorted(set().union(*seen))) if level == "word" else ""
        symbols = (*SPECIALS, *frequent[: size or None])
        return cls(symbols, level, words, lowercase, unknown, alphabet, tokenizer)

    def __len__(self) -> int:
        """All ids: the ordinary symbols and the four specials."""
        return len(self.symbols)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Ordinary symbol -> id."""
        ids = {symbol: id for id, symbol in enumerate(self.symbols) if id >= len(SPECIALS)}
        return ids | {self.unknown: UNK} if self.unknown else ids

    def split(self, text: str) -> list[str]:
        r"""The text's symbols in their own spelling, known or not; a word-level line's end is "\n".

        UserError for text that UTF-8 cannot write (lone surrogates).
        """
        text = lowered(text) if self.lowercase else text
        if self.level == "character":
            return list(text)
        if self.level == "byte":
            return list(utf8(text).decode("latin-1"))
        utf8(text)
        if self.level == "word":
            return split_words(text, self.words)
        with subwords.guarded():
            return list(subwords.loaded(self.tokenizer).encode(text, add_special_tokens=False).tokens)

    def encode(self, text: str) -> list[int]:
        r"""The ids of a text, <unk> for symbols outside the vocabulary.

        No <bos> or <eos> is added, but at word level every "\n" in the text is an <eos>.

        Raises:
            TypeError: it is no str. UserError: it is no Unicode.
        """
        ids = self.ids | {END_OF_LINE: EOS} if self.level == "word" else self.ids
        return [ids.get(symbol, UNK) for symbol in self.split(checked_text(text))]

    def decode(self, ids: Iterable[int]) -> str:
        r"""Back to text. <pad> and <bos> are skipped; <unk> is "�", at word level "<unk>" (or ``unknown``).

        At word level words are joined by blanks and <eos> is "\n"; at the other levels <eos> is skipped. So
        ``decode(encode(text)) == text`` for known characters, and for any text in bytes and BPE.
        """
        ids = [int(id) for id in ids]
        if self.level == "word":
            return self._joined_words(ids)
        kept = [id for id in ids if id >= len(SPECIALS) or id == UNK]
        if self.level == "character":
            return "".join("�" if id == UNK else self.symbols[id] for id in kept)
        return b"".join(self._bytes(id) for id in kept).decode("utf-8", errors="replace")

    def symbol(self, id: int) -> str:
        """One symbol as a table shows it: blanks and control characters made visible, broken UTF-8 as bytes."""
        return SPECIALS[id] if id < len(SPECIALS) else _visible(self.text(id))

    def text(self, id: int) -> str:
        """One symbol's text as it is; the name of a special one, and broken UTF-8 as bytes: 0xE2 0x82."""
        if id < len(SPECIALS) or self.level in ("character", "word"):
            return self.symbols[id]
        try:
            return self._bytes(id).decode()
        except UnicodeDecodeError:
            return " ".join(f"0x{byte:02X}" for byte in self._bytes(id))

    def table_for(self, lexicon: Sequence[str]) -> NDArray[np.int64]:
        """(len(lexicon),) the vocabulary's id of every surface; place 0, the end of a line, is <eos>."""
        ids = self.ids
        table = np.fromiter((ids.get(symbol, UNK) for symbol in lexicon), dtype=np.int64, count=len(lexicon))
        table[0] = EOS
        return table

    @property
    def spelling_size(self) -> int:
        """How many different numbers a spelling holds: 0 nothing, 1 a character not in ``alphabet``, then these."""
        return len(self.alphabet) + 2

    def spell(self, word: str) -> list[int]:
        """The word's characters as numbers, `SPELLING` of them, 0 at the end; all 0 for a line's end.

        >>> Vocabulary.from_counts({"cab": 1}, level="word").spell("bad")
        [3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        """
        spelling: list[int] = self._spellings([word])[0].tolist()
        return [0] * SPELLING if word == END_OF_LINE else spelling

    def spellings_for(self, lexicon: Sequence[str]) -> NDArray[np.int32]:
        """(len(lexicon), 16): the spelling of every surface; place 0, the end of a line, is all 0."""
        spellings = self._spellings(lexicon)
        spellings[0] = 0
        return spellings

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        atomic_write_text(path, json.dumps({"version": 1, **asdict(self)}, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote; UserError, with the file's name, when it is not that."""
        try:
            return cls(**_checked(read_json(path)))
        except _Broken as error:
            raise UserError(f"{path} is not a whole vocabulary: {error}; restore it or train again") from None

    def _joined_words(self, ids: list[int]) -> str:
        lines: list[list[str]] = [[]]
        for id in ids:
            if id == EOS:
                lines.append([])
            elif id == UNK:
                lines[-1].append(self.unknown or SPECIALS[UNK])
            elif id >= len(SPECIALS):
                lines[-1].append(self.symbols[id])
        return "\n".join(map(" ".join, lines))

    def _bytes(self, id: int) -> bytes:
        if id == UNK:
            return "�".encode()
        symbol = self.symbols[id]
        return symbol.encode("latin-1") if self.level == "byte" else subwords.token_bytes(symbol)

    @cached_property
    def _letters(self) -> NDArray[np.int32]:
        table = np.ones(0x110000, dtype=np.int32)
        table[0] = 0
        for number, character in enumerate(self.alphabet, start=2):
            table[ord(character)] = number
        return table

    def _spellings(self, words: Sequence[str]) -> NDArray[np.int32]:
        short = [word if len(word) <= SPELLING else word[:_HEAD] + word[-_TAIL:] for word in words]
        codes = np.array(short, dtype=f"<U{SPELLING}").view("<u4").reshape(len(short), SPELLING)
        spellings: NDArray[np.int32] = self._letters[codes]
        return spellings


def counted(lexicon: Sequence[str], counts: NDArray[np.int64]) -> Counter[str]:
    """Counts by surface as counts by symbol; the end of a line is left out.

    >>> counted(["\\n", "a", "b"], np.array([7, 1, 2]))
    Counter({'b': 2, 'a': 1})
    """
    return Counter(dict(zip(lexicon[1:], counts[1:].tolist(), strict=True)))


class _Broken(Exception):
    """What is wrong with a vocabulary's JSON."""


def _checked(written: Mapping[str, Any]) -> dict[str, Any]:
    if written.get("version") != 1:
        raise _Broken("it is no JSON object of version 1")
    kinds = {"symbols": list, "level": str, "words": str, "lowercase": bool}
    kinds |= {"unknown": str, "alphabet": str, "tokenizer": str}
    for key, kind in kinds.items():
        if type(written.get(key)) is not kind:
            raise _Broken(f'"{key}" is missing or of the wrong kind')
    if not all(is_text_list([written[key]]) for key in ("unknown", "alphabet")):
        raise _Broken('"unknown" or "alphabet" holds half a character')
    if written["level"] not in LEVELS or written["words"] not in WORDS:
        raise _Broken('"level" or "words" is none that is known')
    _check_symbols(written["symbols"], written["level"], written["tokenizer"])
    if not _encodable("".join([*written["symbols"], written["unknown"], written["alphabet"]])):
        raise _Broken("it holds half of a surrogate pair, which is no character")
    if len(set(written["alphabet"])) != len(written["alphabet"]):
        raise _Broken('"alphabet" repeats a character')
    return {key: written[key] for key in kinds} | {"symbols": tuple(written["symbols"])}


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_symbols(symbols: list[Any], level: str, tokenizer: str) -> None:
    if not all(isinstance(symbol, str) for symbol in symbols) or tuple(symbols[:4]) != SPECIALS:
        raise _Broken(f'"symbols" must be strings that begin with {", ".join(SPECIALS)}')
    ordinary = set(symbols[4:])
    if len(ordinary) != len(symbols) - 4:
        raise _Broken('"symbols" repeats a symbol')
    if level == "character" and any(len(symbol) != 1 for symbol in ordinary):
        raise _Broken('"symbols" must be single characters')
    if level == "byte" and ordinary != set(map(chr, range(256))):
        raise _Broken('"symbols" are not the 256 bytes')
    if level == "bpe" and ordinary != _tokens(tokenizer):
        raise _Broken('"tokenizer" is not the one of these symbols')


def _tokens(tokenizer: str) -> set[str]:
    try:
        return set(subwords.tokens(tokenizer))
    except subwords.UnknownTokenizer as error:
        raise _Broken(str(error)) from None


def _visible(text: str) -> str:
    return "".join(_VISIBLE.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)
