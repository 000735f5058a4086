"""The compiled engine: kernels derived from a cell's equations, forwards and backwards, on the CPU.

To torch it is one operator a layer and direction, `unrolled::recurrence`, with a backward of its own. Second
derivatives come from the eager engine: a backward pass that is itself to be differentiated runs the cell there again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.cells.cell import Cell
from unrolled.recurrence import eager
from unrolled.recurrence.layout import Layout
from unrolled.recurrence.native import DTYPES, Call, Kernels, run_backward, run_forward
from unrolled.recurrence.plan import Form, beyond_kernels
from unrolled.recurrence.program import Program
from unrolled.recurrence.request import Answer, Direction, PackedWeights, Request


@dataclass(frozen=True)
class Recurrence:
    """What a key stands for: one cell's equations and the place of its parameters."""

    cell: Cell
    program: Program
    layout: Layout

    @property
    def seen(self) -> tuple[str, ...]:
        """Everything that can be observed: gates and named values, then states."""
        return (*self.program.observed, *self.program.states)


_keys: dict[tuple[int, int], str] = {}
_recurrences: dict[str, Recurrence] = {}
_kernels: dict[tuple[Any, ...], Kernels] = {}


def key_of(request: Request) -> str:
    """A name for a request's equations and layout; torch's operators take no other objects than numbers and texts."""
    identity = id(request.program), id(request.layout)
    if identity not in _keys:
        text = repr((request.program, request.layout))
        key = f"{request.cell.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        _recurrences.setdefault(key, Recurrence(request.cell, request.program, request.layout))
        # the key lives as long as the two objects whose identity it is found by
        _recurrences[f"{key}-{len(_keys)}"] = Recurrence(request.cell, request.program, request.layout)
        _keys[identity] = key
    return _keys[identity]


def kernels_of(key: str, dtype: torch.dtype, *options: Any) -> Kernels:
    """The kernels of a form; `options` are saving, observing, masked, zoneout, projected, half-wide weights."""
    found = _kernels.get((key, dtype, options))
    if found is None:
        saving, observing, masked, zoneout, projected, half = options
        recurrence = _recurrences[key]
        seen = recurrence.seen if observing else ()
        form = Form(
            recurrence.program, recurrence.layout, DTYPES[dtype], saving, seen, masked, zoneout, projected, half
        )
        found = _kernels.setdefault((key, dtype, options), Kernels(form))
    return found


# -- the engine


def refuses(request: Request) -> str | None:
    """Why this engine cannot run the request, or None if it can."""
    x, dtype, mixed = request.x, type_of(request), torch.is_autocast_enabled("cpu")
    if reason := beyond_kernels(request.program):
        return reason
    for way in request.directions:
        for tensor in (x, *way.parameters.values(), *way.states):
            if tensor.device.type != "cpu":
                return "compiled kernels run on the CPU"
        if any(value.dtype is not dtype for value in way.parameters.values()):
            return "compiled kernels compute in one type, and the weights have several"
        if not mixed and any(state.dtype is not dtype for state in way.states):
            return f"the state is {way.states[0].dtype}, and the weights are {dtype}"
    if dtype not in DTYPES:
        return f"compiled kernels compute in float32 or float64, not {dtype}"
    if x.dtype is not dtype and x.is_floating_point() and not mixed:
        return f"x is {x.dtype}, and the weights are {dtype}"
    if dtype is not torch.float32 and has_half_weights(request):
        return 'weights="bfloat16" is for layers of float32'
    if not x.shape[1]:
        return "the batch is empty"
    return None


def run(request: Request) -> Answer:
    """Run one layer."""
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
    parameters = [direction.parameters[name] for name in request.layout.parameters]
    # Under autocast the state may come in half precision, as x does; what is computed with and carried is not.
    states, lengths = [state.to(type_of(request)) for state in direction.states], request.lengths
    key = key_of(request)
    checkpoint = steps_between(request)
    rest = (direction.mask, direction.keep, lengths, direction.reverse, request.observe)
    needs = torch.is_grad_enabled() and any(value.requires_grad for value in (x, *parameters, *states))
    if not needs and type(x) is Tensor and not _is_traced():
        call = _call(key, x, parameters, states, *rest, 0, direction.packed)
        return run_forward(call, False)
    if direction.packed is not None and direction.packed.half:
        raise ValueError('weights="bfloat16" is for inference: use torch.no_grad()')
    if needs and not _is_traced():
        make = partial(_call, key, x, parameters, states, *rest, checkpoint)
        return list(_Differentiable.apply(key, make, x, len(parameters), *parameters, *states))  # type: ignore[no-untyped-call]
    results: list[Tensor] = recurrence(key, x, parameters, states, *rest, needs, checkpoint if needs else 0)
    return results


def steps_between(request: Request) -> int:
    """How many timesteps lie between kept states: 0 keeps all; asked for without a number, the root of T."""
    wanted, steps = request.checkpoint, request.x.shape[0]
    return max(1, round(math.sqrt(steps))) if wanted is True else int(wanted)


