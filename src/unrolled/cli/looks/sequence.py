"""What a look reads: the text on the command line, or, of a model of frames, a sequence of a file."""

from pathlib import Path
from typing import Any

from unrolled.cli.rows import check_no_file_names, file_named
from unrolled.errors import UserError


def sequence_given(run: Any, given: Any) -> Any:
    """The text itself; of a model of frames the sequence meant by FILE, its first, or by FILE:3, its third.

    Raises:
        UserError: the model reads frames, and there is no such file or sequence.
    """
    if given is None or not run.reads_frames:
        check_no_file_names([given] if isinstance(given, str) else [])
        return given
    path, number = _place(given)
    if path is None:
        raise UserError(
            f"{run.folder} reads frames, not texts: give a file of them, as in DATA.ts:3 for its third sequence; "
            f"there is no file {given!r}"
        )
    sequences = run.sequences(path)
    if not 1 <= number <= len(sequences):
        raise UserError(f"{path}: it has {len(sequences)} sequence(s), counted from 1, so none of number {number}")
    return sequences[number - 1]


def _place(given: str) -> tuple[Path | None, int]:
    if path := file_named(given):
        return path, 1
    name, _, number = given.rpartition(":")
    path = file_named(name) if number.isdecimal() else None
    return path, int(number) if path else 0
