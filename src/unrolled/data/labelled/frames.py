"""Sequences of frames: sktime's .ts, rows of CSV, NumPy's .npz."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.data.labelled.example import BadRows, Content, Example
from unrolled.data.reading import TextFile, lines
from unrolled.errors import UserError

SPELLING = re.compile(r"frames:(\d+)")


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
            continue
        values = [value.strip() for value in line.split(",")]
        has_label = labelled or len(values) % width == 1
        numbers = _numbers(values[:-1] if has_label else values)
        if numbers is None or len(numbers) % width or (has_label and not values[-1]):
            bad.add(number, f"frames of {width} numbers each, and a class", line)
            continue
        examples.append(Example(numbers.reshape(-1, width), values[-1] if has_label else None, number))
    return Content(examples, text=text, note=f"frames of {width} numbers, the class last")


def read_npz(path: Path, kind: str, bad: BadRows, labelled: bool) -> Content:
    """Arrays x (N, T, D), or x (sum of T, D) with lengths (N,); y (N,), or for tagging as many as there are timesteps.

    Raises:
        UserError: an array is missing, of another shape, or holds objects (which would be code to run).
    """
    arrays = _arrays(path)
    if "x" not in arrays or (labelled and "y" not in arrays):
        raise UserError(f'{bad.name} needs arrays "x" and "y"; it has {", ".join(arrays) or "none"}')
    sequences = _sequences(bad.name, arrays)
    labels: list[str | tuple[str, ...] | None] = [None] * len(sequences)
    if "y" in arrays:
        labels = list(_labels(bad.name, kind, arrays["y"], [len(one) for one in sequences]))
    examples = []
    for number, (x, y) in enumerate(zip(sequences, labels, strict=True), start=1):
        if len(x) and np.isfinite(x).all():
            examples.append(Example(x, y, number))
        else:
            bad.add(number, "a sequence of finite numbers", f"sequence {number}")
    return Content(examples, note=f"frames of {sequences[0].shape[1] if sequences else 0} numbers")


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; check the path (a recipe's paths are relative to the recipe)"
        ) from None
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise UserError(f"{path} is no .npz file of plain arrays ({error}); save it with numpy.savez") from None


def _sequences(name: str, arrays: dict[str, NDArray[np.generic]]) -> list[NDArray[np.float32]]:
    x = arrays["x"]
    if not np.issubdtype(x.dtype, np.number) or x.ndim not in (2, 3):
        raise UserError(
            f"{name}: x is {x.dtype} {x.shape}; it must be numbers (N, T, D), or (sum of T, D) and lengths (N,)"
        )
    frames = x.astype(np.float32)
    if x.ndim == 3:
        return list(frames)
    lengths = arrays.get("lengths")
    if lengths is None or lengths.ndim != 1 or int(lengths.sum()) != len(x):
        raise UserError(f"{name}: x has {len(x)} frames in a row, so lengths (N,) must be there and add up to that")
    return np.split(frames, np.cumsum(lengths.astype(np.int64))[:-1])


def _labels(name: str, kind: str, y: NDArray[np.generic], lengths: list[int]) -> list[str] | list[tuple[str, ...]]:
    flat = [str(value) for value in y.reshape(-1).tolist()]
    wanted = sum(lengths) if kind == "tag" else len(lengths)
    if len(flat) != wanted:
        raise UserError(f"{name}: y has {len(flat)} labels, and {wanted} are needed")
    if kind != "tag":
        return flat
    ends = np.cumsum(lengths).tolist()
    return [tuple(flat[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
