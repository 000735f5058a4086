"""`unrolled train`: from recipes and tasks, with every way to change them, and interrupted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import TINY, environment

RECIPE = """
task = "language-model"
[data]
path = "{path}"
[model]
hidden = 16
layers = 1
embedding = 8
[training]
steps = 4
batch = 4
window = 10
"""
SHORT = [*TINY, "--set", "training.steps=4", "--set", "training.window=10", "--threads", "1"]


def test_what_a_run_prints(trained) -> None:
    out, err = ((trained / f"demo.{kind}").read_text() for kind in ("out", "err"))
    for words in ("validation part", "test part", "perplexity", "bits a character", "-gram", "next symbol right"):
        assert words in out
    assert "perplexity over predicted symbols, <eos> counted, <bos> not" in out
    assert "run folder  runs/demo" in out
    assert "curves      runs/demo/curves.png" in out
    assert "unrolled sample runs/demo" in out
    assert "parameters" in err
    assert "step 60 of 60" in err


def test_the_run_folder_is_whole(place: Path) -> None:
    names = {path.name for path in (place / "runs/demo").iterdir()}
    expected = {"recipe.toml", "model.safetensors", "vocabulary.json", "state.safetensors", "state.json"}
    assert names >= expected | {"metrics.json", "log.jsonl", "curves.png", "versions.json"}


def test_json_is_one_object(unrolled) -> None:
    answer = unrolled("train", "language-model", "--data", "text.txt", *SHORT, "--json", "--quiet")
    figures = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert figures["run"] == "runs/text"
    assert figures["step"] == 4
    assert {"nats_per_symbol", "perplexity", "accuracy", "ngram"} <= figures["validation"].keys()


def test_a_recipe_beside_its_text(unrolled, place: Path) -> None:
    (place / "recipes").mkdir()
    (place / "recipes/small.toml").write_text(RECIPE.format(path="../text.txt"))
    answer = unrolled("train", "recipes/small.toml", "--set", "model.hidden=9", "--set", "training.seed=5", "--quiet")
    assert answer.code == 0, answer.err
    kept = (place / "runs/small/recipe.toml").read_text()
    assert "hidden = 9" in kept
    assert "seed = 5" in kept
    assert 'path = "../../text.txt"' in kept
    assert "try next" not in answer.out  # --quiet: only results


def test_data_replaces_a_recipes_files_and_is_meant_from_here(unrolled, place: Path) -> None:
    (place / "recipes").mkdir()
    recipe = RECIPE.format(path="gone.txt").replace("[data]", '[data]\nvalid = "gone-too.txt"')
    (place / "recipes/small.toml").write_text(recipe)
    words = ("train", "recipes/small.toml", "--data", "text.txt", "--test", "README.md", "--run", "runs/mine", "--json")
    answer = unrolled(*words, "--quiet")
    assert answer.code == 0, answer.err
    assert {"validation", "test"} <= json.loads(answer.out).keys()
    kept = (place / "runs/mine/recipe.toml").read_text()
    assert 'path = "../../text.txt"' in kept
    assert 'valid = ""' in kept
    assert 'test = "../../README.md"' in kept


def test_short_options_for_common_keys(unrolled, place: Path) -> None:
    words = ("--format", "lines", "--level", "word", "--cell", "gru", "--set", "training.batch=2")
    answer = unrolled("train", "language-model", "--data", "text.txt", *SHORT, *words, "--run", "runs/w", "--quiet")
    assert answer.code == 0, answer.err
    kept = (place / "runs/w/recipe.toml").read_text()
    assert all(text in kept for text in ('format = "lines"', 'level = "word"', 'cell = "gru"'))


def test_a_task_wins_over_a_file_of_its_name(unrolled, place: Path) -> None:
    (place / "language-model").write_text("not TOML at all")
    answer = unrolled("train", "language-model", "--data", "text.txt", *SHORT, "--quiet")
    assert answer.code == 0, answer.err


def test_a_second_run_gets_a_name_of_its_own(unrolled, place: Path) -> None:
    for _ in range(2):
        assert unrolled("train", "language-model", "--data", "text.txt", *SHORT, "--quiet").code == 0
    assert (place / "runs/text").is_dir()
    assert (place / "runs/text-2").is_dir()


def test_fine_tuning_takes_model_and_cutting_from_the_run(unrolled, place: Path) -> None:
    answer = unrolled(
        "train", "language-model", "--data", "text.txt", "--init", "runs/demo", "--run", "runs/tuned", "--quiet",
        "--set", "training.steps=2", "--set", "training.window=10", "--set", "training.learning_rate=1e-6", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    before = json.loads((place / "runs/demo/metrics.json").read_text())["validation"]["nats_per_symbol"]
    assert json.loads(answer.out)["validation"]["nats_per_symbol"] == pytest.approx(before, abs=0.01)
    assert "hidden = 16" in (place / "runs/tuned/recipe.toml").read_text()


CELL = """
from unrolled import cell
from unrolled.cells import affine, sigmoid, tanh

