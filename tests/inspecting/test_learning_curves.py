"""Curves of several runs beside each other."""

from pathlib import Path

import pytest

from unrolled import UserError
from unrolled.inspecting.learning_curves import draw_learning_curves, learning_curves
from unrolled.training.log import append_log


def run(folder: Path, name: str, losses: list[float], task: str = "classify", level: str = "word") -> Path:
    path = folder / name
    path.mkdir()
    (path / "recipe.toml").write_text(f'task = "{task}"\n[data]\nlevel = "{level}"\n')
    for step, loss in enumerate(losses, start=1):
        append_log(path, {"step": 10 * step, "kind": "valid", "loss": loss, "seconds": 6.0 * step})
        append_log(path, {"step": 10 * step, "kind": "train", "loss": loss / 2, "seconds": 6.0 * step})
    return path


def test_the_best_of_each(tmp_path: Path) -> None:
    folders = [run(tmp_path, "a", [3.0, 1.0, float("nan"), 2.0]), run(tmp_path, "b", [])]
    first, second = learning_curves(folders)
    assert first.best == (20, 1.0, 12.0)
    assert (first.steps, first.minutes) == (40, 0.4)
    assert len(first.valid) == 3
    assert (second.best, second.steps) == (None, 0)
    assert first.as_dict()["best"] == {"step": 20, "loss": 1.0, "seconds": 12.0}


def test_what_does_not_compare(tmp_path: Path) -> None:
    tagger, classifier = run(tmp_path, "a", [1.0], "tag"), run(tmp_path, "b", [1.0])
    with pytest.raises(UserError, match="runs of different tasks, tag and classify"):
        learning_curves([tagger, classifier])
    words = run(tmp_path, "c", [1.0], "language-model"), run(tmp_path, "d", [1.0], "language-model", "character")
    with pytest.raises(UserError, match="different symbols, word and character"):
        learning_curves(words)
    with pytest.raises(UserError, match="is no run folder"):
        learning_curves([classifier, tmp_path / "nothing"])


def test_the_gradients_norms(tmp_path: Path, drawn) -> None:
    clipped, exploded = run(tmp_path, "a", []), run(tmp_path, "b", [])
    (clipped / "recipe.toml").write_text('task = "classify"\n[training]\nclip_norm = 0.5\n')
    (exploded / "recipe.toml").write_text('task = "classify"\n[training]\nclip_norm = 0.0\n')
    for step, norm in ((10, 3.0), (20, None), (30, 0.4)):
        append_log(clipped, {"step": step, "kind": "train", "loss": 1.0, "norm": norm})
    append_log(exploded, {"step": 5, "kind": "alarm", "loss": None, "norm": None, "norms": [1.2, 161.0, 1.9e35]})
    first, second = learning_curves([clipped, exploded])
    assert first.norms == ((10, 3.0), (30, 0.4))
    assert second.norms == ((2, 1.2), (3, 161.0), (4, 1.9e35))  # of the steps before the alarm
    assert first.as_dict()["clip_norm"] == 0.5
    assert first.as_dict()["norms"][0] == {"step": 10, "norm": 3.0}
    drawn(draw_learning_curves, [first, second])


@pytest.mark.parametrize("losses", [[], [1.0], [100.0, *[2.0 / step for step in range(1, 60)]]])
def test_any_log_is_drawn(tmp_path: Path, drawn, losses: list[float]) -> None:
    folders = [run(tmp_path, f"run{n}", losses) for n in range(3)]
    assert drawn(draw_learning_curves, learning_curves(folders)) == (704, 935)
