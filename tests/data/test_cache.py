import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled.data import cache
from unrolled.data.builtin import builtin_path, builtin_text
from unrolled.data.cache import cache_folder, kept
from unrolled.errors import UserError


class Maker:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> dict[str, object]:
        self.calls += 1
        path.write_bytes(b"data" * 100)
        return {"words": ["a", "b"]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("UNROLLED_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "unrolled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "unrolled"


def test_made_once_for_a_key(folder):
    make = Maker()
    first, second, other = kept({"key": 1}, make), kept({"key": 1}, make), kept({"key": 2}, make)
    assert first == second
    assert make.calls == 2
    assert other[0] != first[0]
    assert first[0].read_bytes() == b"data" * 100
    assert first[1] == {"words": ["a", "b"]}
    assert len(list(folder.iterdir())) == 4, "nothing temporary stays"


def truncate(data: Path, about: Path) -> None:
    data.write_bytes(data.read_bytes()[:-1])


def flip(data: Path, about: Path) -> None:
    data.write_bytes(b"D" + data.read_bytes()[1:])


def empty_json(data: Path, about: Path) -> None:
    about.write_text("")


def other_json(data: Path, about: Path) -> None:
    about.write_text("[]")


def changed_json(data: Path, about: Path) -> None:
    about.write_text(about.read_text().replace('"a"', '"c"'))


def no_json(data: Path, about: Path) -> None:
    about.unlink()


def no_data(data: Path, about: Path) -> None:
    data.unlink()


def deep_json(data: Path, about: Path) -> None:
    about.write_text("[" * 100_000)


def a_pipe_for_data(data: Path, about: Path) -> None:
    data.unlink()
    os.mkfifo(data)


def a_device_for_json(data: Path, about: Path) -> None:
    about.unlink()
    about.symlink_to("/dev/zero")


def a_folder_for_json(data: Path, about: Path) -> None:
    about.unlink()
    about.mkdir()


def another_entry(data: Path, about: Path) -> None:
    other, _ = kept({"other": 1}, lambda path: {"size": path.write_bytes(b"other")})
    shutil.copy(other, data)
    shutil.copy(other.with_suffix(".json"), about)


DAMAGES = [
    truncate, flip, empty_json, other_json, changed_json, no_json, no_data, deep_json, a_pipe_for_data,
    a_device_for_json, another_entry,
]  # fmt: skip


def test_a_folder_in_the_way_does_not_end_the_program(folder):
    make = Maker()
    data, _ = kept({}, make)
    a_folder_for_json(data, data.with_suffix(".json"))
    path, about = kept({}, make)
    assert path.read_bytes() == b"data" * 100
    assert about == {"words": ["a", "b"]}


def test_an_entry_that_is_not_sound_is_made_again(folder):
    make, answers = Maker(), iter([False, True])
    assert kept({}, make) == kept({}, make, lambda path, about: next(answers))
    assert make.calls == 2
    assert kept({}, make, lambda path, about: next(answers))
    assert make.calls == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again(folder, damage):
    make = Maker()
    data, _ = kept({}, make)
    damage(data, data.with_suffix(".json"))
    path, about = kept({}, make)
    assert make.calls == 2
    assert path.read_bytes() == b"data" * 100
    assert about == {"words": ["a", "b"]}
    assert kept({}, make)
    assert make.calls == 2


def test_an_interrupted_making_leaves_nothing(folder):
    def interrupted(path: Path) -> dict[str, object]:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept({}, interrupted)
    assert list(folder.iterdir()) == []


def test_where_the_folder_cannot_be_written_a_temporary_one_serves(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "file" / "cache"))
    make = Maker()
    path, _ = kept({"elsewhere": 1}, make)
    assert path.read_bytes() == b"data" * 100
    assert kept({"elsewhere": 1}, make)[0] == path
    assert make.calls == 1, "and it is found there again"


def test_when_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(cache, "_temporary_folder", lambda: tmp_path / "file" / "too")
    with pytest.raises(
        UserError, match=r"cannot write to the cache folder .* set UNROLLED_CACHE to a folder with room"
    ):
        kept({}, Maker())


def test_the_temporary_folder_goes_with_the_program(tmp_path):
    program = "from unrolled.data import cache; print(cache._temporary_folder())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()


def test_the_builtin_text_is_the_language_reference(folder):
    text = builtin_path().read_text(encoding="utf-8")
    assert text == builtin_text()
    assert 'The "assert" statement' in text
    assert len(text) > 300_000
    assert json.loads(builtin_path().with_suffix(".json").read_text())
