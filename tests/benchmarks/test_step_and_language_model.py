"""The two benchmarks of whole programs: a step called from Python, and a language model in training."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import language_model, plain_language_model, step
from benchmarks.peers import Shape, Task
from benchmarks.peers.ours import packed_layer


@pytest.mark.parametrize("cell", ["rnn", "gru-torch", "lstm", "lstm-peephole", "gru", "gru-simplified", "minimal"])
@torch.inference_mode()
def test_a_step_is_that_of_the_peer(cell: str) -> None:
    task = Task(cell, Shape(1, 9, 9, 1), training=False, threads=1)
    layer, _ = packed_layer(task)
    theirs = step.torch_cell(task) if cell in step.TORCH_CELLS else step.written_out(task)
    ours = step.ours(layer, task)
    for _ in range(3):
        assert step.difference(ours(), theirs()) < 1e-5


def test_the_step_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "step.json"
    options = ["--threads", "1", "--cells", "lstm", "gru", "--hidden", "16", "--rounds", "1", "--budget", "0"]
    monkeypatch.setattr(sys, "argv", ["step", *options, "--targets", "--json", str(path)])
    step.main()
    assert "overhead" in capsys.readouterr().out
    records = json.loads(path.read_text(encoding="utf-8"))["records"]
    assert [(one["cell"], one["hidden"]) for one in records] == [("lstm", 8), ("lstm", 16), ("gru", 8), ("gru", 16)]
    for one in records:
        assert one["ours"]["overhead"] + one["ours"]["kernel"] >= one["ours"]["seconds"] * 0.999


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("embedding", ["0", "6"])
def test_the_language_model_command(
    cell: str, embedding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], story: Path
) -> None:
    sizes = ["--hidden", "8", "--batch", "3", "--window", "7", "--steps", "2", "--warm-up", "1", "--threads", "1"]
    options = ["--cell", cell, "--embedding", embedding, "--data", str(story), "--targets"]
    monkeypatch.setattr(sys, "argv", ["language_model", *options, *sizes])
    language_model.main()
    assert f"2 x {cell} 8" in capsys.readouterr().out


def test_losses_that_part_are_no_figure(monkeypatch: pytest.MonkeyPatch, story: Path) -> None:
    monkeypatch.setattr(language_model.OurCharacterModel, "vectors", lambda self, characters: characters * 0)
    sizes = ["--hidden", "8", "--batch", "3", "--window", "7", "--steps", "2", "--warm-up", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["language_model", "--data", str(story), *sizes])
    monkeypatch.setattr(language_model, "TOGETHER", 1e-4)
    with pytest.raises(SystemExit, match="nats apart"):
        language_model.main()


def test_windows_run_on_side_by_side() -> None:
    source = plain_language_model.windows(torch.arange(21), batch=2, window=4)
    (inputs, targets), (following, _) = next(source), next(source)
    assert inputs.t().tolist() == [[0, 1, 2, 3], [10, 11, 12, 13]]
    assert (targets == inputs + 1).all()
    assert following[0].tolist() == [4, 14]
    assert next(source)[0].tolist() == inputs.tolist()  # from the beginning again
