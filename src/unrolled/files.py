"""Files that are replaced as a whole, and read with a message for every flaw."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unrolled.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """Read one of the run's JSON objects.

    Raises:
        UserError: when the file is missing, not UTF-8 or not a JSON object.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {elsewhere(path.parent)}, or copy the run folder again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise UserError(f"{path} is not JSON ({error}); copy the run folder again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is JSON but no object; copy the run folder again")
    return value


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
    """Give the temporary name to write to, beside ``path``, and rename it to ``path`` when the block is through."""
    # always the same name: what a kill left behind is overwritten by the next write, not collected
    temporary = path.with_name(f".{path.name}.partial")
    with disk(f"{path} cannot be written"):
        try:
            yield temporary
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


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


def elsewhere(folder: Path) -> str:
    """Say what to check when a file of ``folder`` is missing."""
    return "check that the path is a run folder" if folder.is_dir() else f"there is no folder {folder}: check the path"
