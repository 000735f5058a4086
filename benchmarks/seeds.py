"""How much of a figure is luck? A recipe trained with several seeds: mean and spread of its validation and test figure.

    python -m benchmarks.seeds recipes/surnames.toml --seeds 1 2 3 4 5 --jobs 2

Small test sets are noisy, and a seed that was looked for is no result: for those the mean is what counts. Every seed is
a run of its own, `NAME-seedN` in the folder given; one that is finished is not trained again, so a series can be
interrupted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FIGURES = (("spans", "f1"), ("accuracy",), ("mean_absolute_error",), ("nats_per_symbol",))
"""What a run is judged by, the first that it has."""


def figure(part: dict[str, Any]) -> tuple[str, float]:
    """The name and the value of a part's main figure.

    >>> figure({"accuracy": 0.5, "spans": {"f1": 0.25}})
    ('spans f1', 0.25)
    """
    for path in FIGURES:
        value: Any = part
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            return " ".join(path), float(value)
    raise ValueError("no figure is known in it")


def trained(
    recipe: Path, seed: int, runs: Path, threads: int, settings: list[str], init: Path | None = None
) -> dict[str, Any]:
    """The figures of one seed, and how long it took; an unfinished run goes on."""
    folder = runs / f"{recipe.stem}-seed{seed}"
    command = [sys.executable, "-m", "unrolled", "train", "--quiet", "--threads", str(threads)]
    if folder.exists():
        command += ["--resume", str(folder)]
    else:
        overrides = [word for setting in (*settings, f"training.seed={seed}") for word in ("--set", setting)]
        command += [str(recipe), "--run", str(folder), *overrides, *(["--init", str(init)] if init else [])]
    if not (folder / "metrics.json").exists():
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found


def summary(found: list[dict[str, Any]]) -> list[str]:
    """A line for each part: every seed's figure, the mean, and the standard deviation."""
    lines = []
    for part in ("validation", "test"):
        if part in found[0]:
            values = [figure(one[part])[1] for one in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            each = ", ".join(f"{value:.4f}" for value in values)
            lines.append(
                f"{part} {figure(found[0][part])[0]}: mean {statistics.mean(values):.4f} ± {spread:.4f} ({each})"
            )
    return lines


def main() -> None:
    """Train, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=1, help="seeds trained at once")
    parser.add_argument("--threads", type=int, default=1, help="threads of each")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are kept")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--init", type=Path, metavar="RUN", help="a run that every seed starts from")
    given = parser.parse_args()
    with ThreadPoolExecutor(given.jobs) as pool:
        how = given.runs, given.threads, given.settings, given.init
        jobs = [pool.submit(trained, given.recipe, seed, *how) for seed in given.seeds]
        found = [job.result() for job in jobs]
    seconds = statistics.mean(one["seconds"] for one in found)
    print("\n".join([*summary(found), f"{seconds:.0f} s of training each, on {given.threads} thread(s)"]))


if __name__ == "__main__":
    main()
