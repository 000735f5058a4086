"""`benchmarks.recurrence` from the command line to its tables; and which ratio is enough where."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import Shape
from benchmarks.peers.task import SHAPES
from benchmarks.recurrence import parsed
from benchmarks.recurrence_report import ratio_table
from benchmarks.targets import peak_verdict, verdict

ROOT = Path(__file__).resolve().parents[2]


def run(*options: str) -> str:
    """The command's output."""
    command = [sys.executable, "-m", "benchmarks.recurrence", "--quick", "--rounds", "1", *options]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_command_prints_a_table_and_writes_everything_down(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = ["--cells", "lstm", "minimal", "--shapes", "2,3,8,4", "--peers", "torch.nn", "eager-loop", "--targets"]
    text = run(*options, "--threads", "1", "2", "--json", str(path))
    assert "torch.nn" in text
    assert "without torch.nn: torch.nn has no such cell (minimal inference, minimal training)" in text
    written = json.loads(path.read_text(encoding="utf-8"))
    assert [result["threads"] for result in written["results"]] == [1, 2]
    for result in written["results"]:
        assert result["machine"]["versions"]["torch"]
        assert result["peak"]["GF/s"] > 0
        assert len(result["records"]) == 4
        for record in result["records"]:
            for figures in record["contestants"].values():
                assert {"seconds", "GF/s", "fraction of peak", "their time / ours", "verdict"} <= set(figures)


def test_lengths_are_compared_with_none(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = ["--cells", "gru", "--shapes", "32,3,8,4", "4,3,8,4", "--lengths", "--threads", "1"]
    assert "ratio" in run(*options, "--json", str(path))
    (result,) = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert [(one["batch"], one["mode"]) for one in result["lengths"]] == [(32, "inference"), (32, "training")]
    assert all(one["ratio"] > 0 for one in result["lengths"])


def test_without_options_everything_is_measured() -> None:
    arguments = parsed([])
    assert arguments.shapes == list(SHAPES)
    assert arguments.threads == [1, 2]
    assert arguments.rounds >= 11
    assert Shape.of("20,650,650,35") in arguments.shapes


@pytest.mark.parametrize(
    ("peer", "cell", "shape", "training", "asked"),
    [
        ("torch.nn", "lstm", "32,256,256,100", False, 1.05),
        ("torch.nn", "lstm", "1,256,256,100", True, 1.10),
        ("torch.nn", "rnn", "32,256,256,100", True, 1.4),
        ("torch.nn", "gru-torch", "1,512,512,100", False, 2.0),
        ("torch.nn", "gru-torch", "1,512,512,100", True, 4.0),
        ("eager-loop", "gru", "8,256,256,1000", True, 2.5),
        ("eager-loop", "minimal", "1,256,256,100", False, 5.0),
        ("eager-loop", "minimal", "1,512,512,100", False, 1.5),
        ("eager-loop", "lstm", "1,64,64,100", False, 0.0),
        ("jax", "lstm-peephole", "1,64,64,100", True, 1.0),
        ("torch.compile", "rnn", "1,64,64,100", True, 0.0),
        ("onnxruntime", "gru", "1,64,64,100", False, 1.0),
    ],
)
def test_what_is_asked_for(peer: str, cell: str, shape: str, training: bool, asked: float) -> None:
    on_two = {"training": training, "threads": 2}
    word, least = verdict(asked + 0.01, peer, cell, Shape.of(shape), **on_two)
    assert (word, least) == ("met" if asked else "", asked)
    if asked:
        assert verdict(asked - 0.01, peer, cell, Shape.of(shape), **on_two)[0] == "missed"
    assert verdict(9.0, peer, cell, Shape.of(shape), training=training, threads=1)[0] == ""


def test_as_fast_is_not_faster() -> None:
    shape = Shape.of("1,64,64,100")
    assert verdict(1.0, "jax", "lstm", shape, training=False, threads=2)[0] == "missed"


@pytest.mark.parametrize(
    ("fraction", "shape", "training", "threads", "word"),
    [
        (0.85, "32,256,256,100", False, 1, "missed"),
        (0.85, "32,256,256,100", False, 2, "met"),
        (0.10, "32,128,128,100", False, 2, ""),
        (0.10, "20,650,650,35", False, 2, ""),
        (0.10, "64,512,512,50", True, 2, ""),
    ],
)
def test_the_fraction_of_the_peak(fraction: float, shape: str, training: bool, threads: int, word: str) -> None:
    assert peak_verdict(fraction, Shape.of(shape), training=training, threads=threads)[0] == word


def test_a_cell_that_ours_cannot_run_is_still_a_line() -> None:
    about = {"cell": "gru", "batch": 1, "input": 2, "hidden": 3, "steps": 4, "mode": "training", "threads": 1}
    record = about | {"contestants": {}, "skipped": {"ours": "no"}, "others' cores": 0.0}
    assert "1,2,3,4" in ratio_table([record], targets=True)
