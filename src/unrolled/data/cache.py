"""Work that is kept: what was made from a file once is found again by the file's content and the way it was made."""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.files import open_regular, parsed_json, read_regular

Make = Callable[[Path], dict[str, Any]]
"""Writes its data at the given path and returns what is to be remembered about them (JSON)."""
Sound = Callable[[Path, dict[str, Any]], bool]
"""Whether an entry that was found is what its maker would have written: anyone may have put it there."""
LARGEST_ENTRY = 1 << 30
"""Bytes of what is remembered about some data that are read at most."""


def cache_folder() -> Path:
    """$UNROLLED_CACHE, else $XDG_CACHE_HOME/unrolled, else ~/.cache/unrolled; it need not exist.

    Raises:
        UserError: UNROLLED_CACHE begins with a user that there is not.
    """
    if own := os.environ.get("UNROLLED_CACHE"):
        try:
            return Path(own).expanduser()
        except RuntimeError:
            raise UserError(
                f"the environment variable UNROLLED_CACHE is {own!r}, and there is no such user; set it to a folder"
            ) from None
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "unrolled"
    try:
        return Path("~/.cache").expanduser() / "unrolled"
    except RuntimeError:  # a user without a home, as in a container
        return _temporary_folder()


def anything(path: Path, about: dict[str, Any]) -> bool:
    """Every entry is sound: for data that are never taken for more than what they are."""
    return True


def kept(key: Mapping[str, object], make: Make, sound: Sound = anything) -> tuple[Path, dict[str, Any]]:
    """The data file made by ``make`` for this ``key``, and what was remembered about it; made only if not there whole.

    An entry that is damaged, half-written, another key's, or that ``sound`` refuses is made again. Where the cache
    folder cannot be written to, a temporary folder serves, until the program ends. UserError when that cannot be
    written to either.
    """
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache_folder()
    found = _find(folder, name, sound)
    if found:
        return found
    try:
        return _make(folder, name, make)
    except OSError:
        return _elsewhere(folder, name, make, sound)


def _find(folder: Path, name: str, sound: Sound) -> tuple[Path, dict[str, Any]] | None:
    data = folder / f"{name}.bin"
    try:
        entry = parsed_json(read_regular(folder / f"{name}.json", LARGEST_ENTRY))
        about = dict(entry["about"])
        if entry["checksum"] == _checksum(name, data, about) and sound(data, about):
            return data, about
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _make(folder: Path, name: str, make: Make) -> tuple[Path, dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=folder))
    try:
        draft = workplace / "data"
        about = make(draft)
        _sync(draft)
        entry = json.dumps({"checksum": _checksum(name, draft, about), "about": about})
        (workplace / "entry").write_text(entry, encoding="utf-8")
        _sync(workplace / "entry")
        os.replace(draft, folder / f"{name}.bin")
        # The JSON comes last and holds the checksum: whoever finds it beside other data makes the entry again.
        os.replace(workplace / "entry", folder / f"{name}.json")
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return folder / f"{name}.bin", about


def _elsewhere(folder: Path, name: str, make: Make, sound: Sound) -> tuple[Path, dict[str, Any]]:
    try:
        temporary = _temporary_folder()
        return _find(temporary, name, sound) or _make(temporary, name, make)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache folder {folder}, nor to a temporary one ({error.strerror or error}); "
            "set UNROLLED_CACHE to a folder with room"
        ) from None


@cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="unrolled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _checksum(name: str, path: Path, about: dict[str, Any]) -> str:
    """Size and CRC-32 of the entry's name, its data and what is remembered: against damage, not against malice."""
    value = zlib.crc32(name.encode() + json.dumps(about, sort_keys=True).encode())
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
        return f"{file.tell()}-{value:08x}"
