"""Makes the operator of the layers known to torch as soon as both are imported, whichever comes first.

A program that loads an exported or traced model imports `unrolled` for its operator, and may never touch a layer. But
importing torch takes longer than most verbs of the command line, so `import unrolled` does not.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def register() -> None:
    """Define the operator now if torch is imported, or else right after it will be."""
    if "torch" in sys.modules:
        importlib.import_module("unrolled.recurrence.operator")
    else:
        sys.meta_path.insert(0, _BeforeTorch())


class _BeforeTorch(MetaPathFinder):
    """Waits for the import of torch, lets the others find it, and adds a last step to it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader = None if spec is None else spec.loader
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                importlib.import_module("unrolled.recurrence.operator")

            loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