@cell
def minimal(x, h):
    forget = sigmoid(affine("forget", h, x))
    return (1 - forget) * h + forget * tanh(affine("candidate", forget * h, x))
"""


def test_a_cell_of_ones_own_and_its_descendant(unrolled, place: Path) -> None:
    (place / "own.py").write_text(CELL)
    words = ("train", "language-model", "--data", "text.txt", "--quiet")
    answer = unrolled(*words, *SHORT, "--cell", "own.py:minimal", "--run", "runs/own")
    assert answer.code == 0, answer.err
    (place / "own.py").unlink()
    assert unrolled("sample", "runs/own", "--length", "5").code == 0
    tuned = unrolled(*words, "--init", "runs/own", "--run", "runs/own2", *SHORT[len(TINY) :])
    assert tuned.code == 0, tuned.err
    assert (place / "runs/own2/cell.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["translat", "--data", "text.txt"], "translat is no task; the nearest is translate"),
        (["languag-model"], "languag-model is no task; the nearest is language-model"),
        (["none.toml"], "none.toml: no such recipe"),
        (["language-model", "--data", "none.txt"], "none.txt does not exist"),
        (["language-model", "--cell", "grus"], "the nearest is gru"),
        (["language-model", "--cell", "none.py:cell"], "there is no file none.py"),
        (["language-model", "--set", "model.hiden=3"], "the nearest is hidden"),
        (["language-model", "--set", "model.hidden"], "write section.key=value"),
        (["language-model", "--level", "sentence"], "must be one of character, word, bpe, byte"),
        (["language-model", "--cell", "gru", "--set", "model.engine=vendor", "--data", "text.txt"], "vendor"),
        (["language-model", "--run", "runs/demo"], "runs/demo exists already"),
        (["language-model", "--init", "runs/none"], "runs/none is no run folder: there is no such folder"),
        (["language-model", "--init", "runs"], "runs is no run folder: it holds no recipe.toml"),
        (["--resume", "runs/none"], "runs/none is no run folder: there is no such folder"),
        (["language-model", "--cell", "mine.py"], "write mine.py:NAME"),
        (["language-model", "--set", "training.steps=0"], "training.steps = 0 is no budget, and no other is given"),
        (["language-model", "--set", "training.minutes=-1"], "training.minutes must be at least 0, not -1"),
    ],
)
def test_mistakes(unrolled, words: list[str], message: str) -> None:
    answer = unrolled("train", *words)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.rpartition("error: ")[1] == "error: "
    assert message in answer.err


def test_a_recipe_that_is_wrong_twice_says_both(unrolled, place: Path) -> None:
    (place / "bad.toml").write_text(RECIPE.format(path="text.txt").replace("hidden", "hiden").replace("steps", "stops"))
    answer = unrolled("train", "bad.toml")
    assert answer.code == 1
    assert "2 mistakes" in answer.err
    assert "hiden" in answer.err
    assert "stops" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "give a recipe"), (["--resume", "runs/demo", "--set", "a=b"], "leave out --set")],
)
def test_usage(unrolled, words: list[str], message: str) -> None:
    answer = unrolled("train", *words)
    assert answer.code == 2
    assert message in answer.err


def test_keys_are_a_recipe(unrolled, place: Path) -> None:
    from dataclasses import fields

    from unrolled.models.settings import ModelSettings
    from unrolled.training.recipe import Recipe, load_recipe
    from unrolled.training.settings import TrainingSettings

    answer = unrolled("train", "--keys")
    (place / "all.toml").write_text(answer.out)
    defaults = Recipe()
    assert load_recipe(place / "all.toml").model == defaults.model
    for schema in (ModelSettings, TrainingSettings):
        assert all(f"\n{declared.name} = " in answer.out for declared in fields(schema))
    documented = json.loads(unrolled("train", "--keys", "--json").out)
    assert documented["model"]["hidden"] == {"default": 512, "help": "hidden units of a layer and direction"}
    assert [name for keys in documented.values() for name, key in keys.items() if not key["help"]] == []


def test_a_run_goes_on_where_its_text_has_moved(place: Path, unrolled) -> None:
    (place / "elsewhere").mkdir()
    (place / "runs/demo").rename(place / "elsewhere/demo")
    (place / "text.txt").rename(place / "elsewhere/text.txt")
    lost = unrolled("train", "--resume", "elsewhere/demo")
    assert lost.code == 1
    assert "if it is elsewhere now: --resume elsewhere/demo --data FILE" in lost.err
    other = unrolled("train", "--resume", "elsewhere/demo", "--data", "README.md")
    assert other.code == 1
    assert "the data has changed" in other.err
    answer = unrolled("train", "--resume", "elsewhere/demo", "--data", "elsewhere/text.txt", "--json", "--quiet")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["step"] == 60
    assert 'path = "../text.txt"' in (place / "elsewhere/demo/recipe.toml").read_text()
    assert unrolled("evaluate", "elsewhere/demo").code == 0


def test_interrupted_and_resumed(place: Path, unrolled) -> None:
    code = """
