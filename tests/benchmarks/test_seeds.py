"""A recipe over several seeds: trained once each, kept, and summed up."""

from pathlib import Path

import pytest

from benchmarks import seeds


def test_figures_are_found_and_summed_up() -> None:
    found = [{"validation": {"accuracy": a}, "test": {"accuracy": a / 2, "spans": {"f1": 1 - a}}} for a in (0.4, 0.6)]
    assert seeds.summary(found) == [
        "validation accuracy: mean 0.5000 ± 0.1414 (0.4000, 0.6000)",
        "test spans f1: mean 0.5000 ± 0.1414 (0.6000, 0.4000)",
    ]
    with pytest.raises(ValueError, match="no figure"):
        seeds.figure({"examples": 3})


def test_a_finished_seed_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "films.tsv").write_text("".join(f"{'ab'[n % 2]}\tfilm {n % 2}\n" for n in range(40)))
    recipe = tmp_path / "films.toml"
    recipe.write_text('task = "classify"\n[data]\npath = "films.tsv"\n[model]\nhidden = 4\n[training]\nsteps = 2\n')
    first = seeds.trained(recipe, 3, tmp_path / "runs", 1, ["model.embedding=4"])
    monkeypatch.setattr(seeds.subprocess, "run", lambda *_, **__: pytest.fail("it was trained again"))
    assert seeds.trained(recipe, 3, tmp_path / "runs", 1, []) == first
    assert "training.seed" not in first
    assert "seed = 3" in (tmp_path / "runs" / "films-seed3" / "recipe.toml").read_text()
