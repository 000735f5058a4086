"""The cache is anybody's: an entry that is spoiled at random, its checksum right or not, is made again or sound."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spoiling import spoiled_bytes, spoiled_json, spoiled_value

from unrolled.data import cache
from unrolled.data.corpus import open_corpus
from unrolled.data.settings import DataSettings
from unrolled.errors import UserError
from unrolled.recurrence.kernels import store

pytestmark = [pytest.mark.fuzz, pytest.mark.usefixtures("folder")]
TEXT = "the apple and the pear salad\n" * 40
LOOSE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    (tmp_path / "book.txt").write_text(TEXT)
    return tmp_path


def replaced(path: Path, content: bytes) -> None:
    """Another file under the name: the old one is mapped into memory."""
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("level", ["character", "word", "byte", "bpe"])
@LOOSE
@given(data=st.data())
def test_a_spoiled_entry_is_made_again_or_sound(folder: Path, level: str, data: Any) -> None:
    shutil.rmtree(folder / "cache", ignore_errors=True)
    size = {"vocabulary_size": 260} if level == "bpe" else {}
    wanted = DataSettings(path=str(folder / "book.txt"), level=level, **size)
    whole = open_corpus(wanted)
    ids = whole.train.ids(0, len(whole.train)).tolist()
    about = data.draw(st.sampled_from(sorted((folder / "cache").glob("*.json"))))
    bin = about.with_suffix(".bin")
    kind = data.draw(st.sampled_from(["data", "json", "bytes", "checked", "checked"]))
    if kind == "data":
        replaced(bin, spoiled_bytes(data.draw, bin.read_bytes()))
    elif kind == "bytes":
        about.write_bytes(spoiled_bytes(data.draw, about.read_bytes()))
    elif kind == "json":
        about.write_bytes(spoiled_json(data.draw, about.read_bytes()))
    else:  # by someone who knows how checksums are made
        known = json.loads(about.read_bytes())["about"]
        known = spoiled_value(data.draw, known) if known and data.draw(st.booleans()) else known
        if data.draw(st.booleans()):
            replaced(bin, spoiled_bytes(data.draw, bin.read_bytes()))
        entry = {"checksum": cache._checksum(about.stem, bin, known), "about": known}
        about.write_text(json.dumps(entry))
    try:
        again = open_corpus(wanted, vocabulary=whole.vocabulary)
    except UserError:  # whoever makes checksums can also make another text: too short a one, for instance
        if kind == "checked":
            return
        raise
    found = again.train.ids(0, len(again.train)).tolist()
    assert found == ids or (kind == "checked" and max(found) < len(whole.vocabulary))


@LOOSE
@given(data=st.data(), code=st.binary(max_size=200))
def test_a_spoiled_kernel_is_not_run(folder: Path, data: Any, code: bytes) -> None:
    store.save("a" * 40, code)
    path = folder / "cache" / "kernels" / ("a" * 40)
    path.write_bytes(spoiled_bytes(data.draw, path.read_bytes()))
    assert store.load("a" * 40) in (None, code)
