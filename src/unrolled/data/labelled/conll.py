"""CoNLL columns and CoNLL-U: a token a line, an empty line (or one of blanks alone) after every sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from unrolled.data.labelled.example import BadRows, Content, Example
from unrolled.data.reading import TextFile, lines
from unrolled.errors import UserError

NAMES = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
"""The columns of CoNLL-U."""

DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class Row:
    """A line of a file: its number, itself, and its columns, without the blanks around them."""

    line: int
    text: str
    fields: tuple[str, ...]

    @classmethod
    def of(cls, line: int, text: str, tabs: bool) -> Row:
        """A line cut into columns: at TABs, or at blanks."""
        if tabs:
            return cls(line, text, tuple(field.strip() for field in text.rstrip().split("\t")))
        return cls(line, text, tuple(re.split("[ \t]+", text.strip())))

    @property
    def tabs(self) -> bool:
        """Whether its columns are separated by TABs."""
        return "\t" in self.text.strip()

    @property
    def marked(self) -> bool:
        """Whether it begins as a comment does."""
        return self.fields[0].startswith("#")


@dataclass(frozen=True)
class Columns:
    """Where tokens and labels are: places, counted from the end where they are negative.

    Attributes:
        width: how many columns the rows of the file have.
        named: whether both places were given, counted from the left: then sentences may have other widths.
    """

    token: int
    tag: int
    width: int
    named: bool
    labelled: bool

    def expected(self, sentence: list[Row]) -> int:
        """How many columns the rows of a sentence must have."""
        own = usual_width(sentence)
        return own if self.named and own > max(self.token, self.tag) else self.width

    def read(self, row: Row, width: int) -> tuple[str, str] | None:
        """The token and the label of a row; None where one is not there."""
        if len(row.fields) != width and (self.labelled or len(row.fields) > width):
            return None
        places = (self.token, self.tag) if self.labelled else (self.token,)
        if any(not -len(row.fields) <= place < len(row.fields) or not row.fields[place] for place in places):
            return None
        return row.fields[self.token], row.fields[self.tag] if self.labelled else ""


def read_conll(path: Path, format: str, text: str, label: str, bad: BadRows, labelled: bool) -> Content:
    """The sentences of a file, tokens and labels.

    A row has as many columns as most rows of the file; a line that begins with "#" and has not is a comment.

    Args:
        text, label: columns by number from 1 (-1 for the last) or CoNLL-U's name; empty: the first and the last, of
            CoNLL-U FORM and UPOS.

    Raises:
        UserError: a column by a name that there is not.
    """
    universal = format == "conllu"
    token = _column(text or ("FORM" if universal else "1"), universal, bad.name)
    tag = _column(label or ("UPOS" if universal else "-1"), universal, bad.name)
    every = [*lines(TextFile(path).chunks()), ""]
    tabs = universal or _has_tabs(every)
    numbered = enumerate(every, start=1)
    rows = [Row.of(*one, tabs) for one in numbered if not one[1].startswith(DOCUMENT)]
    comments = _comments(rows, universal, tag)
    rows = [row for row in rows if row.line not in comments and not (universal and _is_no_word(row))]
    width = usual_width([row for row in rows if row.fields[0]])
    columns = Columns(token, tag, width, bool(text and label) and min(token, tag) >= 0, labelled)
    examples = list(_sentences(rows, columns, bad))
    said = (
        f"tokens {text or ('FORM' if universal else 1)}, labels {label or ('UPOS' if universal else 'the last column')}"
    )
    skipped = f"; {len(comments):,} comment line{'s' * (len(comments) > 1)} left out" if comments else ""
    return Content(examples, text, label, said + skipped)


def _has_tabs(every: list[str]) -> bool:
    """Whether TABs separate the columns of a file: most of its rows have one."""
    rows = [line for line in every if line.strip() and not line.startswith(("#", DOCUMENT))]
    return 2 * sum("\t" in row.rstrip() for row in rows) > len(rows)


def usual_width(rows: list[Row]) -> int:
    """How many columns most of the rows have that do not begin as a comment does; of all, where all do."""
    counts = Counter(len(row.fields) for row in rows if not row.marked) or Counter(len(row.fields) for row in rows)
    return max(counts, key=lambda width: (counts[width], width), default=0)


def _sentences(rows: list[Row], columns: Columns, bad: BadRows) -> Iterator[Example]:
    """The sentences between blank lines; one with a bad row is left out, or, without labels, stands empty."""
    for blank, group in groupby(rows, key=lambda row: not row.text.strip()):
        if blank:
            continue
        sentence = list(group)
        width = columns.expected(sentence)
        pairs = [columns.read(row, width) for row in sentence]
        read = [pair for pair in pairs if pair is not None]
        for row, pair in zip(sentence, pairs, strict=True):
            if pair is None:
                wanted = "a token and a label in " if columns.labelled else "a token in "
                bad.add(row.line, f"{wanted}{width} column{'s' * (width != 1)}", row.text, place=sentence[0].line)
        if len(read) == len(sentence):
            tags = tuple(pair[1] for pair in read) if columns.labelled else None
            numbers = tuple(row.line for row in sentence)
            yield Example(tuple(pair[0] for pair in read), tags, sentence[0].line, numbers)


def _comments(rows: list[Row], universal: bool, tag: int) -> set[int]:
    """The lines that are comments.

    One that has the columns of a row is none, but for "# 12" between blanks: with a label that no other row has, that
    is a number and not a token. Nor is one that has not, where it is "#" alone, or like "#word" between the tokens of a
    sentence: that is a row without a label.
    """
    there = [row for row in rows if row.fields[0]]
    if universal or not any(row.marked for row in there):
        return {row.line for row in there if row.marked}
    plain = [row for row in there if not row.marked]
    width, tabs = usual_width(there), sum(row.tabs for row in plain) * 2 > len(plain)
    needed = max(2, tag + 1, -tag)
    known = {row.fields[tag] for row in plain if len(row.fields) >= needed} | {"#"}

    def is_row(row: Row, inside: bool) -> bool:
        if len(row.fields) != width:
            return row.text.strip() == "#" or (inside and row.fields[0] != "#")
        return row.fields[0] != "#" or width < needed or (row.tabs and tabs) or row.fields[tag] in known

    found: set[int] = set()
    inside = False
    for row in rows:
        if row.marked and not is_row(row, inside):
            found.add(row.line)
        else:
            inside = bool(row.text.strip())
    return found


def _is_no_word(row: Row) -> bool:
    """CoNLL-U: 1-2 is a contraction of words, 1.1 a word that is not there."""
    return re.fullmatch(r"\d+[-.]\d+", row.fields[0]) is not None


def _column(name: str, universal: bool, file: str) -> int:
    """The place of a column, counted from the end where it is negative."""
    if universal and name.upper() in NAMES:
        return NAMES.index(name.upper())
    number = int(name) if re.fullmatch(r"-?[0-9]{1,6}", name) else 0
    if number == 0:
        there = f"{', '.join(NAMES)}, or " if universal else ""
        raise UserError(f"{file}: there is no column {name!r}; give {there}a number from 1, or -1 for the last")
    return number - 1 if number > 0 else number
