"""The command line as a whole: help, global options, exit codes, and that it starts at once."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from commands import TINY, environment, typed
from unrolled.cli import app as assembled
from unrolled.cli import cells, doctor, evaluate, inspect, next, predict, sample, score, serve, show, train
from unrolled.cli.common import bar, table
from unrolled.serving.server import listening

VERBS = ("train", "evaluate", "predict", "sample", "score", "next", "inspect", "serve", "show", "cells", "doctor")
EXAMPLES = [
    example
    for module in (assembled, train, evaluate, predict, sample, score, next, inspect, serve, show, cells, doctor)
    for example in module.EXAMPLES
]
FREE_PORT = listening
HEAVY = ("torch", "numpy", "matplotlib", "lightning_fabric", "tokenizers", "tensorboard", "safetensors")


def heavy_after(statement: str) -> list[str]:
    """The heavy packages that are loaded after a statement in a new Python."""
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit: pass\nprint('LOADED', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    loaded = result.stdout.rpartition("LOADED")[2].split()
    return [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["inspect", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert heavy_after(f"sys.argv[1:] = {words}; from unrolled.cli.main import main; main()") == []


def test_the_package_loads_nothing_heavy() -> None:
    assert heavy_after("import unrolled") == []


def test_help_lists_the_verbs_and_global_options(unrolled) -> None:
    answer = unrolled("--help")
    assert answer.code == 0
    assert [name for name in VERBS if re.search(rf"│ {name} ", answer.out)] == list(VERBS)
    assert [name for name in ("export",) if re.search(rf"│ {name} ", answer.out)] == []
    assert all(option in answer.out for option in ("--json", "--threads", "--device", "--quiet"))


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_examples(unrolled, verb: str) -> None:
    answer = unrolled(verb, "--help")
    assert answer.code == 0
    assert "Examples" in answer.out
    assert f"unrolled {verb}" in answer.out


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_fit_on_a_line_of_80(example: str) -> None:
    assert len(example) <= 78


def _not_for_ever(app: object, listener: socket.socket, limits: object, **options: object) -> None:
    listener.close()


@pytest.mark.parametrize("example", sorted(set(EXAMPLES)))
def test_examples_work_as_typed(unrolled, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.serving.server.serve", _not_for_ever)
    monkeypatch.setattr("unrolled.serving.server.listening", lambda host, port: FREE_PORT(host, 0))
    before, _, command = example.rpartition(" | ")
    words = shlex.split(command)[1:]
    if words[:2] == ["train", "language-model"]:
        words += ["--set", "training.minutes=0", "--set", "training.steps=2", "--threads", "1"]
        words += [] if "--init" in words else TINY
        words += ["--data", "text.txt", "--set", "training.window=8", "--set", "training.batch=2"]
    if words[0] == "train" and words[1] in ("classify", "generate", "translate"):
        words += [*TINY, "--set", "training.epochs=0", "--set", "training.steps=2"]
    answer = unrolled(*words, input=f"{shlex.split(before)[1]}\n" if before else None)
    assert answer.code == 0, answer.err
    assert answer.out.strip()


def test_nothing_typed_shows_the_help() -> None:
    result = typed(folder=Path())
    assert result.returncode == 2
    assert "Usage: unrolled" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(["trian"], "train"), (["sample", "runs/demo", "--temprature", "1"], "--temperature")],
)
def test_a_wrong_word_names_the_nearest(unrolled, words: list[str], nearest: str) -> None:
    answer = unrolled(*words)
    assert answer.code == 2
    assert nearest in answer.err


def test_version(unrolled) -> None:
    assert re.fullmatch(r"unrolled \d+\.\d+\.\d+\n", unrolled("--version").out)


def test_global_options_before_and_after_the_verb(unrolled) -> None:
    before, after = unrolled("--json", "next", "runs/demo", "c"), unrolled("next", "runs/demo", "c", "--json")
    assert before.out == after.out
    assert before.out.startswith("[")


def test_a_wrong_device_is_a_usage_error(unrolled) -> None:
    answer = unrolled("show", "runs/demo", "--device", "tpu")
    assert answer.code == 2
    assert "cuda" in answer.err


def test_cuda_where_there_is_none(unrolled) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    answer = unrolled("show", "runs/demo", "--device", "cuda")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: --device cuda: torch finds no CUDA device")


def test_a_wrong_engine_in_the_environment(unrolled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_ENGINE", "warp")
    answer = unrolled("next", "runs/demo", "c")
    assert answer.code == 1
    assert "UNROLLED_ENGINE is 'warp'" in answer.err


@pytest.mark.parametrize("verb", ["evaluate", "sample", "next", "show"])
def test_no_run_folder(unrolled, verb: str) -> None:
    answer = unrolled(verb, "runs/none")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: runs/none is no run folder")
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("verb", ["evaluate", "sample", "next", "show"])
def test_a_folder_that_is_no_run(unrolled, place: Path, verb: str) -> None:
    answer = unrolled(verb, ".")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: . is no run folder: it holds no recipe.toml")


@pytest.mark.parametrize("words", [["show", ""], ["train", "language-model", "--run", ""], ["train", "--resume", ""]])
def test_an_empty_path_is_no_folder(unrolled, words: list[str]) -> None:
    answer = unrolled(*words)
    assert answer.code == 2
    assert "it is empty; give a path" in " ".join(answer.err.replace("│", " ").split())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("words", ["sample runs/demo --length 5000", "cells lstm", "--help", "show runs/demo --json"])
def test_what_cannot_be_written_is_one_line(place: Path, words: str) -> None:
    command = f"{sys.executable} -m unrolled {words} > /dev/full"
    result = subprocess.run(
        ["bash", "-c", command], cwd=place, capture_output=True, text=True, env=environment(), timeout=120, check=False
    )
    assert (result.returncode, result.stderr) == (1, "error: No space left on device\n")


SIGINT = int(signal.SIGINT)


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("module", ["typer", "unrolled.cli.sample", "torch", "torch.nn", "unrolled.run"])
def test_interrupting_the_start(place: Path, module: str) -> None:
    # The signal comes as a module is about to be imported.
    code = f"""
import os, signal, sys
from unrolled.cli.main import main
sys.addaudithook(lambda event, words: event == "import" and words[0] == {module!r} and os.kill(os.getpid(), {SIGINT}))
sys.argv[1:] = ["sample", "runs/demo", "--length", "9999999"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, env=environment(), timeout=120,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_damaged_run(unrolled, place: Path) -> None:
    (place / "runs/demo/model.safetensors").write_bytes(b"short")
    answer = unrolled("show", "runs/demo")
    assert answer.code == 1
    assert "model.safetensors" in answer.err


def test_a_closed_pipe_is_quiet(place: Path) -> None:
    command = f"{sys.executable} -m unrolled sample runs/demo --length 20000 | head -c 10"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=place, capture_output=True, text=True, env=environment(),
        timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0
    assert len(result.stdout) == 10
    assert result.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupting_a_sample(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "unrolled", "sample", "runs/demo", "--length", "1000000"],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "interrupted\n"


def test_tables_align() -> None:
    assert table([["a", "1"], ["bc", "20"]], header=["x", "y"], right="-r") == "x    y\na    1\nbc  20"
    assert len(bar(1.0, 10)) == 10
    assert len(bar(0.0, 10)) == 1
