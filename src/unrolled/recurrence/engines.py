"""Which engine runs a layer, and why."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from unrolled.recurrence import eager, vendor
from unrolled.recurrence.program import Program
from unrolled.recurrence.request import Answer, Request

NAMES = ("auto", "eager", "vendor")
"""What `engine=` and the environment variable UNROLLED_ENGINE may say."""


@dataclass(frozen=True)
class Engine:
    """The engine that runs a layer on some input, and why it was chosen."""

    name: str
    reason: str

    @property
    def run(self) -> Callable[[Request], Answer]:
        """Runs one layer."""
        return {"eager": eager.run, "vendor": vendor.run}[self.name]


def check_name(name: str, source: str) -> str:
    """`name`, if it is an engine's.

    Raises:
        ValueError: it is not; the message says where it came from.
    """
    if name not in NAMES:
        raise ValueError(f'{source} is "{name}", which is none of {", ".join(NAMES)}')
    return name


def choose(wanted: str, request: Request) -> Engine:
    """The engine for one request.

    Raises:
        ValueError: the engine that was asked for by name cannot run this; the message says why.
    """
    asked_by = 'engine="vendor"'
    if wanted == "auto" and (variable := os.environ.get("UNROLLED_ENGINE")):
        wanted, asked_by = (
            check_name(variable, "the environment variable UNROLLED_ENGINE"),
            f"UNROLLED_ENGINE={variable}",
        )
    if wanted == "eager":
        return Engine("eager", "asked for by name")
    refusal = beyond_operators(request.program) or vendor.refuses(request)
    if wanted == "vendor":
        if refusal:
            raise ValueError(f'{asked_by}: {refusal}; engine="auto" or "eager" runs it')
        return Engine("vendor", "asked for by name")
    if refusal:
        return Engine("eager", refusal)
    return Engine("vendor", f"torch.nn's own {request.cell.name} kernel is the fastest that runs this")


def beyond_operators(program: Program) -> str | None:
    """Why only the eager engine, which calls the step itself, runs a cell; None if its program is complete."""
    opaque = program.opaque
    return f'cell "{program.cell}" uses {opaque}, so only the eager engine runs it' if opaque else None
