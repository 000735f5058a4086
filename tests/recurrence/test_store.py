"""Kernels on disk are machine code: run only where no one else can have written them, and as they were kept."""

import os
from pathlib import Path

import pytest

from unrolled.recurrence.kernels import store

KEY, OTHER, CODE = "a" * 40, "b" * 40, b"machine code" * 100


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    store.save(KEY, CODE)
    return tmp_path / "cache" / "kernels"


def test_what_was_kept_comes_back_and_is_only_its_owners(folder: Path) -> None:
    assert store.load(KEY) == CODE
    assert store.load(OTHER) is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [0, 10, 32, 100, -1])
def test_code_that_is_cut_is_not_run(folder: Path, size: int) -> None:
    (folder / KEY).write_bytes((folder / KEY).read_bytes()[:size])
    assert store.load(KEY) is None


@pytest.mark.parametrize("place", [0, 31, 32, 500])
def test_code_that_is_changed_is_not_run(folder: Path, place: int) -> None:
    content = bytearray((folder / KEY).read_bytes())
    content[place] ^= 1
    (folder / KEY).write_bytes(content)
    assert store.load(KEY) is None


def test_code_of_another_kernel_is_not_run(folder: Path) -> None:
    (folder / KEY).rename(folder / OTHER)
    assert store.load(OTHER) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_code_that_others_can_write_is_not_run(folder: Path, mode: int) -> None:
    (folder / KEY).chmod(mode)
    assert store.load(KEY) is None


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_code_in_a_folder_that_others_can_write_is_neither_run_nor_kept(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert store.load(KEY) is None
    store.save(OTHER, CODE)
    assert not (folder / OTHER).exists()


def test_code_of_another_user_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert store.load(KEY) is None


def test_code_behind_a_link_is_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / KEY).rename(tmp_path / "elsewhere")
    (folder / KEY).symlink_to(tmp_path / "elsewhere")
    assert store.load(KEY) is None
    store.save(KEY, CODE + b"new")
    assert store.load(KEY) == CODE + b"new"
    assert (tmp_path / "elsewhere").read_bytes().endswith(b"machine code"), "the link was not followed"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert store.load(KEY) is None


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    (folder / KEY).unlink()
    os.mkfifo(folder / KEY, 0o600)
    assert store.load(KEY) is None
    store.save(KEY, CODE)
    assert store.load(KEY) == CODE
