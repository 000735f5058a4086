"""log.jsonl of a run: one JSON object a line, appended while training, cut back when a run resumes."""

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.errors import UserError
from unrolled.files import append_text, atomic_write_text, disk, finite, open_regular, parsed_json

LOG = "log.jsonl"
LONGEST_LINE, MOST_LINES = 1 << 20, 20_000_000
"""What is read at most: training logs a line of some 200 bytes a second."""
LARGEST = 2**53
"""The largest whole number that is taken: any below it is exact as a float."""

Entry = dict[str, Any]


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one entry, such as {"step": 10, "kind": "train", "loss": 2.5, ...}; NaN and infinity become null.

    >>> append_log(Path("runs/names"), {"step": 10, "kind": "valid", "loss": 2.4})    # doctest: +SKIP
    """
    with disk(f"{folder / LOG} cannot be written"):
        append_text(folder / LOG, json.dumps(finite(entry), allow_nan=False) + "\n")


def read_log(folder: Path) -> list[Entry]:
    """Give the entries in order, none when there is no log yet; a last line that a kill cut short is left out.

    Raises:
        UserError: when any other line is not a JSON object with a whole "step".
    """
    path = folder / LOG
    try:
        with open_regular(path) as file:
            return [_entry(path, number, line) for number, line in _lines(path, file) if line.strip()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None


def truncate_log(folder: Path, step: int) -> None:
    """Keep only what was logged up to and including ``step``; the log is replaced as a whole."""
    kept = [entry for entry in read_log(folder) if entry["step"] <= step]
    atomic_write_text(folder / LOG, "".join(json.dumps(entry) + "\n" for entry in kept))


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that are whole, with their numbers: what follows the last line's end is torn."""
    for number in count(1):
        line = file.readline(LONGEST_LINE)
        if len(line) == LONGEST_LINE:
            raise UserError(f"{path}:{number}: a line of more than {LONGEST_LINE:,} bytes; take the line out")
        if number > MOST_LINES:
            raise UserError(f"{path}: more than {MOST_LINES:,} lines; take out those that are not needed")
        if not line.endswith(b"\n"):
            return
        yield number, line


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        entry = parsed_json(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: not JSON ({error}); take the line out") from None
    if not isinstance(entry, dict) or type(entry.get("step")) is not int:
        raise UserError(f'{path}:{number}: no JSON object with a whole "step"; take the line out')
    if any(isinstance(value, int) and abs(value) > LARGEST for value in entry.values()) or entry["step"] < 0:
        raise UserError(f"{path}:{number}: a number is out of range; take the line out")
    return entry
