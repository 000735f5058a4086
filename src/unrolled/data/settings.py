"""The recipe's section [data]: which text, how it is cut into symbols, and which part of it is for what."""

from dataclasses import dataclass, fields
from typing import get_args, get_type_hints

from unrolled.data.splitting import Split
from unrolled.errors import UserError
from unrolled.settings import limits_of, setting

TEXT_FORMATS = ("text", "lines")
LABELLED_FORMATS = ("tsv", "csv", "jsonl", "parquet", "conll", "conllu", "ts", "frames-csv", "npz", "fasta")
PATHS = ("path", "valid", "test", "beside", "valid_beside", "test_beside", "vectors")
"""The keys that are paths."""
FORMATS = (*TEXT_FORMATS, *LABELLED_FORMATS, "")
LEVELS = ("character", "word", "bpe", "byte")
WORDS = ("punctuation", "whitespace")
SMALLEST_BPE = 256
"""A byte-level BPE holds every single byte."""
DEFAULT_BPE = 8_000


@dataclass(frozen=True)
class DataSettings:
    """What to read and how; every field is a key of the recipe's section ``[data]``.

    >>> DataSettings(path="shakespeare.txt", split="90/10").problems()
    []
    """

    path: str = setting("", help="the text: plain, .gz or .xz, UTF-8; empty: the built-in corpus")
    made: str = setting(
        "", choices=("", "agreement", "adding", "copy"),
        help="data made here in the place of path: agreement (language-model), adding (classify), copy (tag)",
    )  # fmt: skip
    made_length: int = setting(100, minimum=2, maximum=10_000, help="made: the timesteps of adding, the pause of copy")
    valid: str = setting("", help="a text to validate on; then all of path is for training")
    test: str = setting("", help="a text to test on")
    format: str = setting(
        "text", choices=FORMATS, help="text, lines (each a sequence by itself), or of labelled data; empty: by its name"
    )
    level: str = setting("character", choices=LEVELS, help="what a symbol is")
    vocabulary_size: int = setting(0, minimum=0, help="keep so many symbols, the most frequent; 0: all (BPE: 8,000)")
    min_count: int = setting(1, minimum=1, help="keep symbols that occur so often in the training part")
    lowercase: bool = setting(False, help="fold the text to lower case first")
    words: str = setting("punctuation", choices=WORDS, help="what parts words; punctuation: its runs are words too")
    unknown: str = setting("", help="a word of the text itself that means <unk>, as in WikiText")
    split: str = setting(
        "",
        help="TRAIN/VALIDATION/TEST in percent, in the file's order; mod10 (by line: 8 validation, 9 test); "
        "stratified (rows: the same, class by class); empty: 90/5/5, lines mod10, rows stratified",
    )
    unique: bool = setting(False, help="drop repeated lines before splitting")
    text: str = setting("", help="the text's column, for tasks that read tables")
    label: str = setting("", help="the label's column, for tasks that read tables")
    scheme: str = setting(
        "",
        choices=("", "none", "IO", "IOB1", "IOB2", "BIOES"),
        help="tag: the scheme to learn spans in; empty: the file's own; none: labels are not spans",
    )
    beside: str = setting("", help="a second file: the other side of parallel text, or labels of a FASTA file")
    valid_beside: str = setting("", help="the same for valid")
    test_beside: str = setting("", help="the same for test")
    vectors: str = setting(
        "", help="classify, tag: word vectors to start from, a word and its numbers a line; word level"
    )
    skip_bad_rows: int = setting(0, minimum=0, help="tolerate so many rows that cannot be read, and say which")

    def problems(self) -> list[str]:
        """Everything wrong with these settings, one message each, each opening with its key; empty when all is well."""
        wrong_types = self._wrong_types()
        if wrong_types:
            return wrong_types
        return [*self._outside_limits(), *self._wrong_company(), *self._wrong_split()]

    def _wrong_types(self) -> list[str]:
        kinds = get_type_hints(type(self))
        return [
            f"data.{key} must be {_KIND_NAMES[kind]}, not {getattr(self, key)!r}"
            for key, kind in kinds.items()
            if type(getattr(self, key)) is not kind and not get_args(kind)
        ]

    def _outside_limits(self) -> list[str]:
        found = ((key.name, limits_of(key).complaint(getattr(self, key.name))) for key in fields(self))
        return [f"data.{name} {complaint}" for name, complaint in found if complaint]

    def _wrong_company(self) -> list[str]:
        found = []
        if self.level == "bpe" and 0 < self.vocabulary_size < SMALLEST_BPE:
            found.append(f"data.vocabulary_size = {self.vocabulary_size} must be at least {SMALLEST_BPE} for level bpe")
        if self.level == "byte" and self.vocabulary_size:
            found.append("data.vocabulary_size does not apply to level byte: it always has its 256 symbols; remove it")
        if self.level in ("byte", "bpe") and self.min_count > 1:
            found.append(f"data.min_count does not apply to level {self.level}: no symbol is left out; remove it")
        if self.unknown and self.level != "word":
            found.append(f'data.unknown applies to level word only, and data.level is "{self.level}"; remove one')
        if self.unknown and self.unknown.split() != [self.unknown]:
            found.append(f"data.unknown = {self.unknown!r} must be one word")
        if self.vectors and self.level != "word":
            found.append(f'data.vectors are of words, and data.level is "{self.level}"; use level "word"')
        if self.made and (self.path or self.valid or self.test):
            found.append(f'data.made = "{self.made}" is in the place of files: leave data.path, valid and test out')
        if self.unique and self.format == "text":
            found.append('data.unique drops repeated lines: it needs data.format = "lines"')
        return found

    def _wrong_split(self) -> list[str]:
        try:
            Split.parse(self.split, self.format if self.format in TEXT_FORMATS else "rows")
        except UserError as error:
            return [str(error)]
        return []


_KIND_NAMES = {str: "a string", int: "a whole number", bool: "true or false"}
