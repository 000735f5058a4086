"""Which engine runs a layer, and why."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from unrolled.recurrence import compiled, eager, vendor
from unrolled.recurrence.program import Program
from unrolled.recurrence.request import Answer, Request

NAMES = ("auto", "compiled", "eager", "vendor")
"""What `engine=` and the environment variable UNROLLED_ENGINE may say."""


@dataclass(frozen=True)
class Engine:
    """The engine that runs a layer on some input, and why it was chosen."""

    name: str
    reason: str

    @property
    def run(self) -> Callable[[Request], Answer]:
        """Runs one layer."""
        return {"compiled": compiled.run, "eager": eager.run, "vendor": vendor.run}[self.name]


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
    engine = _chosen(wanted, request)
    if engine.name != "compiled" and compiled.has_half_weights(request):
        reason = refusal_of("compiled", request) or engine.reason
        raise ValueError(f'weights="bfloat16" needs the compiled engine, and {engine.name} runs this: {reason}')
    return engine


def _chosen(wanted: str, request: Request) -> Engine:
    asked_by = f'engine="{wanted}"'
    if wanted == "auto" and (variable := os.environ.get("UNROLLED_ENGINE")):
        wanted = check_name(variable, "the environment variable UNROLLED_ENGINE")
        asked_by = f"UNROLLED_ENGINE={variable}"
    if wanted == "eager":
        return Engine("eager", "asked for by name")
    if wanted != "auto":
        if refusal := refusal_of(wanted, request):
            raise ValueError(f'{asked_by}: {refusal}; engine="auto" or "eager" runs it')
        return Engine(wanted, "asked for by name")
    refusals = []
    for name, reason in PREFERRED.items():
        refusal = refusal_of(name, request)
        if refusal is None:
            return Engine(name, reason.format(cell=request.cell.name))
        refusals.append(refusal)
    return Engine("eager", "; ".join(dict.fromkeys(refusals)))


PREFERRED = {
    "compiled": "kernels made of the equations of {cell} for this processor are the fastest that run this",
    "vendor": "torch.nn's own {cell} kernel is the fastest that runs this",
}
"""What "auto" tries, in order, and why that engine is taken. The eager engine runs what these refuse."""


def refusal_of(name: str, request: Request) -> str | None:
    """Why an engine cannot run a request, or None if it can."""
    refuses = {"compiled": compiled.refuses, "vendor": vendor.refuses}[name]
    return beyond_operators(request.program) or refuses(request)


def beyond_operators(program: Program) -> str | None:
    """Why only the eager engine, which calls the step itself, runs a cell; None if its program is complete."""
    opaque = program.opaque
    return f'cell "{program.cell}" uses {opaque}, so only the eager engine runs it' if opaque else None
