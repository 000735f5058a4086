"""Numbers out of range, and too little memory, from the command line: one line each, never a traceback or nothing."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from commands import Answer, environment
from unrolled.cli.common import check_numbers, mistakes_told
from unrolled.cli.ending import too_little_memory
from unrolled.errors import UserError

HUGE = "100000000000000000000"
COMMANDS = [
    *(f"sample runs/demo --length {n}" for n in ("-1", "0", HUGE)),
    *(f"sample runs/demo --length 3 --seed {n}" for n in ("-1", "18446744073709551616", HUGE)),
    *(f"sample runs/demo --length 3 --count {n}" for n in ("-3", "0", "1000000000000", HUGE)),
    *(f"sample runs/demo --length 3 --temperature {n}" for n in ("-1", "nan", "inf", "1e999")),
    *(f"sample runs/demo --length 3 --{name} nan" for name in ("top-p", "min-p", "repetition")),
    *(f"sample runs/demo --length 3 --top-k {n}" for n in ("-1", HUGE)),
    *(f"predict runs/dates 11 --beam {n}" for n in ("0", "-1", "100000", HUGE)),
    *(f"predict runs/dates 11 --alpha {n}" for n in ("-1", "nan", "300", "inf")),
    *(f"predict runs/dates 11 --best {n}" for n in ("0", "100000", HUGE)),
    "evaluate runs/dates --alpha 300", "evaluate runs/dates --coverage nan", "evaluate runs/dates --block-repeats -1",
    f"next runs/demo c --top {HUGE}", "next runs/demo c --top 0",
    f"inspect runs/demo text --next --top {HUGE}", f"inspect runs/demo text --gates --layer {HUGE}",
    f"inspect runs/demo --gradients --length {HUGE}", "inspect runs/demo text --gradients --length 1",
    f"inspect runs/demo --cell-search --most {HUGE}", f"inspect runs/dates 11 --tree --width {HUGE}",
    f"inspect runs/dates --beam --wider {HUGE}", "inspect runs/demo --gradients --fresh rnn:orthogonal:nan",
    f"show runs/demo --threads {HUGE}", "show runs/demo --threads 0",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_number_out_of_range_is_one_line(command: str, unrolled: Callable[..., Answer]) -> None:
    answer = unrolled(*command.split())
    assert answer.code in (1, 2)
    assert answer.out == ""
    assert answer.code == 2 or len(answer.err.splitlines()) == 1
    assert len(answer.err) < 2000


@pytest.mark.parametrize(
    "setting",
    [
        f"model.hidden={HUGE}", "model.hidden=-1", "model.hidden=nan", f"training.batch={HUGE}", "training.epochs=inf",
        "training.learning_rate=nan", f"training.steps={HUGE}", f"training.seed={HUGE}", "training.minutes=-1",
        f"training.warmup=-{HUGE}", f"model.hidden={'9' * 5000}", f"data.vocabulary_size={HUGE}",
        "decoding.beam=100000", f"training.devices={HUGE}", "model.dropout=1", "training.clip_norm=nan",
        "decoding.alpha=11",
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(setting: str, unrolled: Callable[..., Answer]) -> None:
    answer = unrolled("train", "language-model", "--data", "text.txt", "--run", "runs/new", "--set", setting)
    assert (answer.code, answer.out) == (1, "")
    assert setting.partition("=")[0] in answer.err
    assert len(answer.err) < 400


def test_numbers_that_typer_lets_through() -> None:
    check_numbers({"a": 1.0, "b": 2**62, "c": None, "d": "nan", "e": True})
    for value in (float("nan"), float("-inf"), 2**63, -(2**70)):
        with pytest.raises(UserError, match=r"--top-p .*: it is no number that can be used"):
            check_numbers({"top_p": value})


@pytest.mark.parametrize(
    ("allocate", "said"),
    [
        (lambda: torch.empty(2**45), ": 140,737.5 GB more were needed"),
        (lambda: torch.empty(2**62, 8), ""),
        (lambda: bytearray(2**62), ""),
    ],
)
def test_memory_that_is_not_there(
    allocate: Callable[[], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    with pytest.raises(typer.Exit), mistakes_told("train"):
        allocate()
    error = capsys.readouterr().err
    assert error.startswith(f"error: too little memory{said}; lower model.hidden, ")
    assert len(error.splitlines()) == 1


def test_other_errors_are_not_about_memory() -> None:
    assert too_little_memory(RuntimeError("shapes do not fit")) is None
    assert too_little_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")) == (
        ": 2.7 GB more were needed"
    )
    with pytest.raises(RuntimeError, match="shapes"), mistakes_told():
        raise RuntimeError("shapes do not fit")


def test_too_little_memory_from_the_command_line(place: Path) -> None:
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000,) * 2)\n"
    code += "from unrolled.cli.main import main; main()"
    words = ["train", "language-model", "--data", "text.txt", "--set", "model.hidden=20000", "--set", "model.layers=1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=place, capture_output=True, text=True, env=environment(), timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: too little memory: ")
    assert "Traceback" not in done.stderr
