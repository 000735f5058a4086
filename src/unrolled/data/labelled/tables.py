"""Tables: TSV (never quoted), CSV (RFC 4180), JSON lines, Parquet, and parallel text in two files."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from unrolled.data.labelled.example import BadRows, Content, Example
from unrolled.data.reading import TextFile, check_unpacked, lines
from unrolled.errors import UserError
from unrolled.files import parsed_json

KNOWN = {
    "text": ("text", "sentence", "sequence", "review", "name", "source", "x", "tokens", "title"),
    "label": ("label", "class", "category", "sentiment", "rating", "stars", "target", "y", "tag", "language"),
}
"""Names of columns that a header may have; of a table without --text and --label the first that it has are taken."""

ID = "id"
VALUES = "texts, finite numbers or lists of words"
UNREADABLE = "\0"
"""In the place of a value that is none of these, or that Python has none for."""
MOST_COLUMNS = 1_000
"""Different keys of a table in JSON lines; every row has a place for each of them."""
AT_ONCE = 500
"""Rows of a Parquet file that are unpacked at once."""
CELL = 8
"""Bytes that a cell takes at least."""


@dataclass(frozen=True)
class Row:
    """One row of a table, and the line where it begins."""

    line: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """Which columns hold what: places of the text's (several are joined by a blank), and of the label's, or None."""

    text: tuple[int, ...]
    label: int | None
    said: str


def read_table(path: Path, format: str, kind: str, text: str, label: str, bad: BadRows, labelled: bool) -> Content:
    """The examples of a table.

    Raises:
        UserError: a column that is asked for is not there, the columns cannot be guessed, or ids repeat.
    """
    if format == "jsonl":
        names, rows = json_rows(path, bad)
    elif format == "parquet":
        names, rows = parquet_rows(path)
    else:
        names, rows = headed(list(csv_rows(path, bad) if format == "csv" else tsv_rows(path, bad)), text, label)
    width = len(names) if names else _usual(rows)
    wanted = labelled and kind != "generate"
    columns = chosen(bad.name, kind, names, rows, width, text, label, wanted)
    if names and ID in names:
        check_ids(bad.name, rows, names.index(ID))
    found = (_example(row, columns, width, wanted, bad, training=labelled) for row in rows)
    note = "" if format in ("jsonl", "parquet") else "a header; " if names else "no header; "
    examples = [example for example in found if example is not None]
    text_name, label_name = _names(columns, names)
    return Content(examples, text_name, label_name, note + columns.said)


def _names(columns: Columns, names: Sequence[str]) -> tuple[str, str]:
    def of(place: int) -> str:
        return names[place] if names else str(place + 1)

    return ",".join(map(of, columns.text)), "" if columns.label is None else of(columns.label)


def _example(row: Row, columns: Columns, width: int, labelled: bool, bad: BadRows, *, training: bool) -> Example | None:
    values = row.values
    if len(values) != width:
        needed = max((*columns.text, -1 if columns.label is None else columns.label))
        if labelled or len(values) > width or len(values) <= max(columns.text):
            bad.add(
                row.line, f"{width} column{'s' * (width > 1)}" + f" (up to {needed + 1} are read)", "\t".join(values)
            )
            return None
    read = [*columns.text, *([columns.label] if labelled and columns.label is not None else [])]
    if UNREADABLE in (values[place] for place in read):
        bad.add(row.line, VALUES, "\t".join(values).replace(UNREADABLE, "?"))
        return None
    x = " ".join(values[place] for place in columns.text).strip()
    if not x and not training:
        bad.blank(row.line)
        return None
    if not x:
        bad.add(row.line, "a text that is not empty", "\t".join(values))
        return None
    there = columns.label is not None and columns.label < len(values)
    y = values[columns.label].strip() if there and columns.label is not None else ""
    if labelled and not y:
        bad.add(row.line, "a label", "\t".join(values))
        return None
    return Example(x, y or None, row.line)


# -- rows


def tsv_rows(path: Path, bad: BadRows) -> list[Row]:
    """Fields parted by TABs, whatever else they hold; blank lines are none."""
    rows = []
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        if line.strip():
            rows.append(Row(number, tuple(line.split("\t"))))
        else:
            bad.blank(number)
    return rows


def csv_rows(path: Path, bad: BadRows) -> Iterator[Row]:
    """Fields parted by commas, in quotes where they hold commas, quotes or line ends."""
    reader = csv.reader(_with_ends(path), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.add(line, "a row of CSV", str(error))
            continue
        if any(value.strip() for value in values):
            yield Row(line, tuple(values))
        else:
            bad.blank(line)


def _with_ends(path: Path) -> Iterator[str]:
    for line in lines(TextFile(path).chunks()):
        yield line + "\n"


def json_rows(path: Path, bad: BadRows) -> tuple[list[str], list[Row]]:
    """Objects, one a line; the columns are the keys of all of them, in the order of their first appearance.

    Raises:
        UserError: there are too many different keys for a table.
    """
    objects: list[tuple[int, dict[str, str]]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        if not line.strip():
            bad.blank(number)
            continue
        try:
            value = parsed_json(line.encode())
            if not isinstance(value, dict):
                raise ValueError
            "".join(value).encode()  # half a character cannot be written
        except ValueError:  # UnicodeEncodeError is one
            bad.add(number, "a JSON object", line)
            continue
        objects.append((number, {key: _said(own) for key, own in value.items()}))
        names.update(dict.fromkeys(value))
        if len(names) > MOST_COLUMNS:
            raise UserError(
                f"{bad.name}, line {number:,}: more than {MOST_COLUMNS:,} different keys; every row must have the same"
            )
    return list(names), [Row(line, tuple(own.get(name, "") for name in names)) for line, own in objects]


def parquet_rows(path: Path) -> tuple[list[str], list[Row]]:
    """The rows of a Parquet file.

    Raises:
        UserError: pyarrow is not installed, or the file is no Parquet file.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'unrolled[parquet]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            columns = _columns(path, file, len(names))
    except UserError:
        raise
    except Exception as error:  # a foreign file: pyarrow has an error of its own for every flaw
        what = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} is no whole Parquet file ({what}); fetch it again") from None
    return names, [Row(number, values) for number, values in enumerate(zip(*columns, strict=True), start=1)]


