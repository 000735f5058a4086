"""Which cell can remember for how long? The adding and the copy problem, for sequences of growing length.

    python -m benchmarks.long_memory                            # both problems, length 100
    python -m benchmarks.long_memory --problems adding --lengths 100 200 400 --steps 4000

Each cell is trained by the recipe, with nothing but the cell, its start and the length changed, until its validation
loss is a tenth of what remembers nothing would cost, which counts as solved, or until its steps are used up.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measuring import machine, table, write_json
from unrolled.data.made import copy_baseline
from unrolled.training.log import read_log

ROOT = Path(__file__).resolve().parents[1]
CONTESTANTS = {
    "rnn": ["model.cell=rnn"],
    "rnn, orthogonal": ["model.cell=rnn", "model.initialiser=orthogonal"],
    "rnn of ReLU, identity": ["model.cell=rnn", "model.nonlinearity=relu", "model.initialiser=identity"],
    "gru-simplified": ["model.cell=gru-simplified"],
    "gru": ["model.cell=gru"],
    "lstm, forget bias 1": ["model.cell=lstm", "model.forget_bias=1.0"],
    "lstm, forget bias 5": ["model.cell=lstm", "model.forget_bias=5.0"],
    "gru, chrono": ["model.cell=gru", "model.chrono={length}"],
    "lstm, chrono": ["model.cell=lstm", "model.forget_bias=none", "model.chrono={length}"],
}
"""What is changed in the recipe; {length} is that of the sequences."""
SOLVED = 0.1
"""Of the loss of who remembers nothing."""


@dataclass(frozen=True)
class Attempt:
    """One training: its best validation loss as a share of the baseline's, and at which step it solved the problem.

    stopped: whether the alarm ended it, because its loss or its gradient was no number any more.
    """

    problem: str
    length: int
    cell: str
    share: float
    solved: int | None
    steps: int
    seconds: float
    stopped: bool


def baseline(problem: str, length: int) -> float:
    """The validation loss of who remembers nothing: half a variance in standard deviations; nats a timestep."""
    return 0.5 if problem == "adding" else copy_baseline(length)


def validations(log: Path) -> Iterator[tuple[int, float]]:
    """The (step, loss) of the validations so far."""
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line) if line.endswith("}") else {}
            if entry.get("kind") == "valid" and entry.get("loss") is not None:
                yield int(entry["step"]), float(entry["loss"])


def attempt(problem: str, length: int, cell: str, steps: int, folder: Path) -> Attempt:
    """Train one cell until it has solved the problem, or not."""
    run = folder / f"{problem}-{length}-{cell.replace(' ', '-').replace(',', '')}"
    timesteps = length if problem == "adding" else length + 20
    settings = [setting.format(length=timesteps) for setting in CONTESTANTS[cell]]
    settings += [f"data.made_length={length}", f"training.steps={steps}"]
    if "lstm" not in cell:
        settings.append("model.forget_bias=none")
    words = [word for setting in settings for word in ("--set", setting)]
    recipe = str(ROOT / "recipes" / f"{problem}.toml")
    command = [sys.executable, "-m", "unrolled", "train", recipe, "--run", str(run), "--quiet", *words]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit, found = SOLVED * baseline(problem, length), list[tuple[int, float]]()
    while process.poll() is None:
        time.sleep(0.5)
        found = list(validations(run / "log.jsonl"))
        if any(loss < limit for _, loss in found):
            process.send_signal(signal.SIGINT)
            process.wait(60)
    found = list(validations(run / "log.jsonl"))
    best = min((loss for _, loss in found), default=float("nan"))
    solved = next((step for step, loss in found if loss < limit), None)
    stopped = any(entry.get("kind") == "alarm" for entry in read_log(run))
    return Attempt(
        problem, length, cell, best / baseline(problem, length), solved, found[-1][0] if found else 0,
        time.monotonic() - begun, stopped,
    )  # fmt: skip


def line(one: Attempt) -> list[str]:
    """An attempt as people read it."""
    solved = f"{one.solved:,}" if one.solved else f"not in {one.steps:,}{', exploded' if one.stopped else ''}"
    return [one.problem, str(one.length), one.cell, f"{one.share:.1%}", solved, f"{one.seconds:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=["adding", "copy"], choices=("adding", "copy"))
    parser.add_argument("--lengths", nargs="+", type=int, default=[100])
    parser.add_argument("--cells", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS), metavar="CELL")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    found: list[Attempt] = []
    with TemporaryDirectory() as place:
        for problem in given.problems:
            for length in given.lengths:
                for cell in given.cells:
                    found.append(attempt(problem, length, cell, given.steps, Path(place)))
                    print("  ".join(line(found[-1])), flush=True)
    header = ["problem", "length", "cell", "of the baseline", "solved at step", "seconds"]
    print("\n" + table(header, [line(one) for one in found]))
    if given.json:
        content: dict[str, Any] = {"machine": machine(), "attempts": [asdict(one) for one in found]}
        write_json(given.json, content)


if __name__ == "__main__":
    main()
