"""The benchmarks of the shapes: both engines train on the same batches, look-ahead that covers all is free."""

import sys
from pathlib import Path

import pytest

import unrolled
from benchmarks import lookahead, strands, tasks
from commands import DATES
from unrolled.training.recipe import recipe_from_mapping, recipe_text

TINY = {"hidden": 8, "embedding": 8, "layers": 1}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "dates.tsv").write_text(DATES)
    data = {"path": "dates.tsv", "level": "character", "vocabulary_size": 0}
    mapping = {"task": "translate", "data": data, "model": {**TINY, "cell": "gru", "recurrent_dropout": 0.2}}
    path = tmp_path / "dates.toml"
    path.write_text(recipe_text(recipe_from_mapping({**mapping, "training": {"batch": 8, "epochs": 1}})))
    return path


def test_a_recipe_is_measured_with_both_engines(recipe: Path) -> None:
    record = tasks.measured(recipe, 3, 1)
    assert record["cells"] == {"compiled": "gru", "torch.nn": "gru-torch"}
    assert all(rate > 0 for rate in record["symbols a second"].values())
    assert record["ratio"] > 0


def test_every_recipe_can_be_measured(recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["tasks", str(recipe), "--steps", "1", "--warm-up", "1", "--threads", "1"])
    tasks.main()
    assert "torch.nn: gru-torch" in capsys.readouterr().out


def test_a_look_ahead_that_covers_the_sentence_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    data = tmp_path / "tags.conll"
    data.write_text("".join(f"the\tD\n{word}\tN\nsat\tV\n\n" for word in ("cat", "dog", "cow") * 20))
    recipe = recipe_from_mapping(
        {"task": "tag", "data": {"path": str(data)}, "model": TINY | {"characters": 4}, "training": {"steps": 3}}
    )
    unrolled.train(recipe, folder=tmp_path / "run", quiet=True)
    run = unrolled.load(tmp_path / "run")
    whole = lookahead.measured(run, run.part(), 1, None)
    assert lookahead.measured(run, run.part(), 1, 3) == whole
    assert lookahead.measured(run, run.part(), 1, 0)["nats_per_timestep"] != whole["nats_per_timestep"]
    monkeypatch.setattr(sys, "argv", ["lookahead", str(tmp_path / "run"), "--lookahead", "0", "1"])
    lookahead.main()
    assert "whole sentence" in capsys.readouterr().out


def test_strands_hold_every_base_and_junction() -> None:
    rows = [("EI", "A" * 60), ("N", "C" * 60), ("IE", "G" * 60)]
    text = strands.strands(rows, 2, 0)
    sentences = [part.splitlines() for part in text.split("\n\n") if part.strip()]
    assert [len(lines) for lines in sentences] == [120, 60]
    labelled = [line.split("\t") for lines in sentences for line in lines if not line.endswith("\tO")]
    assert sorted(labelled) == [["A", "B-EI"], ["G", "B-IE"]]
    assert next(place for place, line in enumerate(text.splitlines()) if "B-" in line) % 60 == 30
