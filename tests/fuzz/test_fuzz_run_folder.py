"""A run folder from a stranger: with one file of it spoiled at random, it is used as it is or refused in words."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from spoiling import spoiled_bytes, spoiled_json, spoiled_lines, spoiled_tensors, spoiled_toml

from commands import DATES, REVIEWS, SURNAMES, here
from once import made_once
from unrolled.errors import UserError
from unrolled.inspecting.learning_curves import learning_curves
from unrolled.run import load
from unrolled.training.log import read_log, truncate_log
from unrolled.training.recipe import recipe_from_mapping
from unrolled.training.session import begin

pytestmark = pytest.mark.fuzz

TAGGED = "".join(f"the O\nfor O\n{word} B-{kind}\n\n" for word, kind in [("Rome", "LOC"), ("Ann", "PER")] * 30)
FRAMES = "@problemName walk\n@classLabel true a b\n@data\n" + "".join(
    f"{i % 3},2,{i % 5}:1,{i % 2},3:{'ab'[i % 2]}\n" for i in range(40)
)
DATA = {
    "language-model": ("names.txt", SURNAMES, {"data.level": "word"}),
    "classify": ("reviews.tsv", REVIEWS, {"data.min_count": 1}),
    "frames": ("walk.ts", FRAMES, {}),
    "tag": ("names.conll", TAGGED, {"data.min_count": 1, "model.characters": 4}),
    "translate": ("dates.tsv", DATES, {"data.level": "character"}),
    "generate": ("surnames.tsv", SURNAMES, {"data.text": "1", "data.label": "2", "data.format": "tsv"}),
}
SMALL = {
    "model.hidden": 4, "model.layers": 1, "model.embedding": 4, "training.steps": 2, "training.batch": 4,
}  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Path]:
    """A small run of every task."""

    def make(folder: Path) -> None:
        for kind, (name, text, more) in DATA.items():
            (folder / name).write_text(text, encoding="utf-8")
            task = "classify" if kind == "frames" else kind
            small = SMALL | more | ({"training.window": 8} if task == "language-model" else {})
            recipe = recipe_from_mapping({"task": task, "data": {"path": name}}, small)
            begin(recipe, base=folder, name=kind, folder=folder / kind, quiet=True, device="cpu")

    place = made_once(tmp_path_factory, worker_id, "fuzzed-runs", make)
    return {kind: place / kind for kind in DATA}


SPOIL = {".json": spoiled_json, ".toml": spoiled_toml, ".safetensors": spoiled_tensors, ".jsonl": spoiled_lines}
TRY = {
    "language-model": [("score", "rossa"), ("sample", "--length", "5")],
    "classify": [("predict", "a fine film")],
    "frames": [],
    "tag": [("predict", "for Rome")],
    "translate": [("predict", "11. may 1999")],
    "generate": [("sample", "--length", "5"), ("score", "rossa")],
}


def a_copy(run: Path, place: Path, name: str, content: bytes) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place)
    (place / name).write_bytes(content)
    return place


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_run_folder_is_used_or_refused(runs: dict[str, Path], tmp_path: Path, data: Any) -> None:
    kind = data.draw(st.sampled_from(sorted(runs)))
    names = sorted(path.name for path in runs[kind].iterdir() if path.suffix in SPOIL and path.name[:5] != "state")
    name = data.draw(st.sampled_from(names))
    before = (runs[kind] / name).read_bytes()
    spoil = data.draw(st.sampled_from([SPOIL[Path(name).suffix]] * 3 + [spoiled_bytes]))
    after = spoil(data.draw, before)
    assume(after != before)
    run = a_copy(runs[kind], tmp_path / "run", name, after)
    try:
        load(run)
    except UserError:
        return
    for verb, *words in [("show",), *TRY[kind]]:
        answer = here(verb, str(run), *words)  # raises what would be a traceback
        assert answer.code in (0, 1), answer.err


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_log_is_read_or_refused(runs: dict[str, Path], tmp_path: Path, data: Any) -> None:
    before = (runs["classify"] / "log.jsonl").read_bytes()
    spoil = data.draw(st.sampled_from([spoiled_lines, spoiled_bytes]))
    run = a_copy(runs["classify"], tmp_path / "run", "log.jsonl", spoil(data.draw, before))
    try:
        read_log(run)
        learning_curves([run])
        truncate_log(run, 1)
    except UserError:
        return
    assert all(entry["step"] <= 1 for entry in read_log(run))


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("kind", sorted(DATA))
@pytest.mark.parametrize("plant", [a_pipe, a_device, a_folder])
def test_nothing_is_waited_for_in_the_place_of_a_file(
    runs: dict[str, Path], tmp_path: Path, kind: str, plant: Callable[[Path], None]
) -> None:
    """Each file by turns; the last ones only say how training went, and nothing but `show` and `--resume` looks."""
    for name in sorted(path.name for path in runs[kind].iterdir() if path.is_file()):
        run = a_copy(runs[kind], tmp_path / "run", name, b"")
        (run / name).unlink()
        plant(run / name)
        if name in ("state.safetensors", "state.json", "metrics.json", "versions.json", "log.jsonl", "curves.png"):
            assert here("show", str(run)).code in (0, 1)
            assert name != "log.jsonl" or here("inspect", str(run), "--curves").code == 1
            assert name != "state.safetensors" or here("train", "--resume", str(run), "--quiet").code == 1
        else:
            with pytest.raises(UserError):
                load(run)
