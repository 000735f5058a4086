"""Tensors come in, kernels run over them, tensors go out: one direction of a layer, forwards and backwards.

What a kernel works in is cut from one piece of memory, the arena. What the gradient needs of it (the states of every
timestep and the gates) is kept and handed to the backward pass. With checkpoints only the states before every k-th
timestep are kept; the rest is computed again, part by part, from the last to the first.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from unrolled.recurrence import memory, openmp
from unrolled.recurrence.kernels import backward, forward, machine, outer
from unrolled.recurrence.kernels.frame import masked_names
from unrolled.recurrence.kernels.target import host
from unrolled.recurrence.plan import Form
from unrolled.recurrence.request import PackedWeights
from unrolled.recurrence.schedule import Schedule, even_places, schedule_of

DTYPES = {torch.float32: "float32", torch.float64: "float64"}

PROJECTED_ROWS = 256
"""Rows of x (timesteps × batch) that are multiplied by the weights at once: their products stay in the cache."""

HOISTED_BATCH = 4
"""Up to this batch, x is multiplied ahead of the loop, so that the weights are read once for many timesteps."""

OWN_CACHE = 2**20
"""Bytes of weights from which a thread's own cache does not hold them all: x is then multiplied ahead, too."""

SHARED_WORK = 40_000
"""Multiplications in a level of a timestep from which a barrier between threads is worth its time."""

_compiling = threading.RLock()


