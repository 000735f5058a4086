"""What a command finds around it: streams that are closed, a terminal that goes away, variables with nonsense."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import TINY, environment
from unrolled.data.cache import cache_folder
from unrolled.errors import UserError
from unrolled.training.run_folder import load_state

TRAIN = f"train language-model --data text.txt --run runs/new --set training.steps=1 {' '.join(TINY)}"


def in_shell(command: str, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command.format(f"{sys.executable} -m unrolled")], cwd=place, capture_output=True, text=True,
        env={**environment(), **variables}, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{} cells >&-", 0), ("{} predict runs/reviews - <&- >&-", 1), ("{} next runs/demo c <&- >&- 2>&-", 0),
        ("{} sample runs/demo --length 5 2>&-", 0), ("{} show runs/none >&- 2>&-", 1),
        (f"{{}} {TRAIN} <&- >&- 2>&-", 0),
    ],
)  # fmt: skip
def test_closed_streams(command: str, code: int, place: Path) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    done = in_shell(command, place)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert {path: path.read_bytes() for path in before} == before
    if "runs/new" in command:  # no file of the run took the place of a stream
        assert json.loads((place / "runs/new/metrics.json").read_text())["step"] == 1
        assert in_shell("{} next runs/new c", place).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")
def test_a_terminal_that_is_closed_saves_the_run(place: Path) -> None:
    import pty

    words = ["train", "language-model", "--data", "text.txt", "--run", "runs/long", *TINY]
    words += ["--set", "training.steps=1000000", "--set", "training.validate_every=1", "--set", "training.window=20"]
    child, terminal = pty.fork()
    if not child:  # its own session, with the terminal: closing that hangs up
        os.chdir(place)
        os.execve(sys.executable, [sys.executable, "-m", "unrolled", *words], environment() | {"TERM": "dumb"})
    heard = b""
    while b"step 1 of" not in heard:  # training listens by then
        heard += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert load_state(place / "runs/long")[1]["step"] >= 1


def test_a_cache_of_a_user_that_does_not_exist(unrolled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", "~nosuchuser/x")
    answer = unrolled("doctor")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: the environment variable UNROLLED_CACHE is '~nosuchuser/x'")
    with pytest.raises(UserError, match="UNROLLED_CACHE"):
        cache_folder()


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNROLLED_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert cache_folder().is_dir()
    assert cache_folder() == cache_folder()


NONSENSE = {
    "COLUMNS": "wide", "LINES": "-1", "TERM": "\x1b[", "LANG": "xx_YY.nonsense", "LC_ALL": "nonsense", "NO_COLOR": "",
    "OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "-4", "MPLBACKEND": "nonsense", "RANK": "x", "LOCAL_RANK": "x",
    "WORLD_SIZE": "x", "LOCAL_WORLD_SIZE": "0", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "x",
    "LT_DEVICES": "x", "XDG_CACHE_HOME": "/dev/null", "RAYON_NUM_THREADS": "x", "SACREBLEU_SEED": "x", "TZ": "none",
    "MPLCONFIGDIR": "/dev/null/x", "PYTHONHASHSEED": "1", "KMP_AFFINITY": "x",
}  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("command", [f"{{}} {TRAIN}", "{} evaluate runs/dates", "{} doctor"])
def test_variables_with_nonsense(command: str, place: Path) -> None:
    done = in_shell(command, place, **NONSENSE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
