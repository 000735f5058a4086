"""How many cores this process may use: its affinity and the CPU quotas of its control groups, not the machine's number.

A machine of 64 cores may give a container the time of two, and more threads than cores only wait for one another.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

FRESH = 1.0
"""Seconds for which an answer holds: affinity and quotas may change while a process runs."""

BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""The environment variables by which OpenMP runtimes bind each thread to a core."""

_answer: tuple[float, int] | None = None


def usable() -> int:
    """Return the number of cores that this process may use, at least 1; changes are noticed within a second."""
    global _answer
    now = time.monotonic()
    if _answer is None or now - _answer[0] > FRESH:
        _answer = (now, limit(affinity(), quota()))
    return _answer[1]


def limit(cores: int, quota: float | None) -> int:
    """Return the smaller of a number of cores and a quota, which is rounded up.

    >>> limit(8, 1.5), limit(2, 4.0), limit(2, None), limit(4, 0.1)
    (2, 2, 2, 1)
    """
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def affinity() -> int:
    """Return the number of cores that this thread may be scheduled on; where systems have no affinity, all there are.

    An OpenMP runtime that was told to bind threads has bound this one to a single core: that says nothing about the
    process, and torch's own number of threads was counted before.
    """
    bound = any(os.environ.get(name, "false").lower() != "false" for name in BINDING)
    get = None if bound else getattr(os, "sched_getaffinity", None)
    return len(get(0)) if get else os.cpu_count() or 1


def quota(process: Path = Path("/proc/self")) -> float | None:
    """Return the smallest CPU quota, in cores, of a process's control groups; None where nothing limits it.

    A group's quota holds for all groups below it, so each is read from the process's own up to the root of the mount.
    Both versions of control groups are read: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1.
    """
    found = [cores for folder in _groups(process) if (cores := _quota_of(folder)) is not None]
    return min(found, default=None)


def _groups(process: Path) -> Iterator[Path]:
    """The folders of the groups that limit a process's CPU time, from its own up, in every hierarchy."""
    paths = dict(_hierarchies(_text(process / "cgroup")))
    for line in _text(process / "mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        places, kind = left.split(), right.split()
        if len(places) < 5 or len(kind) < 3:
            continue
        root, mount = places[3], Path(places[4].replace("\\040", " "))
        version = 2 if kind[0] == "cgroup2" else 1
        path = paths.get(version)
        if path is None or (version == 1 and (kind[0] != "cgroup" or "cpu" not in kind[2].split(","))):
            continue
        # A container may see only its own part of the tree, under a path that it does not see.
        below = path.removeprefix(root.rstrip("/")) if path == root or path.startswith(root.rstrip("/") + "/") else "/"
        folder = Path(os.path.normpath(f"{mount}/{below}"))
        folder = folder if folder.is_relative_to(mount) else mount
        while True:
            yield folder
            if folder == mount:
                break
            folder = folder.parent


def _hierarchies(text: str) -> Iterator[tuple[int, str]]:
    """The version and the path of each group in /proc/self/cgroup that can limit CPU time."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield 2, path
        elif "cpu" in controllers.split(","):
            yield 1, path


def _quota_of(folder: Path) -> float | None:
    """The quota of one group, in cores."""
    if words := _text(folder / "cpu.max").split():
        return _share(*words[:2]) if len(words) > 1 else None
    return _share(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _share(time: str, period: str) -> float | None:
    """Microseconds of CPU time for each period, as cores; "max" and -1 limit nothing."""
    try:
        cores = int(time) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
