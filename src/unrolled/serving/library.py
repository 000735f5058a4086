"""The models that are served, by name; a run that is replaced on disk is loaded beside the old one and takes its place.

Who has begun with the old one ends with it: requests hold on to the generation that they were read for, streams to the
one that they were opened with, as long as it is the one before. What cannot be loaded leaves the old one where it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from unrolled.errors import UserError
from unrolled.run import load
from unrolled.serving.loaded import Loaded
from unrolled.serving.metrics import Metrics
from unrolled.serving.refusals import Refused
from unrolled.training.run_folder import RECIPE, WEIGHTS

logger = logging.getLogger("unrolled.serving")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SEEN = (RECIPE, WEIGHTS)
"""The files of a run whose replacement means another model."""
EVERY = 2.0
"""Seconds between two looks at the disk."""

STALE = "what now lies in its folder cannot be loaded; the server's log says why"

Stamp = tuple[tuple[int, int, int], ...]


@dataclass
class Shelf:
    """One name: its folder, the model, the one before, and why what lies on disk now is not the model."""

    folder: Path
    current: Loaded
    stamp: Stamp
    before: Loaded | None = None
    stale: str | None = None


class Library:
    """Models by name.

    Args:
        runs: name to run folder.
        device: where the models run.

    Attributes:
        metrics: what is told of timesteps and reloads; those of the application, once there is one.

    Raises:
        UserError: a folder holds no run that can be loaded, or a name is none.
    """

    def __init__(self, runs: Mapping[str, Path], *, device: str = "cpu") -> None:
        self._device, self.metrics = device, Metrics()
        self._shelves: dict[str, Shelf] = {}
        for name, folder in runs.items():
            stamp = _stamp(folder)
            self._shelves[name] = Shelf(folder, self._load(name, folder, 1), stamp)

    @property
    def shelves(self) -> Mapping[str, Shelf]:
        """All of them."""
        return self._shelves

    def get(self, name: str) -> Loaded:
        """The model of a name, as it is now.

        Raises:
            Refused: there is none.
        """
        if name not in self._shelves:
            known = ", ".join(sorted(self._shelves))
            raise Refused(404, f"no model is called {name[:100]!r}; there are {known}")
        return self._shelves[name].current

    def of_fingerprint(self, name: str, fingerprint: str) -> Loaded:
        """The generation of a model that a state belongs to.

        Raises:
            Refused: it is gone.
        """
        current, shelf = self.get(name), self._shelves[name]
        for one in (current, shelf.before):
            if one is not None and one.fingerprint == fingerprint:
                return one
        raise Refused(410, f"{name} was replaced by a newer model since: begin a new stream")

    def look(self) -> list[str]:
        """Reload what was replaced on disk; the names of those that were. Takes as long as loading does."""
        changed = []
        for name, shelf in self._shelves.items():
            stamp = _stamp(shelf.folder)
            if stamp == shelf.stamp:
                continue
            shelf.stamp = stamp
            try:
                fresh = self._load(name, shelf.folder, shelf.current.generation + 1)
            except BaseException as error:  # whatever is on disk, the model that runs and this watch are not to be lost
                shelf.stale = STALE
                self.metrics.reloads.labels("failed").inc()
                logger.warning("%s stays as it is: %s", name, _reason(error))
                continue
            shelf.stale = None
            if fresh.fingerprint == shelf.current.fingerprint:
                continue
            shelf.before, shelf.current = shelf.current, fresh
            self.metrics.reloads.labels("done").inc()
            logger.info("%s was replaced on disk and is now generation %d", name, fresh.generation)
            changed.append(name)
        return changed

    async def watch(self, replaced: Callable[[str], None], every: float = EVERY) -> None:
        """Look again and again; `replaced` is told the names."""
        while True:
            await asyncio.sleep(every)
            for name in await asyncio.to_thread(self.look):
                replaced(name)

    def _load(self, name: str, folder: Path, generation: int) -> Loaded:
        run = load(folder, device=self._device)
        return Loaded(name, run, generation, _fingerprint(run.model), partial(self._read, name))

    def _read(self, name: str, count: int) -> None:
        self.metrics.symbols.labels(name).inc(count)


def named(runs: Iterable[str]) -> dict[str, Path]:
    """What is served under which name: NAME=FOLDER as it says, a folder under its own name.

    Raises:
        UserError: a name is none, or two runs have the same.
    """
    found: dict[str, Path] = {}
    for run in runs:
        name, equals, folder = run.partition("=")
        path = Path(folder if equals else run)
        name = name if equals else path.resolve().name
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a model in an address: use letters, digits, . _ and -, as in my={path}"
            )
        if name in found:
            raise UserError(f"two runs are called {name}: give one another name, as in other={path}")
        found[name] = path
    return found


def _stamp(folder: Path) -> Stamp:
    found = []
    for name in SEEN:
        try:
            stat = (folder / name).stat()
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)


def _fingerprint(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__} while it was loaded"
