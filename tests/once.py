"""What several test processes need is made once, by the first who asks."""

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def common_folder(factory: pytest.TempPathFactory, worker: str) -> Path:
    """The folder of the whole test run; `worker` is pytest-xdist's name of this process."""
    base = factory.getbasetemp()
    return base if worker == "master" else base.parent


def made_once(factory: pytest.TempPathFactory, worker: str, name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this name that `make` has filled; nobody may change it."""
    folder = common_folder(factory, worker) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            make(folder)
            (folder / "done").touch()
    return folder
