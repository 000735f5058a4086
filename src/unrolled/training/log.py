"""log.jsonl of a run: one JSON object a line, appended while training, cut back when a run resumes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.files import atomic_write_text, finite

LOG = "log.jsonl"

Entry = dict[str, Any]


def append_log(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one entry, such as {"step": 10, "kind": "train", "loss": 2.5, ...}; NaN and infinity become null.

    >>> append_log(Path("runs/names"), {"step": 10, "kind": "valid", "loss": 2.4})    # doctest: +SKIP
    """
    line = json.dumps(finite(entry), allow_nan=False) + "\n"
    try:
        with open(folder / LOG, "a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise UserError(
            f"{folder / LOG} cannot be written ({error.strerror}); check free space and permissions"
        ) from None


def read_log(folder: Path) -> list[Entry]:
    """Give the entries in order, none when there is no log yet; a last line that a kill cut short is left out.

    Raises:
        UserError: when any other line is not a JSON object with a whole "step".
    """
    path = folder / LOG
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    *lines, _ = content.split(b"\n")  # a whole log ends with a line's end, so what follows the last one is torn
    return [_entry(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def truncate_log(folder: Path, step: int) -> None:
    """Keep only what was logged up to and including ``step``; the log is replaced as a whole."""
    kept = [entry for entry in read_log(folder) if entry["step"] <= step]
    atomic_write_text(folder / LOG, "".join(json.dumps(entry) + "\n" for entry in kept))


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: not JSON ({error}); take the line out") from None
    if not isinstance(entry, dict) or type(entry.get("step")) is not int:
        raise UserError(f'{path}:{number}: no JSON object with a whole "step"; take the line out')
    return entry
