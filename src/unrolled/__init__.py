"""Unrolled: recurrent sequence models, from equations and a file of sequences to a trained, inspected model.

    import unrolled
    layer = unrolled.nn.LSTM(64, 128)
    run = unrolled.train("recipes/shakespeare-quick.toml")
    run = unrolled.load("runs/shakespeare-quick")

The names below are imported when they are first used, so that the command line starts without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unrolled.errors import UserError
from unrolled.with_torch import register

if TYPE_CHECKING:
    from unrolled import cells, nn
    from unrolled.cells import cell
    from unrolled.run import Run, load, train

__version__ = "0.1.0"

_LAZY = {"cell": "unrolled.cells", "Run": "unrolled.run", "load": "unrolled.run", "train": "unrolled.run"}
_FOLDERS = ("cells", "data", "decoding", "inspecting", "models", "nn", "recurrence", "training")

__all__ = ["Run", "UserError", "__version__", "cell", "cells", "load", "nn", "train"]


register()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _FOLDERS:
        return importlib.import_module(f"unrolled.{name}")
    raise AttributeError(f"module 'unrolled' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_FOLDERS})
