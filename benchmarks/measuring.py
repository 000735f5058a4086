"""How long do contestants take, one after the other by turns in one process? And on what machine was that?

A machine is never quite alone: its clock changes and others use its cores. So no contestant is measured by itself, all
of them take turns, and what counts is the ratio of medians over many rounds.
"""

import gc
import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unrolled.cores import usable
from unrolled.recurrence import openmp
from unrolled.recurrence.kernels.target import host

PACKAGES = ("unrolled", "torch", "numpy", "llvmlite", "jax", "jaxlib", "onnx", "onnxruntime")
"""Whose versions belong beside every figure."""

ROUNDS = 11
"""The fewest rounds that a published median rests on."""

PAUSE = 0.012
"""Seconds of rest between turns on several threads: an OpenMP thread that has nothing to do keeps its core busy for
some 8 ms before it sleeps, and the next contestant, whose threads are others, would have to share it."""

BUSY = 0.15
"""Cores in use by other processes from which on a line is marked: figures on all cores then say little."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: at least so many; an odd number, so that the median is one of them.
        most: never more rounds than that, however short they are.
        budget: seconds that may go into further rounds.
        turn: seconds that one turn of one contestant takes at least: short calls are repeated to fill it.
        quiet: seconds to wait beforehand for other processes to calm down, at most.
        again: how often to measure anew while other processes were busy; the calmest time counts.
    """

    rounds: int = ROUNDS
    most: int = 31
    budget: float = 1.5
    turn: float = 0.004
    quiet: float = 0.0
    again: int = 0


@dataclass(frozen=True)
class Timing:
    """What one contestant's turns took.

    Attributes:
        seconds: the median of a call over the rounds; `low` and `high` are the quartiles, `best` is the shortest.
        rounds, calls: how many rounds there were, and how many calls a round.
        cores: processor time by elapsed time; more than the threads allowed means that the limit did not hold.
    """

    seconds: float
    low: float
    high: float
    best: float
    rounds: int
    calls: int
    cores: float


def alternate(contestants: Mapping[str, Call], plan: Plan | None = None) -> dict[str, Timing]:
    """Let all contestants take turns, and time every turn.

    A turn starts with a call that is not counted: it fetches the contestant's data back into the caches and wakes its
    threads, which is what a program that calls it again and again meets. The order moves on by one every round.
    """
    plan = plan or Plan()
    calls = {name: _calls(call, plan.turn) for name, call in contestants.items()}
    first = time.perf_counter()
    turns = {name: [_turn(call, calls[name])] for name, call in contestants.items()}
    names = list(contestants)
    with _no_collection():
        for number in range(1, rounds_for(time.perf_counter() - first, plan)):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                turns[name].append(_turn(contestants[name], calls[name]))
    return {name: _timing(turns[name], calls[name]) for name in names}


def calmest(contestants: Mapping[str, Call], plan: Plan) -> tuple[dict[str, Timing], float]:
    """Let all contestants take turns, when other processes leave the cores alone; and how many cores those used."""
    found: list[tuple[float, dict[str, Timing]]] = []
    while not found or (found[-1][0] > BUSY and len(found) <= plan.again):
        if plan.quiet:
            wait_for_quiet(plan.quiet)
        with Neighbours() as others:
            timings = alternate(contestants, plan)
        found.append((others.cores, timings))
    cores, timings = min(found, key=lambda one: one[0])
    return timings, cores


def rounds_for(seconds: float, plan: Plan) -> int:
    """How many rounds to do if one takes so long: as many as the budget allows, within bounds, and an odd number."""
    count = max(plan.rounds, min(plan.most, int(plan.budget / seconds)))
    return count + 1 - count % 2


def _calls(call: Call, turn: float) -> int:
    """How many calls fill a turn; warms the contestant up on the way."""
    call()
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return max(1, math.ceil(turn / min(taken)))


def _turn(call: Call, calls: int) -> tuple[float, float]:
    """Elapsed and processor seconds of one call."""
    if torch.get_num_threads() > 1:
        time.sleep(PAUSE)
    call()
    busy, start = time.process_time(), time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls, (time.process_time() - busy) / calls


def _timing(turns: Sequence[tuple[float, float]], calls: int) -> Timing:
    elapsed = sorted(seconds for seconds, _ in turns)
    low, median, high = statistics.quantiles(elapsed, n=4) if len(elapsed) > 1 else elapsed * 3
    cores = statistics.median(busy / seconds for seconds, busy in turns)
    return Timing(median, low, high, elapsed[0], len(turns), calls, cores)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's garbage is collected before, not during: a collection costs more than a short call."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Neighbours:
    """How many cores other processes kept busy meanwhile. Beside their figures, ours on all cores mean little.

    with Neighbours() as others:
        ...
    others.cores
    """

    cores = 0.0

    def __enter__(self) -> "Neighbours":
        self._start = _busy(), time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        busy, own, elapsed = (
            end - start
            for end, start in zip((_busy(), time.process_time(), time.perf_counter()), self._start, strict=True)
        )
        self.cores = max(0.0, (busy - own) / elapsed)


def busy_mark(others: float) -> str:
    """A star for a line during which other processes used more than `BUSY` cores."""
    return "*" if others > BUSY else ""


def _busy() -> float:
    """Seconds that all cores together have worked since the system started; 0 where it does not say."""
    try:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except OSError:
        return 0.0
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")  # all but idle and waiting for a disk


def wait_for_quiet(limit: float, allowed: float = 0.1, look: float = 0.5) -> float:
    """Wait until other processes use less than `allowed` cores, but no longer than `limit` seconds; what they use."""
    end = time.perf_counter() + limit
    while True:
        with Neighbours() as others:
            time.sleep(look)
        if others.cores <= allowed or time.perf_counter() > end:
            return others.cores


def machine() -> dict[str, Any]:
    """The processor, and the versions of everything that takes part."""
    return {
        "processor": processor(),
        "instruction set": host().name,
        "cores": cores(),
        "system": platform.platform(),
        "openmp": openmp.state().reason,
        "versions": versions(),
    }


def cores() -> int:
    """How many cores this process may use."""
    return usable()


def processor() -> str:
    """The processor's name, as the system says it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """The version of every package that takes part, of Python, and of the libraries inside torch."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    inside = torch.__config__.show()
    for name, pattern in {"oneDNN": r"MKL-DNN v([\d.]+)", "MKL": r"Math Kernel Library Version ([\d.]+)"}.items():
        if match := re.search(pattern, inside):
            found[name] = match[1]
    return found


def write_json(path: Path, content: object) -> None:
    """Write the whole result of a benchmark."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns; all but the first are set flush right. Plain, so that a log or a page can hold it."""
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (headings, ["-" * width for width in widths], *rows):
        cells = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
