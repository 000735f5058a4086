"""What verbs read from the command line: texts, a file, or lines on standard input; as many answers as lines.

A blank line holds nothing that a model could read, and still is a line: it gets an answer that says nothing, so that
the answers of a file can be put beside its lines.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.errors import UserError

ENDINGS = "tsv|csv|txt|jsonl?|parquet|conllu?|iob2?|ts|npz|fasta|fa|gz|xz|md|toml|xml"
DATA_NAME = re.compile(rf"(\S*[/\\])?[^\s/\\]+\.({ENDINGS})", re.IGNORECASE)
"""What a text does not look like, and the name of a file does."""


@dataclass(frozen=True)
class Blank:
    """The answer to a line without a text."""

    x: str


def answered(texts: Sequence[str], answer: Callable[[list[str]], list[Any]]) -> list[Any]:
    """An answer for each text, in order; `answer` is asked for those that are not blank."""
    wanted = [text for text in texts if text.strip()]
    answers = iter(answer(wanted) if wanted else [])
    return [next(answers) if text.strip() else Blank(text) for text in texts]


def lines_of(content: bytes, name: str) -> list[str]:
    """The lines of some UTF-8, blank ones too.

    Raises:
        UserError: it is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}: not UTF-8 at byte {error.start}, line {line}; save it as UTF-8") from None
    lines = text.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def standard_input() -> list[str]:
    """The lines of standard input."""
    return lines_of(sys.stdin.buffer.read(), "standard input")


def read(file: Path) -> bytes:
    """A file's bytes.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}; check the path and its permissions") from None


def looks_like_path(text: str) -> bool:
    """Whether a text can hardly be anything but a path: no blanks, and the ending of data files, or folders before the
    name that are absolute, relative (./, ../, ~/), or there.

    >>> looks_like_path("fims.tsv"), looks_like_path("./fims"), looks_like_path("and/or"), looks_like_path("a b.tsv")
    (True, True, False, False)
    """
    if DATA_NAME.fullmatch(text):
        return True
    first, separator, rest = text.partition(os.sep)
    if not separator or text.split() != [text] or not rest.strip("/."):
        return False
    return first in ("", ".", "..", "~") or _is(first, "is_dir")


def file_named(text: str) -> Path | None:
    """The regular file that a text names; None where there is none."""
    return Path(text) if _is(text, "is_file") else None


def _is(text: str, what: str) -> bool:
    """What the system says of a path; of one that it cannot even look up (too long, say) the answer is no."""
    try:
        return bool(getattr(Path(text), what)())
    except (OSError, ValueError):
        return False


def check_no_file_names(texts: Sequence[str]) -> None:
    """Refuse what was meant as a file: a name that is mistyped, or a file beside other texts.

    Raises:
        UserError: a text is the name of a file, or looks like one.
    """
    for text in texts:
        if not looks_like_path(text):
            continue
        if _is(text, "is_dir"):
            raise UserError(f"{text} is a folder; give one file, to a verb that reads files")
        if _is(text, "exists"):
            raise UserError(f"{text} is a file among texts; give one file alone, to a verb that reads files")
        raise UserError(f"{text} does not exist{_nearest(Path(text))}; a text that looks like this goes through a pipe")


def _nearest(path: Path) -> str:
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {path.with_name(near[0])}?)" if near else ""