def _is_traced() -> bool:
    """Whether torch records operators now instead of only running them: torch.compile, functorch."""
    return torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None


# -- the operator


def call_of(request: Request) -> Call:
    """A request of one direction that needs no gradient, as a call of its kernel."""
    (direction,) = request.directions
    parameters = [direction.parameters[name] for name in request.layout.parameters]
    rest = (direction.mask, direction.keep, request.lengths, direction.reverse, request.observe)
    return _call(key_of(request), request.x, parameters, direction.states, *rest, 0, direction.packed)


def _call(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, checkpoint: int,
    packed: PackedWeights | None = None,
) -> Call:  # fmt: skip
    names = _recurrences[key].layout.parameters
    half = packed is not None and packed.half
    options = (observe, mask is not None, keep is not None, not x.is_floating_point(), half)
    kernels = {saving: kernels_of(key, states[0].dtype, saving, *options) for saving in (False, True)}
    contiguous = {name: value.contiguous() for name, value in zip(names, parameters, strict=True)}
    return Call(kernels, x, contiguous, tuple(states), mask, keep, lengths, reverse, checkpoint, packed)


def _forward(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, saving: bool, checkpoint: int,
) -> list[Tensor]:  # fmt: skip
    return run_forward(_call(key, x, parameters, states, mask, keep, lengths, reverse, observe, checkpoint), saving)


# Not torch.library.custom_op: its first call imports torch's compiler, which takes longer than compiling our kernels.
_library: Any = torch.library.Library("unrolled", "DEF")  # type: ignore[no-untyped-call]
_INPUTS = (
    "str key, Tensor x, Tensor[] parameters, Tensor[] states, Tensor? mask, Tensor? keep, Tensor? lengths, "
    "bool reverse, bool observe"
)
_library.define(f"recurrence({_INPUTS}, bool saving, int checkpoint) -> Tensor[]")
_library.define(
    f"recurrence_backward({_INPUTS}, int checkpoint, Tensor kept, Tensor[] gradients, bool want_x, bool want_weights)"
    " -> Tensor[]"
)
recurrence = torch.ops.unrolled.recurrence.default
"""One direction of a layer over whole sequences.

Returns the output (T, B, H), the final states (B, H), if observing every gate and state (T, B, H), and if saving, what
the backward pass needs: one tensor of no meaning to others.
"""
recurrence_backward = torch.ops.unrolled.recurrence_backward.default
"""The gradient of x (if wanted), the parameters (if wanted) and the initial states."""

_library.impl("recurrence", _forward, "CPU")


