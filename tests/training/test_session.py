"""Whole runs: the same seed is the same run, an interrupted one ends as the uninterrupted, a kill loses nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sessions import assert_same_run, tiny, trained
from unrolled import cores
from unrolled.cells import Value, affine, cell, sigmoid, tanh
from unrolled.data.corpus import open_corpus
from unrolled.errors import UserError
from unrolled.models.build import build_model
from unrolled.run import load
from unrolled.tasks.language_model.task import TASK
from unrolled.training.alarm import GradientExplosion
from unrolled.training.budget import estimate, plan_of, steps_text
from unrolled.training.processes import fabric_of
from unrolled.training.recipe import load_recipe, recipe_text
from unrolled.training.run_folder import load_state, load_weights, read_log
from unrolled.training.session import begin, resume

VARIANTS = {
    "plain": {},
    "all kinds of dropout": {
        "model__dropout": 0.3,
        "model__embedding_dropout": 0.2,
        "model__symbol_dropout": 0.1,
        "model__input_dropout": 0.2,
        "model__weight_drop": 0.3,
        "model__layers": 2,
        "training__average": 0.9,
    },
    "lines": {"data__format": "lines", "training__window": 24},
    "accumulated windows": {"training__accumulate": 3, "training__optimiser": "sgd", "training__learning_rate": 0.5},
    "plateau": {
        "training__schedule": "plateau",
        "training__plateau_patience": 1,
        "training__validate_every": 2,
        "training__learning_rate": 0.2,
    },
    "words with characters": {
        "data__level": "word",
        "model__characters": 6,
        "model__recurrent_dropout": 0.2,
        "model__zoneout": 0.1,
        "training__window": 6,
        "training__steps": 8,
        "training__optimiser": "nadam",
    },
    "learned start, one-hot": {"model__initial_state": "learned", "model__embedding": 0, "training__steps": 6},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_same_run_and_resumed_equals_uninterrupted(story: Path, tmp_path: Path, variant: str) -> None:
    recipe = tiny(story, **VARIANTS[variant])
    whole = trained(recipe, tmp_path / "whole")
    assert whole.complete
    interrupted = begin(
        recipe, base=Path(), name="run", folder=tmp_path / "parts", quiet=True, device="cpu", started=_interrupt_soon
    )
    assert not interrupted.complete
    assert load_state(tmp_path / "parts")[1]["step"] < recipe.training.steps
    again = resume(tmp_path / "parts", device="cpu", quiet=True)
    assert again.complete
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    first, second = (read_log(tmp_path / name) for name in ("whole", "parts"))
    assert _validations(first) == _validations(second)
    assert whole.metrics["validation"] == again.metrics["validation"]


def _interrupt_soon(folder: Path) -> None:
    """As Ctrl-C would, once training listens to it: the signal comes while the second step is at work."""
    norm, steps = torch.nn.utils.get_total_norm, 0

    def interrupting(*arguments: Any, **options: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 2:
            torch.nn.utils.get_total_norm = norm
            os.kill(os.getpid(), signal.SIGINT)
        return norm(*arguments, **options)

    torch.nn.utils.get_total_norm = interrupting


def _validations(log: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(entry["step"], entry["loss"]) for entry in log if entry["kind"] == "valid"]


def test_another_seed_is_another_run(story: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        trained(tiny(story, training__seed=seed, training__steps=3), tmp_path / str(seed))
    ours, theirs = (load_weights(tmp_path / name)[0] for name in ("1", "2"))
    assert not torch.equal(ours["output.weight"], theirs["output.weight"])


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_the_same(story: Path, tmp_path: Path) -> None:
    recipe = tiny(story, training__steps=60, training__validate_every=2, model__dropout=0.2, training__average=0.9)
    trained(recipe, tmp_path / "whole")
    recipe_file = tmp_path / "recipe.toml"
    recipe_file.write_text(recipe_text(recipe), encoding="utf-8")
    folder = tmp_path / "killed"
    for moment in (2, 7, 12):  # files that each process puts in place before it dies
        assert _killed(folder, recipe_file, moment) == -signal.SIGKILL
        load(folder)  # whatever the moment was, the run loads
    assert 0 < load_state(folder)[1]["step"] < 60
    assert resume(folder, device="cpu", quiet=True).complete
    assert_same_run(tmp_path / "whole", folder)


def _killed(folder: Path, recipe: Path, moment: int) -> int:
    """Train, or go on, in a process that kills itself as it is to put a file of the run in place; its exit code."""
    code = """
