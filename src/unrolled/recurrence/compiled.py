"""The compiled engine: kernels derived from a cell's equations, forwards and backwards, on the CPU.

Tensors that are plain memory go straight to the kernels. Where torch records or replaces tensors (`gate.direct`), the
same work is an operator, see `operator.py`; inside torch.func it is an autograd Function, see `differentiable.py`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.recurrence import gate
from unrolled.recurrence.calls import Options, make_call
from unrolled.recurrence.differentiable import Differentiable
from unrolled.recurrence.native import DTYPES, Call, run_forward
from unrolled.recurrence.operator import recurrence
from unrolled.recurrence.plan import beyond_kernels
from unrolled.recurrence.request import Answer, Direction, Request


def refuses(request: Request) -> str | None:
    """Why this engine cannot run the request, or None if it can."""
    x, dtype, mixed = request.x, type_of(request), torch.is_autocast_enabled("cpu")
    if reason := beyond_kernels(request.program):
        return reason
    for way in request.directions:
        for tensor in (x, *way.parameters.values(), *way.states):
            if tensor.device.type != "cpu":
                return "compiled kernels run on the CPU"
            if tensor.layout is not torch.strided:
                return f"compiled kernels take dense tensors, not {tensor.layout}"
        if any(value.dtype is not dtype for value in way.parameters.values()):
            return "compiled kernels compute in one type, and the weights have several"
        if any(state.dtype is not dtype for state in way.states):
            return f"the state is {way.states[0].dtype}, and the weights are {dtype}"
    if dtype not in DTYPES and not _widens(request):
        return f"compiled kernels compute in float32 or float64, not {dtype}"
    if x.dtype is not dtype and x.is_floating_point() and not mixed:
        return f"x is {x.dtype}, and the weights are {dtype}"
    if dtype is not torch.float32 and has_half_weights(request):
        return 'weights="bfloat16" is for layers of float32'
    if gate.forward_mode():
        return "compiled kernels have no forward-mode derivatives"
    if not torch.compiler.is_compiling() and gate.functionalized():
        return "compiled kernels are not seen by torch.func.functionalize"
    if not gate.traced() and not x.shape[1]:
        return "the batch is empty"
    return None


def _widens(request: Request) -> bool:
    """Whether a layer in half precision is computed in float32: in graphs, where torch's kernels for it often fail."""
    return torch.compiler.is_compiling() and type_of(request) in (torch.bfloat16, torch.float16)


def _widened(request: Request) -> Request:
    ways = tuple(
        Direction(
            {name: value.float() for name, value in way.parameters.items()},
            tuple(state.float() for state in way.states),
            way.reverse,
            None if way.mask is None else way.mask.float(),
            None if way.keep is None else way.keep.float(),
        )
        for way in request.directions
    )
    x = request.x.float() if request.x.is_floating_point() else request.x
    return replace(request, x=x, directions=ways)


def run(request: Request) -> Answer:
    """Run one layer."""
    if _widens(request):
        dtype, wide = type_of(request), run(_widened(request))
        after = tuple(tuple(state.to(dtype) for state in way) for way in wide.states)
        seen = tuple({name: value.to(dtype) for name, value in way.items()} for way in wide.seen)
        return Answer(wide.output.to(dtype), after, seen)
    x, answer_type = _input(request), _output_type(request)
    ways = [_run_direction(request, direction, x) for direction in request.directions]
    states = len(request.program.states)
    outputs = [way[0] for way in ways]
    output = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
    names = (*request.program.observed, *request.program.states)
    seen = tuple(dict(zip(names, way[1 + states :], strict=False)) for way in ways) if request.observe else ()
    return Answer(output.to(answer_type), tuple(tuple(way[1 : 1 + states]) for way in ways), seen)


def type_of(request: Request) -> torch.dtype:
    """The type that a layer computes in: that of its weights, or of its state if it has none."""
    direction = request.directions[0]
    return next(iter((*direction.parameters.values(), direction.states[0]))).dtype


def has_half_weights(request: Request) -> bool:
    """Whether weights are to be stored half as wide, which no other engine does."""
    return any(way.packed is not None and way.packed.half for way in request.directions)


def _input(request: Request) -> Tensor:
    """x as kernels take it: numbers of the states' type, or ids of one-hot vectors."""
    x, dtype = request.x, type_of(request)
    if x.is_floating_point():
        return x.to(dtype)
    if not request.program.pointwise_input:
        return x
    inputs = request.directions[0].states[0].shape[-1]
    return functional.one_hot(x.clamp(min=0), inputs).to(dtype) * (x >= 0).unsqueeze(-1)


def _output_type(request: Request) -> torch.dtype:
    dtype = type_of(request)
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") and dtype == torch.float32 else dtype


def _run_direction(request: Request, direction: Direction, x: Tensor) -> list[Tensor]:
    """The output, the final states and what is observed."""
    parameters = [direction.parameters[name] for name in request.layout.parameters]
    states, extra = direction.states, _extra(request, direction)
    tensors = (x, *extra, *parameters, *states)
    transformed, direct = gate.transformed(), gate.direct(tensors)
    # A trace is checked without gradients, and would have another graph then: it keeps nothing, see `operator`.
    needs = (
        torch.is_grad_enabled()
        and not gate.traced()
        and any(value.requires_grad for value in (x, *parameters, *states))
    )
    half = direction.packed is not None and direction.packed.half
    if half and (needs or not direct):
        raise ValueError('weights="bfloat16" is for inference: use torch.no_grad()')
    options = Options(request.key, direction.reverse, request.observe, steps_between(request) if needs else 0)
    if direct and not needs:
        return run_forward(make_call(options, x, *extra, parameters, states, direction.packed, known=True), False)
    if (direct and not gate.saving_is_hooked()) or (transformed and not torch.compiler.is_compiling()):
        return list(Differentiable.apply(options, len(parameters), *tensors)[:-1])  # type: ignore[no-untyped-call]
    inputs = (request.key, x, parameters, states, *extra, direction.reverse, request.observe)
    results: list[Tensor] = recurrence(*inputs, needs, options.checkpoint)
    return results[:-1] if needs else results


def _extra(request: Request, direction: Direction) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return direction.mask, direction.keep, request.lengths


def steps_between(request: Request) -> int:
    """How many timesteps lie between kept states: 0 keeps all; asked for without a number, the root of T."""
    wanted, steps = request.checkpoint, request.x.shape[0]
    return max(1, round(math.sqrt(steps))) if wanted is True else int(wanted)


def call_of(request: Request) -> Call:
    """A request of one direction that needs no gradient, as a call of its kernel."""
    (direction,) = request.directions
    parameters = [direction.parameters[name].detach() for name in request.layout.parameters]
    options = Options(request.key, direction.reverse, request.observe, 0)
    extra = _extra(request, direction)
    return make_call(options, request.x, *extra, parameters, direction.states, direction.packed)
