"""Ways to type commands, and the small text that the tests train on."""

import os
import subprocess
import sys
from pathlib import Path

TEXT = "The cat sat on the mat. The dog sat on the log. A cat ate the rat, and the dog ate the hat.\n" * 60
REVIEWS = "".join(
    f"good\ta {word} film\nbad\ta {other} film\n" for word in ("fine", "lovely") for other in ("dull", "poor")
)
REVIEWS *= 10
"""A table of labelled texts."""
TINY = [
    "--set",
    "model.hidden=16",
    "--set",
    "model.layers=1",
    "--set",
    "model.embedding=8",
    "--set",
    "training.batch=8",
]


def typed(*words: str, folder: Path, input: str | None = None) -> subprocess.CompletedProcess[str]:
    """`unrolled ...` in a process of its own, as typed."""
    return subprocess.run(
        [sys.executable, "-m", "unrolled", *words],
        cwd=folder,
        input=input,
        text=True,
        capture_output=True,
        env=environment(),
        timeout=120,
        check=False,
    )


def environment() -> dict[str, str]:
    """A plain, small world: one thread, no colours."""
    kept = {name: value for name, value in os.environ.items() if name != "UNROLLED_ENGINE"}
    return kept | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100", "PYTHONUTF8": "1"}


class Answer:
    """What a command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
