"""The recipe's section [data]: which text, how it is cut into symbols, and which part of it is for what."""

from dataclasses import dataclass
from typing import get_args, get_type_hints

from unrolled.data.splitting import Split
from unrolled.errors import UserError

FORMATS = ("text", "lines")
LEVELS = ("character", "word", "bpe", "byte")
WORDS = ("punctuation", "whitespace")
SMALLEST_BPE = 256
"""A byte-level BPE holds every single byte."""
DEFAULT_BPE = 8_000


@dataclass(frozen=True)
class DataSettings:
    """What to read and how; every field is a key of the recipe's section ``[data]``.

    path, valid, test: files (plain, .gz or .xz; UTF-8). An empty ``path`` is the built-in corpus. Where ``valid`` is
        given, all of ``path`` is for training; ``split`` serves what is missing.
    format: "text", one running text; "lines", every line a sequence by itself (blank lines are skipped).
    level: what a symbol is: "character", "word", "bpe" or "byte".
    vocabulary_size: how many ordinary symbols to keep, the most frequent first (0: all; for BPE 8,000).
    min_count: a symbol must occur so often in the training part.
    lowercase: fold the text to lower case first.
    words: how words are parted, "punctuation" (runs of punctuation are words too) or "whitespace".
    unknown: a word of the text itself that means <unk>, as in WikiText.
    split: percents "TRAIN/VALIDATION/TEST", "TRAIN/VALIDATION" or "100", or, for lines, "mod10" (line number modulo
        10: 8 validation, 9 test). Empty: "90/5/5" for running text, "mod10" for lines.
    unique: drop repeated lines before splitting.
    text, label: columns, for tasks that read tables.

    >>> DataSettings(path="shakespeare.txt", split="90/10").problems()
    []
    """

    path: str = ""
    valid: str = ""
    test: str = ""
    format: str = "text"
    level: str = "character"
    vocabulary_size: int = 0
    min_count: int = 1
    lowercase: bool = False
    words: str = "punctuation"
    unknown: str = ""
    split: str = ""
    unique: bool = False
    text: str = ""
    label: str = ""

    def problems(self) -> list[str]:
        """Everything wrong with these settings, one message each, each opening with its key; empty when all is well."""
        wrong_types = self._wrong_types()
        if wrong_types:
            return wrong_types
        return [*self._wrong_choices(), *self._wrong_numbers(), *self._wrong_company(), *self._wrong_split()]

    def _wrong_types(self) -> list[str]:
        kinds = get_type_hints(type(self))
        return [
            f"data.{key} must be {_KIND_NAMES[kind]}, not {getattr(self, key)!r}"
            for key, kind in kinds.items()
            if type(getattr(self, key)) is not kind and not get_args(kind)
        ]

    def _wrong_choices(self) -> list[str]:
        choices = {"format": FORMATS, "level": LEVELS, "words": WORDS}
        return [
            f'data.{key} = "{getattr(self, key)}" is not one of {", ".join(allowed)}'
            for key, allowed in choices.items()
            if getattr(self, key) not in allowed
        ]

    def _wrong_numbers(self) -> list[str]:
        found = []
        if self.vocabulary_size < 0:
            found.append(f"data.vocabulary_size = {self.vocabulary_size} must be 0 (no limit) or more")
        if self.min_count < 1:
            found.append(f"data.min_count = {self.min_count} must be 1 or more")
        if self.level == "bpe" and 0 < self.vocabulary_size < SMALLEST_BPE:
            found.append(f"data.vocabulary_size = {self.vocabulary_size} must be at least {SMALLEST_BPE} for level bpe")
        return found

    def _wrong_company(self) -> list[str]:
        found = []
        if self.level == "byte" and self.vocabulary_size:
            found.append("data.vocabulary_size does not apply to level byte: it always has its 256 symbols; remove it")
        if self.level in ("byte", "bpe") and self.min_count > 1:
            found.append(f"data.min_count does not apply to level {self.level}: no symbol is left out; remove it")
        if self.unknown and self.level != "word":
            found.append(f'data.unknown applies to level word only, and data.level is "{self.level}"; remove one')
        if self.unknown and self.unknown.split() != [self.unknown]:
            found.append(f"data.unknown = {self.unknown!r} must be one word")
        if self.unique and self.format == "text":
            found.append('data.unique drops repeated lines: it needs data.format = "lines"')
        return found

    def _wrong_split(self) -> list[str]:
        try:
            Split.parse(self.split, self.format)
        except UserError as error:
            return [str(error)]
        return []


_KIND_NAMES = {str: "a string", int: "a whole number", bool: "true or false"}
