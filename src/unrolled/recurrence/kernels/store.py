"""Machine code that is kept on disk: compiled once for a processor and a version, found again by what it was made of.

What is loaded is run. So it is only taken from a folder, and from files, that no one but this user can write, and where
no bit was changed; otherwise kernels are compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from llvmlite import binding as llvm

from unrolled.data.cache import cache_folder
from unrolled.errors import UserError
from unrolled.files import atomic_write_bytes, open_regular
from unrolled.recurrence.kernels.target import Target

MOST = 1000
"""Kernels that are kept; each takes some 50 kB."""

FORMAT = 2
"""Raised when kernels kept before may be wrong: 1 mixed up numbers of values and constants."""

LARGEST = 64 << 20
"""Bytes of a kernel that are read at most."""
_DIGEST = 32


def key_of(kind: str, form: object, target: Target) -> str:
    """The name of a kernel: everything that its code depends on."""
    parts = (FORMAT, kind, repr(form), repr(target), llvm.llvm_version_info, _sources())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


@cache
def _sources() -> str:
    """A digest of the files that write kernels."""
    here = Path(__file__).resolve().parent
    files = sorted([*here.glob("*.py"), *here.parent.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def load(key: str) -> bytes | None:
    """The code of a kernel, or None if there is none that can be trusted."""
    folder = _folder()
    try:
        if not _is_ours(folder.stat(follow_symlinks=False)):
            return None
        # what is looked at is what is read: the name may lead elsewhere a moment later
        with open_regular(folder / key, follow=False) as file:
            content = file.read(LARGEST) if _is_ours(os.fstat(file.fileno())) else b""
    except OSError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    return code if digest == _digest(key, code) else None


def save(key: str, code: bytes) -> None:
    """Keep the code of a kernel, where that is possible."""
    folder = _folder()
    with suppress(OSError, UserError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(folder.stat(follow_symlinks=False)):
            path = folder / key
            atomic_write_bytes(path, _digest(key, code) + code)
            path.chmod(0o600)
            _forget_the_oldest(folder)


def _folder() -> Path:
    return cache_folder() / "kernels"


def _digest(key: str, code: bytes) -> bytes:
    """Of the code and its key: one kernel's code under the name of another would read and write where it must not."""
    return hashlib.sha256(key.encode() + code).digest()


def _is_ours(found: os.stat_result) -> bool:
    """Whether a file or folder is itself, and not a link to it, owned by this user, and no other can write it."""
    if not hasattr(os, "getuid") or stat.S_ISLNK(found.st_mode):
        return False
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _forget_the_oldest(folder: Path) -> None:
    files = list(folder.iterdir())
    if len(files) > MOST:
        for file in sorted(files, key=lambda file: file.stat().st_mtime)[: len(files) - MOST]:
            file.unlink(missing_ok=True)