import os, signal, sys
from pathlib import Path
from unrolled.training.recipe import load_recipe
from unrolled.training.session import begin, resume

folder, recipe, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def before_each_operation(event, arguments):
    global left
    if event == "os.rename" and os.fspath(arguments[1]).startswith(str(folder)):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

sys.addaudithook(before_each_operation)
if folder.exists():
    resume(folder, device="cpu")
else:
    begin(load_recipe(recipe), base=Path(), name="run", folder=folder, device="cpu")
"""
    command = [sys.executable, "-c", code, str(folder), str(recipe), str(moment)]
    return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=240, check=False).returncode


def test_a_run_folder_is_complete_from_the_first_moment(story: Path, tmp_path: Path) -> None:
    found: list[set[str]] = []

    def look(folder: Path) -> None:
        found.append({path.name for path in folder.iterdir()})
        assert load(folder).sample(length=5, seed=1)
        assert load_state(folder)[1]["step"] == 0

    begin(tiny(story, training__steps=2), base=Path(), name="run", folder=tmp_path / "run", quiet=True, started=look)
    first = {"recipe.toml", "vocabulary.json", "model.safetensors", "state.safetensors", "state.json", "versions.json"}
    assert first <= found[0]
    ended = {path.name for path in (tmp_path / "run").iterdir()}
    assert ended >= first | {"metrics.json", "log.jsonl", "curves.png"}


def test_budgets_become_steps_once(story: Path, tmp_path: Path) -> None:
    trained(tiny(story, training__minutes=0.02, training__validate_every=0), tmp_path / "minutes")
    kept = load_recipe(tmp_path / "minutes" / "recipe.toml").training
    assert kept.budget[0] == "steps"
    assert kept.steps == load_state(tmp_path / "minutes")[1]["steps"] >= 1
    result = trained(tiny(story, training__epochs=0.5, training__validate_every=0), tmp_path / "epochs")
    assert result.metrics["step"] == load_recipe(tmp_path / "epochs" / "recipe.toml").training.steps


def test_relative_paths_are_kept_relative_to_the_run(
    story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = story.parent
    begin(
        tiny(Path(story.name), training__steps=2), base=base, name="run", folder=tmp_path / "deep" / "run", quiet=True
    )
    written = load_recipe(tmp_path / "deep" / "run" / "recipe.toml")
    assert ((tmp_path / "deep" / "run") / written.data.path).resolve() == story.resolve()
    monkeypatch.chdir("/")
    assert resume(tmp_path / "deep" / "run", quiet=True).complete


def test_changed_data_is_not_resumed(story: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.txt"
    copy.write_bytes(story.read_bytes())
    trained(tiny(copy, training__steps=2), tmp_path / "run")
    copy.write_bytes(story.read_bytes() + b"one more line.\n")
    with pytest.raises(UserError, match="the data has changed since this run began"):
        resume(tmp_path / "run", quiet=True)


def test_an_existing_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        trained(tiny(tmp_path / "there is no such text"), tmp_path)


def test_exploding_gradients_stop_the_run_and_keep_the_last_good_state(story: Path, tmp_path: Path) -> None:
    wild = {
        "model__cell": "rnn",
        "model__nonlinearity": "relu",
        "model__initialiser": "he",
        "model__hidden": 48,
        "training__optimiser": "sgd",
        "training__learning_rate": 30.0,
        "training__schedule": "constant",
        "training__window": 60,
        "training__validate_every": 2,
        "training__steps": 40,
    }
    with pytest.raises(GradientExplosion, match=r"clip_norm=1\.0 \(now 0: off\)"):
        trained(tiny(story, **wild, training__clip_norm=0.0), tmp_path / "wild")
    entries = read_log(tmp_path / "wild")
    assert entries[-1]["kind"] == "alarm"
    for tensors in (load_weights(tmp_path / "wild")[0], load_state(tmp_path / "wild")[0]):
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point())
    calm = trained(tiny(story, **wild | {"training__learning_rate": 0.3}, training__clip_norm=1.0), tmp_path / "calm")
    assert calm.complete
    assert calm.metrics["validation"]["nats_per_symbol"] < 4


def test_early_stopping_and_the_best_weights(story: Path, tmp_path: Path) -> None:
    recipe = tiny(
        story, training__steps=60, training__patience=2, training__validate_every=1, training__learning_rate=0.5,
        training__schedule="constant", training__warmup=0,
    )  # fmt: skip
    result = trained(recipe, tmp_path / "run")
    log = [entry for entry in read_log(tmp_path / "run") if entry["kind"] == "valid"]
    best = min(log, key=lambda entry: entry["loss"])
    assert result.metrics["step"] < 60
    assert result.metrics["best_step"] == best["step"]
    assert result.metrics["validation"]["nats_per_symbol"] == pytest.approx(best["loss"], rel=1e-6)
    assert load(tmp_path / "run").weights_metadata["step"] == str(best["step"])


def test_without_a_validation_part_the_last_weights_are_kept(story: Path, tmp_path: Path) -> None:
    trained(tiny(story, data__split="100"), tmp_path / "run")
    last = load_state(tmp_path / "run")[0]
    assert torch.equal(load_weights(tmp_path / "run")[0]["output.weight"], last["model.output.weight"])


def test_tensorboard_files_are_written_when_asked_for(story: Path, tmp_path: Path) -> None:
    trained(tiny(story, training__tensorboard=True, training__steps=4), tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_fine_tuning_starts_from_the_weights_and_the_vocabulary_of_the_run(story: Path, tmp_path: Path) -> None:
    trained(tiny(story), tmp_path / "first")
    other = tmp_path / "other.txt"
    other.write_text("zebras quiz. " * 300, encoding="utf-8")
    started: list[dict[str, torch.Tensor]] = []
    begin(
        tiny(other), base=Path(), name="run", folder=tmp_path / "second", init=tmp_path / "first", quiet=True,
        started=lambda folder: started.append(load_weights(folder)[0]),
    )  # fmt: skip
    weights = load_weights(tmp_path / "first")[0]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in started[0].items())
    assert load(tmp_path / "second").vocabulary == load(tmp_path / "first").vocabulary
    with pytest.raises(UserError, match=r"weights do not fit this model.*same \[model\] settings"):
        begin(
            tiny(other, model__hidden=13), base=Path(), name="run", folder=tmp_path / "third",
            init=tmp_path / "first", quiet=True,
        )  # fmt: skip


@cell("leaky")
def leaky(x: Value, h: Value) -> Value:
    """h⟨t⟩ = (1 - Γ) * h⟨t-1⟩ + Γ * tanh(W[h⟨t-1⟩, x⟨t⟩] + b)"""
    gate = sigmoid(affine("leak", x))
    return (1 - gate) * h + gate * tanh(affine("candidate", h, x))


def test_a_run_with_a_cell_of_ones_own_loads_without_its_source(story: Path, tmp_path: Path) -> None:
    recipe = tiny(story, training__steps=4)
    begin(recipe, base=Path(), name="run", folder=tmp_path / "run", quiet=True, cell=leaky)
    assert json.loads((tmp_path / "run" / "cell.json").read_text(encoding="utf-8"))["cell"] == "leaky"
    program = (
        "import sys, unrolled; run = unrolled.load(sys.argv[1]);"
        "print(repr(run.score('the cat').log_probability), 'test_session' in sys.modules)"
    )
    there = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    value, imported = there.stdout.split()
    assert float(value) == pytest.approx(load(tmp_path / "run").score("the cat").log_probability, rel=1e-6)
    assert imported == "False"
    assert resume(tmp_path / "run", quiet=True).complete


@pytest.mark.slow
def test_two_processes_train_as_one(story: Path, tmp_path: Path) -> None:
    recipe = tiny(story, training__steps=6, training__optimiser="sgd", training__learning_rate=0.5)
    trained(recipe, tmp_path / "one")
    recipe_file = tmp_path / "recipe.toml"
    recipe_file.write_text(recipe_text(recipe), encoding="utf-8")
    _in_two_processes("train", str(recipe_file), "--run", str(tmp_path / "two"), "--quiet")
    _in_two_processes("train", "--resume", str(tmp_path / "two"), "--quiet")
    own = {name: part for name, part in load_state(tmp_path / "two")[0].items() if name.startswith("process.")}
    assert own
    assert all(len(part) == 2 and not torch.equal(part[0], part[1]) for part in own.values())
    ours, theirs = (load_weights(tmp_path / name)[0] for name in ("one", "two"))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-5, rtol=1e-4, msg=name)


def _in_two_processes(*arguments: str) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "unrolled"]
    done = subprocess.run(
        [*launcher, "--", *arguments, "--device", "cpu"], capture_output=True, text=True, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_estimate_counts_every_pass_over_the_parts(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    def counted(task, recipe, model, stream, *, full=False) -> float:
        passes.append((stream.name, full))
        return 100.0

    monkeypatch.setattr("unrolled.training.budget.seconds_a_batch", lambda *_: 1.0)
    monkeypatch.setattr("unrolled.training.budget.seconds_to_measure", counted)
    recipe = tiny(story, training__steps=10, training__validate_every=4)
    corpus = open_corpus(recipe.data)
    model = build_model(recipe.model, corpus.vocabulary)
    plan, seconds = plan_of(TASK, recipe, model, corpus)
    assert corpus.valid
    assert corpus.test
    assert passes == [(corpus.valid.name, False), (corpus.valid.name, True), (corpus.test.name, True)]
    assert plan.steps == 10
    assert seconds == 10 + 3 * 100 + 2 * 100  # 10 steps, validations after 4, 8 and 10, and the two parts at the end
    said = estimate(TASK, recipe, model, corpus, steps_text(plan.steps, seconds))
    assert said.endswith("10 steps, about 8 min 30 s")
    assert "MB for weights and activations" in said


def test_the_end_says_what_is_measured(story: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tiny(story, training__steps=3), base=Path(), name="run", folder=tmp_path / "run", device="cpu")
    assert "measuring the best weights, of step 3: validation and test part" in capsys.readouterr().err


@pytest.mark.parametrize(("processes", "usable", "threads"), [(2, 8, 4), (2, 3, 1), (3, 2, 1), (1, 2, 4)])
def test_processes_on_one_machine_share_its_cores(
    story: Path, monkeypatch: pytest.MonkeyPatch, processes: int, usable: int, threads: int
) -> None:
    class Fabric:
        def __init__(self, **_: object) -> None: ...

        def launch(self) -> None:  # as Lightning does, where OMP_NUM_THREADS is not set
            if processes > 1:
                torch.set_num_threads(6)

    before = torch.get_num_threads()
    monkeypatch.setattr("lightning_fabric.Fabric", Fabric)
    monkeypatch.setattr(cores, "usable", lambda: usable)
    try:
        torch.set_num_threads(4)
        fabric_of(tiny(story, training__devices=processes), "cpu")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
