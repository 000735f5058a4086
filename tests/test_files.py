"""Nothing but plain files is read, nothing is written through a link."""

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UserError
from unrolled.files import (
    DEEPEST,
    append_text,
    atomic_write_text,
    check_plain_folder,
    clear_leftovers,
    open_regular,
    parsed_json,
    read_json,
    read_regular,
    replacing,
    understood,
)

OURS = "a file of the user, elsewhere\n"
LINKS = pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside.txt"
    path.write_text(OURS)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "run"
    place.mkdir()
    return place


# -- writing


@LINKS
def test_a_link_under_the_name_is_replaced(folder: Path, outside: Path, link) -> None:
    link(outside, folder / "a.json")
    atomic_write_text(folder / "a.json", "new")
    assert (folder / "a.json").read_text() == "new"
    assert not (folder / "a.json").is_symlink()
    assert outside.read_text() == OURS


def test_a_temporary_name_is_new_every_time(folder: Path) -> None:
    names = set()
    for _ in range(3):
        with replacing(folder / "a.txt") as temporary:
            temporary.write_text("a")
            names.add(temporary.parent.name)
            assert temporary.parent.stat().st_mode & 0o077 == 0, "no one else can put a link there"
    assert len(names) == 3
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


@LINKS
def test_leftovers_are_removed_and_links_among_them_not_followed(folder: Path, outside: Path, link) -> None:
    end = ".0123456789abcdef.partial"
    (folder / f".state.json{end}").mkdir()
    (folder / f".state.json{end}" / "state.json").write_text("half")
    link(outside, folder / f".recipe.toml{end}")
    os.symlink(outside.parent, folder / f".log.jsonl{end}")
    (folder / f".other{end}").mkdir()
    clear_leftovers(folder, ("state.json", "recipe.toml", "log.jsonl"))
    assert [path.name for path in folder.iterdir()] == [f".other{end}"]
    assert outside.read_text() == OURS


@LINKS
def test_nothing_is_appended_through_a_link(folder: Path, outside: Path, link) -> None:
    link(outside, folder / "log.jsonl")
    with pytest.raises(OSError, match="it is a link"):
        append_text(folder / "log.jsonl", "more\n")
    assert outside.read_text() == OURS
    append_text(folder / "other.jsonl", "one\n")
    append_text(folder / "other.jsonl", "two\n")
    assert (folder / "other.jsonl").read_text() == "one\ntwo\n"


def test_nothing_is_appended_to_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "log.jsonl")
    with pytest.raises(OSError, match=r"."):
        append_text(folder / "log.jsonl", "more\n")


def test_a_folder_for_names_of_others_holds_no_links(folder: Path, outside: Path) -> None:
    check_plain_folder(folder / "none yet")
    check_plain_folder(folder)
    (folder / "events").write_text("here")
    check_plain_folder(folder)
    os.symlink(folder, folder.parent / "linked")
    with pytest.raises(UserError, match="linked is not a plain folder; remove it"):
        check_plain_folder(folder.parent / "linked")
    with pytest.raises(UserError, match="is not a plain folder"):
        check_plain_folder(outside)
    os.link(outside, folder / "planted")
    with pytest.raises(UserError, match="planted is a link"):
        check_plain_folder(folder)


# -- reading


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's name is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("plant", [a_pipe, a_socket, a_device])
def test_what_is_no_plain_file_is_refused_without_waiting(folder: Path, plant) -> None:
    plant(folder / "a.json")
    with pytest.raises(OSError, match="it is not a plain file"):
        open_regular(folder / "a.json")
    with pytest.raises(UserError, match=r"a\.json cannot be read \(it is not a plain file\); check the path"):
        read_json(folder / "a.json")


def test_a_link_is_followed_only_where_that_is_allowed(folder: Path, outside: Path) -> None:
    (folder / "a").symlink_to(outside)
    assert read_regular(folder / "a", 1000) == OURS.encode()
    with pytest.raises(OSError, match="it is not a plain file"):
        open_regular(folder / "a", follow=False)
    with pytest.raises(IsADirectoryError):
        open_regular(folder)


def test_a_large_file_is_not_read(folder: Path) -> None:
    with (folder / "a").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(OSError, match="it is larger than 1,000 bytes"):
        read_regular(folder / "a", 1000)
    (folder / "b").write_bytes(b"x" * 1000)
    assert len(read_regular(folder / "b", 1000)) == 1000


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 5000, "whole number of thousands of digits"),
        (b'{"a": 1, "a": 2}', "the key 'a' comes twice"),
        (b"[NaN]", "NaN is not a number of JSON"),
        (b"[-Infinity]", "-Infinity is not a number of JSON"),
        (b"[1e999]", "the number 1e999 is too large"),
        (b'"\xff"', "codec can't decode"),
        ('"a"'.encode("utf-16"), "codec can't decode"),
    ],
)
def test_hostile_json_is_refused_in_one_line(content: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        parsed_json(content)
    assert "\n" not in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(value=values)
def test_whole_json_comes_back(value: object) -> None:
    assert parsed_json(json.dumps(value).encode()) == value


def test_what_is_not_understood_is_told(tmp_path: Path) -> None:
    expected = r"metrics\.json does not hold what belongs there \(KeyError"
    with pytest.raises(UserError, match=expected), understood(tmp_path / "metrics.json"):
        _ = {}["seconds"]
