"""Sequences of frames in text: sktime's .ts, and rows of CSV."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.data.labelled.example import BadRows, Content, Example
from unrolled.data.reading import TextFile, lines
from unrolled.errors import UserError

SPELLING = re.compile(r"frames:([0-9]{1,6})")


def width_of(text: str) -> int:
    """The numbers a frame that text = "frames:D" means; 0 for another text."""
    match = SPELLING.fullmatch(text)
    return int(match[1]) if match else 0


def read_ts(path: Path, bad: BadRows, labelled: bool) -> Content:
    """A header of @ lines; then a sequence a line: dimensions parted by ":", values by ",", the class last. Where no
    labels are wanted, the header says whether there are some to leave out.

    Raises:
        UserError: there is no line @data.
    """
    examples: list[Example] = []
    begun, width = False, 0
    ends_in_label = True if labelled else None
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@"):
            name, value = (*line.lower().split(maxsplit=2), "")[:2]
            begun = begun or name == "@data"
            if name in ("@classlabel", "@targetlabel") and not labelled:
                ends_in_label = value == "true"
            continue
        parts = line.strip().split(":")
        if ends_in_label is None:  # the header does not say: a label is no list, as the numbers before it are
            ends_in_label = "," in parts[0] and "," not in parts[-1]
        dimensions, label = (parts[:-1], parts[-1].strip()) if ends_in_label else (parts, None)
        rows = [_numbers(part.split(",")) for part in dimensions]
        width = width or len(rows)
        frames = _joined(rows)
        if frames is None or len(rows) != width or (labelled and not label):
            wanted = f"{width or 'some'} dimensions of equally many numbers"
            bad.add(number, wanted + (", and a class" if ends_in_label else ""), line)
        else:
            examples.append(Example(frames, label, number))
    if not begun:
        raise UserError(f"{bad.name}: there is no line @data, so it is no .ts file; say what it is with --format")
    return Content(examples, note=f"frames of {width} numbers")


def _joined(rows: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    whole = [row for row in rows if row is not None]
    if not whole or len(whole) < len(rows) or len({len(row) for row in whole}) > 1:
        return None
    return np.stack(whole, axis=1)


def _numbers(values: list[str]) -> NDArray[np.float32] | None:
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
            found = np.array(values, dtype=np.float32)
    except ValueError:
        return None
    return found if len(found) and np.isfinite(found).all() else None


def read_frame_rows(path: Path, text: str, bad: BadRows, labelled: bool) -> Content:
    """A sequence a row of CSV: its frames one after the other, each of as many numbers as text = "frames:D" says; then
    the class.

    Raises:
        UserError: `text` says no width.
    """
    width = width_of(text)
    if not width:
        raise UserError(f'{bad.name}: how many numbers has a frame? Say so as --text frames:2 (not "{text}")')
    examples: list[Example] = []
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        if not line.strip():
            bad.blank(number)
            continue
        values = [value.strip() for value in line.split(",")]
        has_label = labelled or len(values) % width == 1
        numbers = _numbers(values[:-1] if has_label else values)
        if numbers is None or len(numbers) % width or (has_label and not values[-1]):
            bad.add(number, f"frames of {width} numbers each, and a class", line)
            continue
        examples.append(Example(numbers.reshape(-1, width), values[-1] if has_label else None, number))
    return Content(examples, text=text, note=f"frames of {width} numbers, the class last")
