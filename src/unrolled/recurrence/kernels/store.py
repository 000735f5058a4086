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
from unrolled.files import atomic_write_bytes
from unrolled.recurrence.kernels.target import Target

MOST = 1000
"""Kernels that are kept; each takes some 50 kB."""

FORMAT = 2
"""Raised when kernels kept before may be wrong: 1 mixed up numbers of values and constants."""

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
    path = _folder() / key
    try:
        if not (_is_ours(path.parent) and _is_ours(path)):
            return None
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def save(key: str, code: bytes) -> None:
    """Keep the code of a kernel, where that is possible."""
    folder = _folder()
    with suppress(OSError, UserError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(folder):
            path = folder / key
            atomic_write_bytes(path, hashlib.sha256(code).digest() + code)
            path.chmod(0o600)
            _forget_the_oldest(folder)


def _folder() -> Path:
    return cache_folder() / "kernels"


def _is_ours(path: Path) -> bool:
    """Whether this user owns a file or folder and no other can write it."""
    if not hasattr(os, "getuid"):
        return False
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _forget_the_oldest(folder: Path) -> None:
    files = list(folder.iterdir())
    if len(files) > MOST:
        for file in sorted(files, key=lambda file: file.stat().st_mtime)[: len(files) - MOST]:
            file.unlink(missing_ok=True)