def _fake(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, saving: bool, checkpoint: int,
) -> list[Tensor]:  # fmt: skip
    steps, batch, hidden = x.shape[0], x.shape[1], states[0].shape[-1]
    seen = len(_recurrences[key].seen) if observe else 0
    results = [x.new_empty((steps, batch, hidden), dtype=states[0].dtype)]
    results += [state.new_empty((batch, hidden)) for state in states]
    results += [torch.empty_like(results[0]) for _ in range(seen)]
    if saving and checkpoint:
        parts = -(-steps // checkpoint)
        results.append(states[0].new_empty((parts * len(states), batch, hidden)))
    elif saving:
        kinds = (True, observe, mask is not None, keep is not None, not x.is_floating_point(), False)
        kernels = kernels_of(key, states[0].dtype, *kinds)
        results.append(states[0].new_empty(kernels.arena_size(steps, batch, hidden)))
    return results


def _run_backward(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, checkpoint: int, kept: Tensor,
    gradients: Sequence[Tensor], want_x: bool, want_weights: bool,
) -> list[Tensor]:  # fmt: skip
    call = _call(key, x, parameters, states, mask, keep, lengths, reverse, observe, checkpoint)
    count = len(states)
    dy, dfinals, dseen = gradients[0], gradients[1 : 1 + count], gradients[1 + count :]
    found = run_backward(call, dy, dfinals, dseen, kept, want_x, want_weights)
    x_part = [found.x if found.x is not None else torch.zeros_like(x)] if want_x else []
    return [*x_part, *found.parameters.values(), *found.states]


_library.impl("recurrence_backward", _run_backward, "CPU")


def _fake_backward(
    key: str, x: Tensor, parameters: Sequence[Tensor], states: Sequence[Tensor], mask: Tensor | None,
    keep: Tensor | None, lengths: Tensor | None, reverse: bool, observe: bool, checkpoint: int, kept: Tensor,
    gradients: Sequence[Tensor], want_x: bool, want_weights: bool,
) -> list[Tensor]:  # fmt: skip
    x_part = [x.new_empty(x.shape)] if want_x else []
    found = [value.new_empty(value.shape) for value in parameters] if want_weights else []
    return [*x_part, *found, *(state.new_empty(state.shape) for state in states)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    key, x, parameters, states, mask, keep, lengths, reverse, observe, _, checkpoint = inputs
    kept = output[-1]
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(kept)
    ctx.save_for_backward(x, *parameters, *states, mask, keep, lengths, kept)
    ctx.counts = len(parameters), len(states)
    ctx.options = key, reverse, observe, checkpoint
    ctx.shape = output[0].shape


def _backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    key, reverse, observe, checkpoint = ctx.options
    weights, count = ctx.counts
    x, *saved = ctx.saved_tensors
    parameters, states = saved[:weights], saved[weights : weights + count]
    mask, keep, lengths, kept = saved[weights + count :]
    given = _given(gradients[:-1], states, ctx.shape)
    want_x = x.requires_grad
    want_weights = any(value.requires_grad for value in parameters)
    rest = (mask, keep, lengths, reverse, observe)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        found = _eager_gradients(key, x, parameters, states, *rest, given)
    else:
        found = recurrence_backward(key, x, parameters, states, *rest, checkpoint, kept, given, want_x, want_weights)
        dx = [found.pop(0)] if want_x else [None]
        dweights = [found.pop(0) for _ in parameters] if want_weights else [None] * weights
        found = [*dx, *dweights, *found]
    return None, found[0], found[1 : 1 + weights], found[1 + weights :], *[None] * 7


class _Differentiable(torch.autograd.Function):
    """The operator without torch's dispatcher on the way: for small layers that takes longer than the kernels."""

    @staticmethod
    def forward(
        ctx: Any, key: str, make: Callable[[], Call], x: Tensor, weights: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        call = make()
        *results, kept = run_forward(call, True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *tensors, kept)
        ctx.key, ctx.call, ctx.weights = key, call, weights
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        call, (x, *tensors, kept) = ctx.call, ctx.saved_tensors
        parameters, states = tensors[: ctx.weights], tensors[ctx.weights :]
        given = _given(gradients, states, (call.steps, call.batch, call.hidden))
        if torch.is_grad_enabled():
            observe = bool(call.form.seen)
            rest = (call.mask, call.keep, call.lengths, call.reverse, observe, given)
            return None, None, *_with_count(_eager_gradients(ctx.key, x, parameters, states, *rest))
        want_x, want_weights = ctx.needs_input_grad[2], any(ctx.needs_input_grad[4 : 4 + ctx.weights])
        dfinals, dseen = given[1 : 1 + len(states)], given[1 + len(states) :]
        found = run_backward(call, given[0], dfinals, dseen, kept, want_x, want_weights)
        dx = (found.x if found.x is not None else torch.zeros_like(x)) if want_x else None
        dweights = found.parameters.values() if want_weights else [None] * ctx.weights
        return None, None, *_with_count([dx, *dweights, *found.states])


def _with_count(gradients: list[Tensor | None]) -> list[Tensor | None]:
    """The gradients in the order of the arguments of `_Differentiable`: after x comes a number, which has none."""
    return [gradients[0], None, *gradients[1:]]


def _given(gradients: Sequence[Tensor | None], states: Sequence[Tensor], shape: Sequence[int]) -> list[Tensor]:
    """The gradients of the output, the final states and what was observed: where none arrives, zeros of one vector."""
    like = states[0]
    shapes = [shape, *(state.shape for state in states), *[shape] * (len(gradients) - 1 - len(states))]
    return [
        like.new_zeros(wanted[-1]).expand(wanted) if value is None else value
        for value, wanted in zip(gradients, shapes, strict=True)
    ]


def _eager_gradients(
    key: str, x: Tensor, parameters: list[Tensor], states: list[Tensor], mask: Tensor | None, keep: Tensor | None,
    lengths: Tensor | None, reverse: bool, observe: bool, gradients: list[Tensor],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients as the eager engine finds them: they can be differentiated again."""
    known = _recurrences[key]
    named = dict(zip(known.layout.parameters, parameters, strict=True))
    direction = Direction(named, tuple(states), reverse, mask, keep)
    answer = eager.run(Request(known.cell, known.program, known.layout, x, (direction,), lengths, observe))
    seen = [answer.seen[0][name] for name in known.seen] if observe else []
    pairs = zip([answer.output, *answer.states[0], *seen], gradients, strict=True)
    outputs, given = zip(*((value, gradient) for value, gradient in pairs if value.requires_grad), strict=True)
    inputs = [x, *parameters, *states]
    wanted = [value for value in inputs if value.requires_grad]
    found = iter(torch.autograd.grad(outputs, wanted, given, create_graph=True, allow_unused=True))
    return [next(found) if value.requires_grad else None for value in inputs]


torch.library.register_fake("unrolled::recurrence", _fake, lib=_library)
torch.library.register_fake("unrolled::recurrence_backward", _fake_backward, lib=_library)
torch.library.register_autograd("unrolled::recurrence", _backward, setup_context=_setup, lib=_library)