def _columns(path: Path, file: Any, count: int) -> list[list[str]]:
    """All values of a Parquet file as texts: a little at a time, as one text can stand for a million rows."""
    size, unpacked = path.stat().st_size, 0
    check_unpacked(path, size, file.metadata.num_rows * max(1, count) * CELL)
    columns: list[list[str]] = [[] for _ in range(count)]
    for batch in file.iter_batches(batch_size=AT_ONCE):
        unpacked += batch.nbytes
        check_unpacked(path, size, unpacked)
        for column, values in zip(columns, batch.columns, strict=True):
            column += _cells(values)
    return columns


def _cells(values: Any) -> list[str]:
    """The values of a Parquet column as texts, one by one where some cannot be: no UTF-8, a date beyond Python's."""
    try:
        return [_said(value) for value in values.to_pylist()]
    except (ValueError, OverflowError):
        return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    try:
        return _said(value.as_py())
    except (ValueError, OverflowError):
        return UNREADABLE


def _said(value: object) -> str:
    """A value as text: whole numbers without a point, lists of words joined by blanks, nothing for None and NaN.

    What is no text and no number (infinity, an object, a list of lists, half of a surrogate pair) is `UNREADABLE`.
    """
    if value is None or value != value:  # NaN is how tables say that there is nothing
        return ""
    if isinstance(value, list):
        words = [UNREADABLE if isinstance(word, list) else _said(word) for word in value]
        return UNREADABLE if UNREADABLE in words else " ".join(words)
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()
    except ValueError:  # no UTF-8, or half of a surrogate pair
        return UNREADABLE
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    odd = isinstance(value, dict) or (isinstance(value, float) and math.isinf(value))
    return UNREADABLE if odd else text


def check_ids(name: str, rows: Sequence[Row], place: int) -> None:
    """Refuse a table in which an id comes twice: it was joined from parts that overlap, and would leak.

    Raises:
        UserError: one does.
    """
    seen: dict[str, int] = {}
    for row in rows:
        id = row.values[place] if place < len(row.values) else ""
        if id and id in seen:
            raise UserError(f"{name}, line {row.line:,}: the id {id!r} is that of line {seen[id]:,}; drop one of them")
        seen[id] = row.line


# -- columns


def headed(rows: list[Row], text: str, label: str) -> tuple[list[str], list[Row]]:
    """The names of the columns and the other rows; no names where the first row is a row like the others."""
    if not rows:
        return [], rows
    first = [value.strip() for value in rows[0].values]
    wanted = {name for name in (*text.split(","), label) if name and not name.isdigit()}
    known = {name for names in KNOWN.values() for name in names} | {ID}
    lower = {name.lower() for name in first}
    likely = (
        len(lower & known) >= 2 and len(lower) == len(first) and all(re.fullmatch(r"[\w .-]{1,40}", n) for n in first)
    )
    return (first, rows[1:]) if wanted & set(first) or likely else ([], rows)


