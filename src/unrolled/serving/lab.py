"""The lab: a fresh cell, timestep by timestep, and how far its gradient reaches. No trained model is needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field, field_validator

from unrolled.files import finite
from unrolled.nn.initialisers import NAMES as INITIALISERS
from unrolled.serving import diagrams, fresh
from unrolled.serving.bodies import Body, Frames
from unrolled.serving.refusals import wrong
from unrolled.serving.routes.common import PROBLEMS, DeskRoute, serving_of


class CellBody(Body):
    """A fresh cell: which, and how its weights start."""

    cell: str = Field("lstm", max_length=40)
    seed: int = Field(0, ge=0, lt=2**32)
    initialiser: str = Field("torch", max_length=20)
    forget_bias: float | None = Field(None, ge=-10, le=10, description="null: as the initialiser leaves it.")
    chrono: int = Field(0, ge=0, le=10_000, description="Units remember for 1 to so many timesteps; 0: as drawn.")


class StepsBody(CellBody):
    """A sequence to run the cell over."""

    hidden: int = Field(2, ge=1, le=16)
    inputs: Frames = Field(min_length=1, max_length=200, description="(T, I), I at most 16.")

    @field_validator("inputs")
    @classmethod
    def _as_wide(cls, inputs: list[list[float]]) -> list[list[float]]:
        widths = {len(row) for row in inputs}
        if len(widths) > 1 or not 1 <= min(widths) <= 16:
            raise ValueError("every timestep has equally many numbers, 1 to 16")
        if max(abs(number) for row in inputs for number in row) > 1e6:
            raise ValueError("a number is beyond 1,000,000")
        return inputs


class GradientsBody(CellBody):
    """How long a sequence and how large a cell."""

    hidden: int = Field(32, ge=1, le=64)
    length: int = Field(50, ge=2, le=200)


def lab_router() -> APIRouter:
    """GET /v1/lab/cells, POST /v1/lab/steps, POST /v1/lab/gradients."""
    router = APIRouter(prefix="/v1/lab", tags=["lab"], responses=PROBLEMS, route_class=DeskRoute)

    @router.get("/cells")
    async def cells() -> dict[str, Any]:
        """The cells that there are, each as a diagram; and the initialisers."""
        return {"cells": diagrams.every_cell(), "initialisers": list(INITIALISERS)}

    @router.post("/steps")
    async def steps(body: StepsBody, request: Request) -> dict[str, Any]:
        """Every number of every timestep: for each timestep and box its (H,) numbers."""
        return await _computed(request, partial(steps_of, body))

    @router.post("/gradients")
    async def gradients(body: GradientsBody, request: Request) -> dict[str, Any]:
        """‖∂L⟨T⟩/∂s⟨t⟩‖ of each state s, by the distance T - t."""
        return await _computed(request, partial(gradients_of, body))

    return router


async def _computed(request: Request, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = await serving_of(request).lab.run(work)
    return found


def steps_of(body: StepsBody) -> dict[str, Any]:
    """See `POST /v1/lab/steps`."""
    made = _made(body, len(body.inputs[0]), body.hidden)
    shown = [node["id"] for node in diagrams.diagram(made.cell)["nodes"]]
    steps = made.run(body.inputs)
    return {"steps": [{str(id): finite(values[id]) for id in shown} for values in steps]}


def gradients_of(body: GradientsBody) -> dict[str, Any]:
    """See `POST /v1/lab/gradients`."""
    made = _made(body, body.hidden, body.hidden)
    return {"curves": finite(made.gradient_by_distance(body.length, body.seed))}


def _made(body: CellBody, inputs: int, hidden: int) -> fresh.FreshCell:
    try:
        return fresh.FreshCell(
            body.cell, inputs, hidden, seed=body.seed, initialiser=body.initialiser, forget_bias=body.forget_bias,
            chrono=body.chrono,
        )  # fmt: skip
    except ValueError as error:
        raise wrong(str(error)) from None
