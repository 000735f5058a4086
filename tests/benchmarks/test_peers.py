"""Every contestant returns our numbers, outputs, states and all gradients; one that does not is not timed.

JAX, ONNX Runtime and torch.compile run in a process of their own: they leave threads and settings behind.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import recurrence
from benchmarks.peers import PEERS, Contestant, Shape, Task, Unavailable
from benchmarks.peers.contestant import wrong
from benchmarks.peers.loops import STEPS
from benchmarks.peers.onnx_graph import OPERATORS
from benchmarks.peers.task import CELLS, GATES
from benchmarks.peers.torch_layers import LAYERS

ROOT = Path(__file__).resolve().parents[2]
SHAPE = Shape(3, 5, 9, 4)
MODES = ["inference", "training"]
IN_TORCH = [
    *[("ours-packed", cell, "inference") for cell in CELLS],
    *[("ours-bfloat16", cell, "inference") for cell in CELLS],
    *[("torch.nn", cell, mode) for cell in LAYERS for mode in MODES],
    *[("eager-loop", cell, mode) for cell in CELLS for mode in MODES],
]
OUTSIDE = {
    "jax": (["jax"], list(CELLS), MODES),
    "onnxruntime": (["onnx", "onnxruntime"], list(OPERATORS), ["inference"]),
    "torch.compile": ([], ["minimal"], MODES),
}
"""The packages that a peer needs, the cells that it has, and what it does with them."""


def reference(task: Task) -> dict[str, np.ndarray]:
    ours = PEERS["ours"](task)
    return dict(ours.numbers(ours.run()))


@pytest.mark.parametrize(("peer", "cell", "mode"), IN_TORCH)
def test_a_contestant_in_torch_returns_our_numbers(peer: str, cell: str, mode: str) -> None:
    shape = replace(SHAPE, batch=1) if peer == "ours-bfloat16" else SHAPE
    task = Task(cell, shape, training=mode == "training", threads=1)
    try:
        made = PEERS[peer](task)
    except Unavailable as reason:
        if peer != "ours-bfloat16":  # the one that not every version of the layer offers
            raise
        pytest.skip(str(reason))
    numbers = reference(task)
    assert ("gradient of weight_hh" in numbers) == task.training
    assert wrong(made, numbers)[1] is None


@pytest.mark.parametrize("peer", ["jax", "onnxruntime", pytest.param("torch.compile", marks=pytest.mark.slow)])
def test_a_contestant_outside_returns_our_numbers(peer: str, tmp_path: Path) -> None:
    packages, cells, modes = OUTSIDE[peer]
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    for record in measured(tmp_path / "result.json", peer, cells, modes):
        reason = record["skipped"].get(peer, "")
        if "torch.compile failed" in reason:
            pytest.skip(reason)  # it needs a C++ compiler
        assert peer in record["contestants"], f"{record['cell']} {record['mode']}: {reason}"


def measured(path: Path, peer: str, cells: list[str], modes: list[str]) -> list[dict[str, Any]]:
    """The records of one peer."""
    options = ["--threads", "1", "--rounds", "1", "--shapes", str(SHAPE), "--peers", peer, "--json", str(path)]
    command = [sys.executable, "-m", "benchmarks.recurrence", "--quick", *options, "--cells", *cells, "--mode", *modes]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"][0]["records"]
    assert len(records) == len(cells) * len(modes)
    return records


@pytest.mark.parametrize(
    ("spoilt", "fault"),
    [
        (lambda numbers: numbers | {"output": numbers["output"] + 0.01}, "output differs"),
        (lambda numbers: numbers | {"output": numbers["output"] * np.nan}, "output differs"),
        (lambda numbers: numbers | {"output": numbers["output"][:-1]}, "has shape"),
        (lambda numbers: {name: numbers[name] for name in numbers if name != "final 0"}, "it returns"),
    ],
    ids=["off", "not a number", "too short", "no state"],
)
def test_a_contestant_with_other_numbers_is_refused(
    spoilt: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def liar(task: Task) -> Contestant:
        made = PEERS["eager-loop"](task)
        return Contestant(made.run, lambda result: spoilt(dict(made.numbers(result))))

    monkeypatch.setitem(PEERS, "liar", liar)
    found, _, skipped = recurrence.contestants_of(Task("lstm", SHAPE, training=False, threads=1), ["liar"])
    assert list(found) == ["ours"]
    assert fault in skipped["liar"]


@pytest.mark.parametrize("name", ["liar", "ours"])
def test_a_contestant_that_fails_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(task: Task) -> Contestant:
        raise RuntimeError("broken")

    monkeypatch.setitem(PEERS, name, broken)
    found, _, skipped = recurrence.contestants_of(Task("lstm", SHAPE, training=False, threads=1), ["liar"])
    assert list(found) == (["ours"] if name == "liar" else [])
    assert skipped == {name: "it failed: RuntimeError: broken"}


def test_operations_count_every_matrix_once_and_thrice_in_training() -> None:
    inference, training = (Task("gru", Shape(2, 3, 5, 7), training=mode, threads=1).flops for mode in (False, True))
    assert inference == 2 * 7 * 2 * 3 * 5 * (3 + 5)
    assert training == 3 * inference


def test_every_cell_has_its_gates_and_its_loop() -> None:
    assert set(CELLS) == set(GATES) == set(STEPS)
