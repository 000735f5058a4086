"""`scripts/demo`, shrunk: the same steps with a tiny model."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from unrolled.cli import demo


def test_the_demonstration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(demo.MODEL, "hidden", 16)
    monkeypatch.setattr(demo, "TRAINING", {"steps": 3, "batch": 4, "window": 20, "validate_every": 3})
    app = typer.Typer()
    app.command()(demo.demo)
    result = CliRunner().invoke(app, ["--threads", "1"])
    assert result.exit_code == 0, result.output
    assert all(f"{heading}\n{'*' * len(heading)}\n\n" in result.stdout for heading in demo.HEADINGS)
    assert all(sentence in result.stdout for sentence in demo.SENTENCES)
    assert "times as probable as" in result.stdout
    assert "unrolled sample runs/demo" in result.stdout
    assert (tmp_path / "runs/demo/curves.png").exists()