import os, signal
from unrolled.cli.main import main
from unrolled.training.progress import Progress
told = Progress.validated

def validated(*arguments, **options):
    told(*arguments, **options)
    os.kill(os.getpid(), signal.SIGINT)

Progress.validated = validated
main()
"""
    command = [sys.executable, "-c", code, "train", "language-model", "--data", "text.txt", "--run", "runs/long"]
    command += [*TINY, "--set", "training.steps=600", "--set", "training.window=20", "--set", "training.seed=4"]
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, env=environment(), timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == (
        "interrupted; everything is saved. Go on with: unrolled train --resume runs/long"
    )
    assert "Traceback" not in done.stderr
    assert "not finished; go on with: unrolled train --resume runs/long" in unrolled("show", "runs/long").out
    resumed = unrolled("train", "--resume", "runs/long", "--threads", "1", "--json")
    assert resumed.code == 0, resumed.err
    assert "resuming runs/long at step" in resumed.err
    assert json.loads(resumed.out)["step"] == 600


def test_two_files_of_parallel_text(unrolled, place) -> None:
    (place / "a.en").write_text("".join(f"number {n}\n" for n in range(40)))
    (place / "a.fr").write_text("".join(f"nombre {n}\n" for n in range(40)))
    words = ["--beside", "a.fr", "--level", "character", "--set", "data.vocabulary_size=0", "--set", "training.steps=2"]
    answer = unrolled("train", "translate", "--data", "a.en", "--run", "runs/two", *words, *TINY)
    assert answer.code == 0, answer.err
    assert "target a.fr" in answer.err + answer.out
    assert "BLEU" in answer.out
    (place / "a.fr").write_text("nombre\n")
    answer = unrolled("train", "translate", "--data", "a.en", "--run", "runs/three", *words, *TINY)
    assert answer.code == 1
    assert "a.en has 40 lines and a.fr 1: parallel text has as many in both" in answer.err
