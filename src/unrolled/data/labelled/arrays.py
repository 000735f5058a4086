"""Sequences of frames in NumPy's .npz: plain arrays of numbers, whose claims are checked before they are believed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrolled.data.labelled.example import BadRows, Content, Example
from unrolled.data.reading import check_unpacked
from unrolled.errors import UserError

ARRAYS = ("x", "lengths", "y")
Array = NDArray[np.generic]


def read_npz(path: Path, kind: str, bad: BadRows, labelled: bool) -> Content:
    """Arrays x (N, T, D), or x (sum of T, D) with lengths (N,); y (N,), or for tagging as many as there are timesteps.

    Raises:
        UserError: an array is missing, of another shape, or holds objects (which would be code to run).
    """
    arrays = _arrays(path, ARRAYS if labelled else ARRAYS[:2])
    if "x" not in arrays or (labelled and "y" not in arrays):
        raise UserError(f'{bad.name} needs arrays "x" and "y"; it has {", ".join(arrays) or "neither"}')
    sequences = _sequences(bad.name, arrays)
    labels: list[str | tuple[str, ...] | None] = [None] * len(sequences)
    if labelled:
        labels = list(_labels(bad.name, kind, arrays["y"], [len(one) for one in sequences]))
    examples = []
    for number, (x, y) in enumerate(zip(sequences, labels, strict=True), start=1):
        if not labelled and not len(x):
            bad.blank(number)
        elif not len(x) or not np.isfinite(x).all():
            bad.add(number, "a sequence of finite numbers", f"sequence {number}")
        elif labelled and not (all(y) if isinstance(y, tuple) else y):
            bad.add(number, "a label", f"sequence {number}")
        else:
            examples.append(Example(x, y, number))
    return Content(examples, note=f"frames of {sequences[0].shape[1] if sequences else 0} numbers")


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, Array]:
    """The arrays of these names that a file has."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        check_unpacked(path, path.stat().st_size, sum(sizes.get(f"{name}.npy", 0) for name in names))
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in names if name in file.files}
    except UserError:
        raise
    except Exception as error:  # a foreign file: zipfile, zlib and numpy have an error of their own for every flaw
        what = str(error) or type(error).__name__
        raise UserError(f"{path} is no .npz file of plain arrays ({what}); save it with numpy.savez") from None


def _sequences(name: str, arrays: dict[str, Array]) -> list[NDArray[np.float32]]:
    x = arrays["x"]
    if x.dtype.kind not in "biuf" or x.ndim not in (2, 3) or not x.shape[-1] or (x.ndim == 3 and not x.size):
        raise UserError(
            f"{name}: x is {x.dtype} {x.shape}; it must be numbers (N, T, D), or (sum of T, D) and lengths (N,)"
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and its sequence is refused
        frames = x.astype(np.float32)
    if x.ndim == 3:
        return list(frames)
    lengths = arrays.get("lengths")
    steps = [] if lengths is None or lengths.ndim != 1 or lengths.dtype.kind not in "iu" else lengths.tolist()
    if not steps or min(steps) < 0 or sum(steps) != len(x):
        raise UserError(
            f"{name}: x has {len(x)} frames in a row, so lengths (N,), whole numbers, must be there and add up to that"
        )
    ends = np.cumsum(np.array(steps, dtype=np.int64)).tolist()
    return [frames[end - length : end] for end, length in zip(ends, steps, strict=True)]


def _labels(name: str, kind: str, y: Array, lengths: list[int]) -> list[str] | list[tuple[str, ...]]:
    wanted = sum(lengths) if kind == "tag" else len(lengths)
    if y.dtype.kind not in "biufUS" or y.size != wanted:
        raise UserError(f"{name}: y is {y.dtype} {y.shape}; it must be {wanted} labels, of text or numbers")
    try:
        values = y.reshape(-1).tolist()
        flat = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
        "".join(flat).encode()
    except ValueError:  # bytes that are no UTF-8, or code points that are no characters
        raise UserError(f"{name}: y holds labels that are not valid Unicode; save them as text") from None
    flat = [label.strip() for label in flat]
    if kind != "tag":
        return flat
    ends = np.cumsum(np.array(lengths, dtype=np.int64)).tolist()
    return [tuple(flat[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
