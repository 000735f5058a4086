"""Files that are replaced as a whole, and read with a message for every flaw.

Whatever lies on disk is foreign. So nothing is read but plain files of a bounded size, and nothing is written through a
name that could have been there before: a link planted under it would lead to another file of the user.
"""

import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from unrolled.errors import UserError

LARGEST_JSON = 256 << 20
"""Bytes of a JSON file that are read at most: room for the vocabulary of some millions of words."""
DEEPEST = 50
"""Levels of nesting that are read at most; our own files have five."""
_LEFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.partial", re.DOTALL)


# -- reading


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a plain file for reading; a pipe, a device or a socket is refused instead of waited for.

    Args:
        follow: whether ``path`` may be a symbolic link to the file.

    Raises:
        OSError: it cannot be opened, or is no plain file; ``strerror`` says so.
    """
    _check_regular(path.stat(follow_symlinks=follow))  # first of all: a device may act on being opened
    flags = os.O_RDONLY | _flag("O_NONBLOCK") | _flag("O_BINARY") | (0 if follow else _flag("O_NOFOLLOW"))
    descriptor = os.open(path, flags)
    try:
        _check_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """Read a plain file of at most ``limit`` bytes.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size <= limit else b""
    if max(size, len(content)) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit:,} bytes")
    return content


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file")


def _flag(name: str) -> int:
    """A flag of ``os.open``, where the system has it."""
    return int(getattr(os, name, 0))


def read_json(path: Path, limit: int = LARGEST_JSON) -> dict[str, Any]:
    """Read one of the run's JSON objects.

    Raises:
        UserError: when the file is missing, not UTF-8 or not a JSON object.
    """
    try:
        value = parsed_json(read_regular(path, limit))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {elsewhere(path.parent)}, or copy the run folder again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise UserError(f"{path} is not JSON ({error}); copy the run folder again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is JSON but no object; copy the run folder again")
    return value


def parsed_json(content: bytes, *, finite: bool = True) -> Any:
    """The value of a JSON text in UTF-8, at most `DEEPEST` levels deep and without a key that comes twice.

    Args:
        finite: whether NaN, Infinity and numbers too large for a float are refused.

    Raises:
        ValueError: it is something else; the message says what.

    >>> parsed_json(b'{"step": 3}')
    {'step': 3}
    """
    number: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite_float} if finite else {}
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_object, **number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise ValueError("it holds a whole number of thousands of digits") from None
        raise
    check_depth(value)
    return value


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Around code that uses what was read from a JSON file whose contents nothing has checked: figures, for people.

    Raises:
        UserError: the file holds something else than the code looks for.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"[:100]
        raise UserError(f"{path} does not hold what belongs there ({reason}); copy the run folder again") from None


def is_text_list(value: object) -> bool:
    """Whether a value is a list of different texts, each of which UTF-8 can write (JSON can hold half a character)."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return False
    try:
        "".join(value).encode()
    except UnicodeEncodeError:
        return False
    return len(set(value)) == len(value)


def is_number(value: object, minimum: float, maximum: float) -> TypeGuard[float]:
    """Whether a value is a number (true and false are none) from ``minimum`` to ``maximum``."""
    return type(value) in (int, float) and minimum <= value <= maximum  # type: ignore[operator]


def check_depth(value: object) -> None:
    """Refuse lists and mappings that are nested more deeply than `DEEPEST`.

    Raises:
        ValueError: they are.
    """
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        held = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [inner for items in held for inner in items if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, inner in pairs:
        if key in value:
            raise ValueError(f"the key {key[:40]!r} comes twice")
        value[key] = inner
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number of JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def elsewhere(folder: Path) -> str:
    """Say what to check when a file of ``folder`` is missing."""
    return "check that the path is a run folder" if folder.is_dir() else f"there is no folder {folder}: check the path"


# -- writing


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace ``path`` with ``value`` as indented JSON; numbers that are not finite become null."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # a file name that is not UTF-8 reaches us as lone surrogates; so escaped they are valid JSON
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


def finite(value: Any) -> Any:
    """Give ``value`` with None for every NaN and infinity inside: JSON has neither."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def atomic_write_text(path: Path, text: str) -> None:
    """Replace ``path`` with ``text`` in UTF-8; see ``atomic_write_bytes``."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` as a whole: whoever reads it, even after a power cut, finds the old content or the new.

    Raises:
        UserError: when the disk is full or the folder cannot be written; the old file is then untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        sync_file(temporary)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, and rename that file to ``path`` when the block is through.

    It lies in a folder of its own beside ``path``, made for this one write, so that no link waits under any name in it.
    A link under ``path`` itself is replaced, not followed.
    """
    workplace = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    with disk(f"{path} cannot be written"):
        workplace.mkdir(mode=0o700)
        try:
            yield workplace / path.name
            os.replace(workplace / path.name, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


def clear_leftovers(folder: Path, names: Collection[str]) -> None:
    """Remove what kills in the middle of a `replacing` have left of the files of these names."""
    with suppress(OSError):
        left = [one for one in folder.iterdir() if (match := _LEFT.fullmatch(one.name)) and match["name"] in names]
        for one in left:
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one, ignore_errors=True)
            else:
                one.unlink()


def append_text(path: Path, text: str) -> None:
    """Append to a plain file that has no other name, or make it: links of either kind lead to files of others.

    Raises:
        OSError: it cannot be written, or is something else.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK") | _flag("O_BINARY")
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link")
    with os.fdopen(os.open(path, flags, 0o666), "ab") as file:
        status = os.fstat(file.fileno())
        _check_regular(status)
        if status.st_nlink > 1:
            raise OSError(errno.EMLINK, "it is a link")
        file.write(text.encode("utf-8"))


def check_plain_folder(folder: Path) -> None:
    """Refuse a folder that is a link, or holds one, for a writer that chooses names of its own in it.

    Raises:
        UserError: it is, it does, or it is something else than a folder.
    """
    with disk(f"{folder} cannot be written"):
        if not os.path.lexists(folder):
            return
        if folder.is_symlink() or not folder.is_dir():
            raise UserError(f"{folder} is not a plain folder; remove it")
        for file in folder.iterdir():
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise UserError(f"{file} is a link, or not a plain file; remove it")


@contextmanager
def disk(complaint: str) -> Iterator[None]:
    """Turn what the disk refuses inside the block into a UserError that opens with ``complaint``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{complaint} ({error.strerror}); check free space and permissions") from None


def sync_file(path: Path) -> None:
    """Wait until the content of ``path`` is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
