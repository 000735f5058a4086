"""Variables of launchers and schedulers: heeded and checked where torchrun set them, and else without effect."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import environment
from sessions import tiny
from unrolled.environment import without
from unrolled.errors import UserError
from unrolled.training.interrupt import Interruption
from unrolled.training.processes import fabric_of, is_first
from unrolled.training.recipe import Recipe

BATCH_JOB = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x", "SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
STRAY = [
    {"RANK": "x"}, {"RANK": "3"}, {"LOCAL_RANK": "x"}, {"LOCAL_RANK": "1"}, {"LOCAL_WORLD_SIZE": "two"},
    {"LOCAL_WORLD_SIZE": "0"}, {"LOCAL_WORLD_SIZE": "2"}, {"WORLD_SIZE": "8"}, {"MASTER_PORT": "x"}, BATCH_JOB,
    {"SLURM_NTASKS": "many"}, {"SLURM_PROCID": "x"}, {"LT_DEVICES": "two"}, {"LT_ACCELERATOR": "abacus"},
    {"LT_STRATEGY": "none"}, {"LT_NUM_NODES": "x"}, {"LT_PRECISION": "1", "LT_CLI_USED": "1"},
    {"JSM_NAMESPACE_RANK": "x"}, {"OMPI_COMM_WORLD_SIZE": "x"},
]  # fmt: skip


@pytest.fixture
def recipe() -> Recipe:
    return tiny(Path("none.txt"))


def put(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in (*TORCHRUN, "MASTER_PORT", "MASTER_ADDR", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("stray", STRAY, ids=str)
def test_what_torchrun_did_not_set_has_no_effect(
    stray: dict[str, str], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, stray)
    before = dict(os.environ)
    fabric = fabric_of(recipe, "cpu")
    assert (fabric.world_size, fabric.global_rank, fabric.is_global_zero, str(fabric.device)) == (1, 0, True, "cpu")
    assert is_first()
    assert {name: os.environ.get(name) for name in before} == before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"RANK": "x"}, "RANK is 'x'"), ({"RANK": "1"}, "RANK is '1'"), ({"RANK": "-1"}, "RANK is '-1'"),
        ({"RANK": ""}, "RANK is ''"), ({"RANK": "²"}, "RANK is '²'"), ({"LOCAL_RANK": "9" * 5000}, "LOCAL_RANK is"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"), ({"LOCAL_WORLD_SIZE": "two"}, "LOCAL_WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"}, "WORLD_SIZE=3 and LOCAL_WORLD_SIZE=2"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT is 'x'"), ({"GROUP_RANK": "x"}, "GROUP_RANK is 'x'"),
    ],
)  # fmt: skip
def test_what_torchrun_would_not_have_set_is_named(
    changed: dict[str, str], named: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, TORCHRUN | changed)
    with pytest.raises(UserError) as error:
        fabric_of(recipe, "cpu")
    assert named in str(error.value)
    assert "torchrun" in str(error.value)


def test_a_missing_variable_of_torchrun_is_named(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN)
    monkeypatch.delenv("LOCAL_RANK")
    with pytest.raises(UserError, match="LOCAL_RANK is missing"):
        fabric_of(recipe, "cpu")


@pytest.mark.parametrize("stray", [{"LOCAL_RANK": "x"}, {"LOCAL_RANK": "2"}, {"NODE_RANK": "1"}, {"MASTER_PORT": "x"}])
def test_processes_of_the_recipe_heed_what_started_them(stray: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, stray)
    with pytest.raises(UserError, match=next(iter(stray))):
        fabric_of(tiny(Path("none.txt"), training__devices=2), "cpu")


def test_a_device_that_is_not_there(recipe: Recipe) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UserError, match="training on 1 device"):
        fabric_of(recipe, "cuda")


def test_lightning_can_be_imported_beside_nonsense() -> None:
    """It reads the rank when it is first imported."""
    code = "from unrolled.training.processes import fabric_of; from unrolled.training.recipe import recipe_from_mapping"
    code += "; print(fabric_of(recipe_from_mapping({'task': 'generate'}), 'cpu').world_size)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment(), "RANK": "x", "SLURM_PROCID": "y", "LT_DEVICES": "z"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_without_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LT_A", "1")
    monkeypatch.setenv("LTX", "2")
    before = dict(os.environ)
    with without("LT_", "LTX", "NO_SUCH"):
        assert os.environ.keys() == before.keys() - {"LT_A", "LTX"}
    assert dict(os.environ) == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_are_noted_once_and_given_back(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with Interruption() as interruption:
        os.kill(os.getpid(), number)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_under_nohup_a_hangup_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.asked
    finally:
        signal.signal(signal.SIGHUP, before)