def _usual(rows: Sequence[Row]) -> int:
    """The most frequent number of columns."""
    widths = [len(row.values) for row in rows]
    return max(set(widths), key=lambda width: (widths.count(width), width), default=1)


def chosen(
    name: str, kind: str, names: Sequence[str], rows: Sequence[Row], width: int, text: str, label: str, labelled: bool
) -> Columns:
    """Which columns to read: those asked for, else a guess, which is said.

    Raises:
        UserError: a column is not there, or nothing can be guessed.
    """

    def place(wanted: str) -> int:
        if wanted in names:
            return list(names).index(wanted)
        if re.fullmatch("[0-9]{1,6}", wanted) and 1 <= int(wanted) <= width:
            return int(wanted) - 1
        there = ", ".join(names) if names else f"1 to {width}"
        raise UserError(f"{name} has no column {wanted!r}; its columns: {there}")

    texts = tuple(place(one.strip()) for one in text.split(",")) if text else ()
    label_place = place(label) if label else None
    if not texts or (label_place is None and labelled):
        texts, label_place = _guessed(name, kind, names, rows, width, texts, label_place, labelled)
    shown = [str(names[one]) if names else str(one + 1) for one in texts]
    said = f"text {' + '.join(shown)}"
    if label_place is not None:
        said += f", {'target' if kind == 'translate' else 'label'} {names[label_place] if names else label_place + 1}"
    return Columns(texts, label_place, said)


def _guessed(
    name: str, kind: str, names: Sequence[str], rows: Sequence[Row], width: int, texts: tuple[int, ...],
    label: int | None, labelled: bool,
) -> tuple[tuple[int, ...], int | None]:  # fmt: skip
    free = [place for place in range(width) if place not in texts and place != label]
    if names:
        lower = [one.lower() for one in names]
        texts = (
            texts or tuple(lower.index(one) for one in KNOWN["text"] if one in lower and lower.index(one) in free)[:1]
        )
        free = [place for place in free if place not in texts]
        if label is None:
            label = next(
                (lower.index(one) for one in KNOWN["label"] if one in lower and lower.index(one) in free), None
            )
    if width == 1 and not labelled:
        return (0,), None
    if width == 2 and (not texts or (label is None and labelled)):
        return _of_two(kind, rows, texts, label)
    if not texts or (labelled and label is None):
        there = ", ".join(names) if names else ", ".join(map(str, range(1, width + 1)))
        raise UserError(f"{name}: which column is what? It has {there}; give --text COL and --label COL")
    return texts, label


def _of_two(
    kind: str, rows: Sequence[Row], texts: tuple[int, ...], label: int | None
) -> tuple[tuple[int, ...], int | None]:
    """Of two columns the one with few distinct values is the label; in translation the second is the target."""
    if texts:
        return texts, 1 - texts[0]
    if label is not None:
        return (1 - label,), label
    if kind == "translate":
        return (0,), 1
    distinct = [len({row.values[place] for row in rows if len(row.values) == 2}) for place in (0, 1)]
    place = 0 if distinct[0] < distinct[1] else 1
    return (1 - place,), place


def read_lines(path: Path, bad: BadRows) -> Content:
    """A text a line, without a label; blank lines are none."""
    found = []
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        if line.strip():
            found.append(Example(line.strip(), None, number))
        else:
            bad.blank(number)
    return Content(found, note="a text a line")


def read_parallel(path: Path, beside: Path, bad: BadRows) -> Content:
    """Two files whose lines belong together.

    Raises:
        UserError: they have different numbers of lines.
    """
    sides = [list(lines(TextFile(one).chunks())) for one in (path, beside)]
    if len(sides[0]) != len(sides[1]):
        raise UserError(
            f"{path} has {len(sides[0]):,} lines and {beside} {len(sides[1]):,}: parallel text has as many in both"
        )
    found = []
    for number, (x, y) in enumerate(zip_longest(*sides), start=1):
        if x.strip() and y.strip():
            found.append(Example(x.strip(), y.strip(), number))
        elif x.strip() or y.strip():
            bad.add(number, "text in both files", f"{x} | {y}")
    return Content(found, note=f"target {beside.name}")
