"""Ways to type commands, and the small text that the tests train on."""

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

TEXT = "The cat sat on the mat. The dog sat on the log. A cat ate the rat, and the dog ate the hat.\n" * 60
REVIEWS = "".join(
    f"good\ta {word} film\nbad\ta {other} film\n" for word in ("fine", "lovely") for other in ("dull", "poor")
)
REVIEWS *= 10
"""A table of labelled texts."""
DATES = "".join(f"{day}. may {year}\t{year}-05-{day}\n" for day in range(11, 29) for year in (1999, 2001, 2007))
"""Pairs to translate."""
SURNAMES = "".join(
    f"{first}{middle}{last}\t{label}\n"
    for first, label in (("ro", "Italian"), ("bi", "French"), ("ka", "Finnish"))
    for middle in ("ss", "nn", "tt")
    for last in "aeiou"
)
"""Names and where they are from, or what is said for that."""
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


def here(*words: str, input: str | None = None) -> Answer:
    """Types a command in this process: quick, for what needs no process of its own."""
    from unrolled.cli.app import app

    result = CliRunner().invoke(app, list(words), input=input, prog_name="unrolled", color=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)