class Kernels:
    """The kernels of one form, compiled when first needed and kept."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.lanes = host().lanes(form.dtype)
        self.states = range(len(form.program.states))
        self.own = tuple(value for value in form.operands if value >= form.program.first)
        self.forward_packs, self.backward_packs = forward.packs(form), backward.packs(form)

    @cached_property
    def forward(self) -> machine.Kernel:
        with _compiling:
            return forward.compiled(self.form)

    @cached_property
    def backward(self) -> machine.Kernel:
        with _compiling:
            return backward.compiled(self.form)

    @cached_property
    def sums(self) -> list[tuple[str, int, int, int]]:
        """Which rows of the kernel's sums are the gradient of which biases and vectors.

        Each is a parameter's name, the first of its blocks, the first row, and how many blocks and rows follow.
        """
        form, found = self.form, []
        keys = [(form.name(number), "bias") for number in form.biased if number in form.delta_of()]
        keys += [key for key in form.vectors if key in form.adjoint.vectors]
        for row, (gate, entry) in enumerate(keys):
            for name in (entry, "bias_hidden") if entry == "bias" else (entry,):
                block = form.layout.find(gate, name)
                if block is not None:
                    found.append((block.parameter, block.position, row))
        joined: list[tuple[str, int, int, int]] = []
        for parameter, position, row in sorted(found):
            if joined:
                name, first, first_row, count = joined[-1]
                if (name, first + count, first_row + count) == (parameter, position, row):
                    joined[-1] = (name, first, first_row, count + 1)
                    continue
            joined.append((parameter, position, row, 1))
        return joined

    def padded(self, hidden: int) -> int:
        """The hidden size, rounded up to whole vectors."""
        return -(-hidden // self.lanes) * self.lanes

    def arena_size(self, steps: int, batch: int, hidden: int) -> int:
        """How many numbers the buffers of `history` have together."""
        # Not the cached function: torch's compiler asks with symbols for numbers.
        return sum(_history.__wrapped__(self, steps, batch, self.padded(hidden)).values())


@lru_cache(maxsize=256)
def _history(kernels: Kernels, steps: int, batch: int, padded: int) -> dict[str, int]:
    """The buffers of states and of what is kept, and how many numbers each has."""
    form, plane = kernels.form, batch * padded
    slots = (steps + 1 if form.saving else 2) * plane
    sizes = {f"state_{state}": slots for state in kernels.states}
    sizes |= dict.fromkeys(masked_names(form), slots)
    sizes |= {f"inner_{value}": (steps if form.saving else 1) * plane for value in kernels.own}
    return sizes | {"saved": steps * plane * len(form.saved) if form.saving else 0}


def _empty(like: Tensor, *shape: int) -> Tensor:
    """What kernels write to: every tensor of theirs comes from here or from its neighbours, so that tests can guard
    them."""
    return memory.in_large_pages(like.new_empty(shape))


def _own(like: Tensor, size: int) -> Tensor:
    """What kernels work in that is kept outside."""
    return memory.on_a_large_page(like, size)[:size]


def _scratch(like: Tensor, purpose: str, *shape: int) -> Tensor:
    """What kernels work in and nobody sees: the same memory at every call."""
    return memory.scratch(like, purpose, *shape)


def _zeros(like: Tensor, *shape: int) -> Tensor:
    return like.new_zeros(shape)


def _addresses(arena: Tensor, sizes: Mapping[str, int]) -> dict[str, int]:
    """Where each buffer of an arena begins. All sizes are whole vectors, so every buffer is aligned as the first is."""
    place, found = arena.data_ptr(), {}
    for name, size in sizes.items():
        found[name] = place
        place += size * arena.element_size()
    return found


class Call:
    """One direction of a layer, to be run.

    Attributes:
        kernels: by whether they save, the kernels; `form` is what they are compiled for, apart from that.
        x: (T, B, I) vectors, or (T, B) ids. `vectors` is what the kernel reads x from: x itself, or for ids the
            weights' columns as rows, and a row of zeros.
        parameters: contiguous tensors, by the layout's names.
        states: the initial states, (B, H) each, in the user's order.
        mask, keep, lengths, reverse: see `Direction` and `Request`.
        checkpoint: how many timesteps lie between kept states; 0 keeps everything.
        packed: where packed weights are kept from call to call, or None.
        steps, batch, hidden, inputs, padded: T, B, H, I, and H rounded up to whole vectors.
        threads: as many as torch has, or 1 where a timestep's work is less than what a barrier costs.
    """

    def __init__(
        self, kernels: Mapping[bool, Kernels], x: Tensor, parameters: Mapping[str, Tensor], states: tuple[Tensor, ...],
        mask: Tensor | None, keep: Tensor | None, lengths: Tensor | None, reverse: bool, checkpoint: int = 0,
        packed: PackedWeights | None = None,
    ) -> None:  # fmt: skip
        self.kernels, self.form, self.x, self.parameters, self.states = (
            kernels,
            kernels[False].form,
            x,
            parameters,
            states,
        )
        self.mask, self.lengths, self.reverse = mask, lengths, reverse
        self.checkpoint, self.packed = checkpoint, packed
        self.steps, self.batch, self.hidden = x.shape[0], x.shape[1], states[0].shape[-1]
        self.inputs = parameters["weight_ih"].shape[1] if self.form.projected else x.shape[-1]
        self.padded = kernels[False].padded(self.hidden)
        self.schedule = schedule_of(self.steps, self.batch, lengths, reverse)
        self.sorted_mask = None if mask is None else self.schedule.sorted(mask)
        self.keep = None if keep is None else keep.contiguous()
        work = self.batch * self.hidden * self.hidden * len(self.form.affines)
        shared = work >= SHARED_WORK and self.padded > kernels[False].lanes
        self.threads = openmp.threads_for() if shared else 1

    @cached_property
    def vectors(self) -> Tensor:
        if not self.form.projected:
            return self.x if self.x.stride(-1) == 1 or self.x.shape[-1] == 1 else self.x.contiguous()
        if self.packed is not None and self.packed.columns is not None:
            return self.packed.columns
        columns = self.parameters["weight_ih"].t()
        columns = torch.cat([columns, columns.new_zeros(1, columns.shape[1])])
        if self.packed is not None:
            self.packed.columns = columns
        return columns

    def ids(self, schedule: Schedule) -> Tensor:
        """(N,) the id of every entry; that of the row of zeros for -1."""
        ids = self.x[schedule.time, schedule.row]
        return torch.where(ids < 0, self.inputs, ids)

    def x_places(self, schedule: Schedule) -> Tensor:
        if self.form.projected:
            return self.ids(schedule) * self.parameters["weight_ih"].shape[0]
        return self.places(schedule, self.vectors)

    def places(self, schedule: Schedule, value: Tensor) -> Tensor:
        """Where every entry's vector begins in a tensor (T, B, ...)."""
        if schedule is self.schedule and self.lengths is None:
            return even_places(self.steps, self.batch, self.reverse, value.stride(0), value.stride(1))
        return schedule.places(value.stride(0), value.stride(1))

    def common(self, schedule: Schedule, rows: Tensor, x_places: Tensor, reads_x: bool = True) -> dict[str, int]:
        """The arguments that both kernels take. `reads_x`: whether the kernel reads `vectors`."""
        values = {
            "steps": schedule.steps, "batch": self.batch, "hidden": self.hidden, "inputs": self.inputs,
            "counts": schedule.counts.data_ptr(), "first": schedule.first.data_ptr(),
            "entry": schedule.entry.data_ptr(), "exit": schedule.exit.data_ptr(), "rows": rows.data_ptr(),
            "x": self.vectors.data_ptr() if reads_x else 0, "xrows": x_places.data_ptr(),
            "mask": 0 if self.sorted_mask is None else self.sorted_mask.data_ptr(),
            "keep": 0 if self.keep is None else self.keep.data_ptr(),
        }  # fmt: skip
        return values | {f"parameter_{name}": value.data_ptr() for name, value in self.parameters.items()}

    def kept_size(self) -> int:
        """How many numbers the forward pass keeps for the gradient."""
        if self.checkpoint:
            return -(-self.steps // self.checkpoint) * len(self.states) * self.batch * self.hidden
        return sum(_history(self.kernels[True], self.steps, self.batch, self.padded).values())

    def parts(self) -> list[Schedule]:
        """The schedules that are run one after the other: one, or with checkpoints several."""
        if not self.checkpoint:
            return [self.schedule]
        starts = range(0, self.steps, self.checkpoint)
        return [self.schedule.part(start, min(start + self.checkpoint, self.steps)) for start in starts]


# -- forwards


def run_forward(call: Call, saving: bool) -> list[Tensor]:
    """The output (T, B, H), final states, what is observed (T, B, H) each, and if saving, what the gradient needs."""
    schedule, like = call.schedule, call.states[0]
    shape = (call.steps, call.batch, call.hidden)
    y = _zeros(like, *shape) if schedule.ragged else _empty(like, *shape)
    seen = _empty(like, call.steps, call.batch, len(call.form.seen), call.padded)
    states = tuple(schedule.sorted(state) for state in call.states)
    whole = not (saving and call.checkpoint)
    kept = []
    place = 0
    for part in [schedule] if whole else call.parts():
        kept += [] if whole else list(states)
        states, arena = _forward_part(call, part, states, saving and whole, y, seen[place : place + part.steps])
        place += part.steps
    finals = [schedule.restored(state) for state in states]
    observed = [_observed(call, seen[:, :, number, : call.hidden]) for number in range(len(call.form.seen))]
    keeping = [arena if whole else torch.stack(kept)] if saving else []
    return [y, *finals, *observed, *keeping]


def _observed(call: Call, values: Tensor) -> Tensor:
    """(T, B, H) from the order of running to the user's, zero past each sequence's end."""
    schedule = call.schedule
    if not schedule.ragged and not call.reverse:
        return values.contiguous()
    result = values.new_zeros(values.shape)
    result[schedule.time, schedule.row] = values.flatten(0, 1)[schedule.inner]
    return result


def _forward_part(
    call: Call, schedule: Schedule, states: Sequence[Tensor], saving: bool, y: Tensor | None, seen: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Run some timesteps; `y` None: outputs are there already. Returns the states after them, and the arena."""
    finals = tuple(_empty(state, *state.shape) for state in states)
    prepared = prepare_forward(call, schedule, states, finals, saving, y, seen)
    call.kernels[saving].forward(prepared.arguments, call.threads)
    if call.packed is not None:
        call.packed.weights.setdefault(id(call.kernels[saving]), prepared.weights)
    return finals, prepared.arena


@dataclass(frozen=True, eq=False)
class Prepared:
    """A forward kernel's arguments, and the memory that they point to.

    Attributes:
        arguments: by name.
        arena: states and what the gradient needs.
        weights: packed weights.
        x_places: where the vector of every entry begins.
        others: tensors that must live as long as the arguments.
    """

    arguments: dict[str, int]
    arena: Tensor
    weights: Tensor
    x_places: Tensor
    others: tuple[Tensor, ...]


def prepare_forward(
    call: Call, schedule: Schedule, states: Sequence[Tensor], finals: Sequence[Tensor], saving: bool,
    y: Tensor | None, seen: Tensor,
) -> Prepared:  # fmt: skip
    """The arguments of the forward kernel for some timesteps."""
    kernels, like = call.kernels[saving], states[0]
    form, batch = kernels.form, call.batch
    rows, x_places = call.places(schedule, _strided(batch)), call.x_places(schedule)
    history = _history(kernels, schedule.steps, batch, call.padded)
    size = sum(history.values())
    # What leaves the operator is the same every time, also where shorter rows leave holes.
    fresh = _zeros if schedule.ragged else _empty
    arena = fresh(like, size) if saving else _room(call, "states", size)
    packed_sizes = _packed_sizes(kernels, call.hidden, call.inputs)
    weights = None if call.packed is None else call.packed.weights.get(id(kernels))
    pack = weights is None
    if weights is None:
        weights = _room(call, "weights", sum(packed_sizes.values()))
    weights_each = sum(packed_sizes.values()) * like.element_size() // call.threads
    hoisted = form.projected or batch <= HOISTED_BATCH or weights_each > OWN_CACHE
    chunk, sizes = _forward_sizes(kernels, schedule.steps, batch, call.padded, hoisted)
    work = _room(call, "forward", sum(sizes.values()))
    arguments = call.common(schedule, rows, x_places) | _addresses(arena, history) | _addresses(work, sizes)
    arguments |= _addresses(weights, packed_sizes)
    arguments |= {"chunk": chunk, "hoist": int(hoisted), "pack": int(pack), "seen": seen.data_ptr()}
    arguments |= (
        {"y_stride": 0, "y": arguments["nowhere"]} if y is None else {"y_stride": call.hidden, "y": y.data_ptr()}
    )
    arguments |= {f"init_{number}": state.data_ptr() for number, state in enumerate(states)}
    arguments |= {f"final_{number}": state.data_ptr() for number, state in enumerate(finals)}
    return Prepared(arguments, arena, weights, x_places, (work, rows, seen, *states, *finals))


def _room(call: Call, purpose: str, size: int) -> Tensor:
    """What the forward kernel works in. Packed weights outlast the call, and so may the prepared kernel of a step."""
    like = call.states[0]
    return _scratch(like, purpose, size) if call.packed is None else _own(like, size)


@lru_cache(maxsize=256)
def _forward_sizes(kernels: Kernels, steps: int, batch: int, padded: int, hoisted: bool) -> tuple[int, dict[str, int]]:
    """How many timesteps of x are multiplied at once, and the sizes of what that and the levels take."""
    form, chunk = kernels.form, max(1, min(steps, PROJECTED_ROWS // max(batch, 1)))
    return chunk, {
        "xbuffer": padded * chunk * batch * len(form.on_input) if hoisted else 0,
        "between": batch * padded * len(form.forward.crossing),
        "nowhere": padded,
    }


@lru_cache(maxsize=256)
def _packed_sizes(kernels: Kernels, hidden: int, inputs: int) -> dict[str, int]:
    """How many numbers the biases and each stretch of packed weights have; weights half as wide take half as many."""
    form, width = kernels.form, 2 if kernels.form.half_weights else 1
    return {"bias": kernels.padded(hidden) * max(1, len(form.affines))} | {
        packed.name: packed.size(hidden, hidden if packed.operand else inputs, kernels.lanes) // width
        for packed in kernels.forward_packs
    }


@lru_cache(maxsize=32)
def _strided(batch: int) -> Tensor:
    """A tensor (T, B) whose places are the numbers of rows."""
    return torch.empty(0, device="cpu").as_strided((0, batch), (batch, 1))


# -- backwards


@dataclass
class Gradients:
    """What the backward pass finds.

    Attributes:
        x: (T, B, I), or None.
        parameters: by name; each like the parameter.
        states: of the initial states, (B, H) each.
    """

    x: Tensor | None
    parameters: dict[str, Tensor]
    states: tuple[Tensor, ...]


def run_backward(
    call: Call,
    dy: Tensor,
    dfinals: Sequence[Tensor],
    dseen: Sequence[Tensor],
    kept: Tensor,
    want_x: bool,
    want_weights: bool,
) -> Gradients:
    """The gradient of everything, from that of the output (T, B, H), the final states and what was observed."""
    schedule, form = call.schedule, call.kernels[True].form
    want_x = want_x and not form.projected
    dx = None
    if want_x or form.adjoint.x is not None:
        dx = _zeros(call.states[0], call.steps, call.batch, call.inputs)
    found = Gradients(
        dx,
        {name: _zeros(value, *value.shape) for name, value in call.parameters.items()} if want_weights else {},
        tuple(schedule.sorted(value) for value in dfinals),
    )
    dy = dy if dy.stride(-1) == 1 or call.hidden == 1 else dy.contiguous()
    dseen = [value.contiguous() for value in dseen]
    if not call.checkpoint:
        _backward_part(call, schedule, kept, dy, dseen, found, want_x)
    else:
        parts = call.parts()
        boundaries = kept.view(len(parts), len(call.states), call.batch, call.hidden)
        for number in reversed(range(len(parts))):
            part = parts[number]
            seen = _empty(dy, part.steps, call.batch, len(form.seen), call.padded)
            _, arena = _forward_part(call, part, boundaries[number].unbind(0), True, None, seen)
            _backward_part(call, part, arena, dy, dseen, found, want_x)
    found.states = tuple(schedule.restored(value) for value in found.states)
    return found


def _backward_part(
    call: Call, schedule: Schedule, arena: Tensor, dy: Tensor, dseen: Sequence[Tensor], found: Gradients, want_x: bool
) -> None:
    """Go back through some timesteps: adds to the gradients of x and weights, replaces those of the states."""
    kernels, like = call.kernels[True], call.states[0]
    form, lanes, padded, batch = kernels.form, kernels.lanes, call.padded, call.batch
    rows, x_places = call.places(schedule, _strided(batch)), call.x_places(schedule)
    dy_places = call.places(schedule, dy)
    planes, sums = len(form.delta_of()), backward.sums_of(form)
    want_weights, threads = bool(found.parameters), call.threads
    stride = outer.scratch_size(call.hidden, max(call.hidden, call.inputs), lanes) if want_weights else 0
    sizes = _backward_sizes(kernels, batch, call.hidden, call.inputs, threads * stride)
    work = _scratch(like, "backward", sum(sizes.values()))
    delta = _scratch(like, "delta", schedule.steps, batch, planes, padded)
    totals = _empty(like, len(sums), padded)
    dinit = tuple(_empty(value, *value.shape) for value in found.states)
    history = _history(kernels, schedule.steps, batch, padded)
    arguments = call.common(schedule, rows, x_places, not form.projected)
    arguments |= _addresses(arena, history) | _addresses(work, sizes)
    arguments |= {
        "pack": 1, "nonempty": schedule.nonempty, "active": schedule.active, "inner": schedule.inner.data_ptr(),
        "dy": dy.data_ptr(), "dyrows": dy_places.data_ptr(), "delta": delta.data_ptr(), "sums": totals.data_ptr(),
        "scratch_stride": stride,
        "dx": 0 if found.x is None else found.x.data_ptr(), "want_dx": int(want_x), "want_weights": int(want_weights),
    }  # fmt: skip
    arguments |= {
        f"gradient_{name}": found.parameters[name].data_ptr() if name in found.parameters else 0
        for name in ("weight_ih", "weight_hh")
    }
    arguments |= {f"dinit_{number}": value.data_ptr() for number, value in enumerate(dinit)}
    arguments |= {f"dfinal_{number}": value.data_ptr() for number, value in enumerate(found.states)}
    arguments |= {f"dseen_{number}": value.data_ptr() for number, value in enumerate(dseen)}
    kernels.backward(arguments, threads)
    found.states = dinit
    if want_weights:
        _add_sums(kernels, found.parameters, totals[:, : call.hidden])
        if form.projected:
            _add_columns(call, schedule, delta, found.parameters["weight_ih"])


@lru_cache(maxsize=256)
def _backward_sizes(kernels: Kernels, batch: int, hidden: int, inputs: int, scratch: int) -> dict[str, int]:
    plane, form = batch * kernels.padded(hidden), kernels.form
    sizes = {"between": plane * len(form.backward.crossing), "scratch": scratch}
    sizes |= {f"carry_{state}": 2 * plane for state in kernels.states}
    return sizes | {
        packed.name: packed.size(hidden if packed.operand else inputs, hidden, kernels.lanes)
        for packed in kernels.backward_packs
    }


def _add_sums(kernels: Kernels, parameters: Mapping[str, Tensor], totals: Tensor) -> None:
    """The gradients of biases and vectors."""
    hidden = totals.shape[1]
    for name, block, row, count in kernels.sums:
        parameters[name].view(-1, hidden)[block : block + count].add_(totals[row : row + count])


def _add_columns(call: Call, schedule: Schedule, delta: Tensor, gradient: Tensor) -> None:
    """The gradient of the weights on one-hot vectors: δ of every timestep, added to the column of its symbol."""
    form = call.kernels[True].form
    planes = form.delta_of()
    lines = delta.flatten(0, 1)[schedule.inner]
    none = lines.new_zeros(lines.shape[0], call.hidden)
    columns = [lines[:, planes[affine], : call.hidden] if affine in planes else none for affine in form.on_input]
    ids = call.ids(schedule)
    summed = torch.ops.aten.embedding_dense_backward(torch.cat(columns, 1), ids, call.inputs + 1, -1, False)
    gradient.add_(summed[: call.inputs].t())
