"""One timestep at a time, with weights that are promised to stay: in comes x⟨t⟩, a vector or a symbol's id, out come
the states after it.

Everything but the addresses of x and of the states is prepared once, so that a step costs little more than its kernel.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.recurrence.compiled import call_of
from unrolled.recurrence.gate import direct
from unrolled.recurrence.native import Call, prepare_forward, run_forward
from unrolled.recurrence.request import Request


class Stepper:
    """One timestep of a whole stack of layers in one direction.

    Another thread that comes while one is inside is sent the long way: the buffers are there once.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        """`requests`: one for each layer, of one timestep."""
        calls = [call_of(request) for request in requests]
        first = calls[0]
        self._lock = threading.Lock()
        self._symbols = first.inputs if first.form.projected else 0
        self._x_shape = torch.Size((first.batch,) if self._symbols else (first.batch, first.inputs))
        self._dtype = first.states[0].dtype
        self._shape = torch.Size((len(calls), first.batch, first.hidden))
        self._bytes = first.batch * first.hidden * first.states[0].element_size()
        self._layers = [_Layer(call) for call in calls]

    def __call__(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """The states after one timestep, (layers, B, H) each; None where this is not what was prepared."""
        dtype, given = self._dtype, (x, *states)
        if x.shape != self._x_shape or (x.dtype is not dtype and not self._symbols) or not direct(given):
            return None
        if any(state.shape != self._shape or state.dtype is not dtype for state in states):
            return None
        if not all(map(_is_memory, given)):
            return None
        ids = x.tolist() if self._symbols else []
        if ids and not -1 <= min(ids) <= max(ids) < self._symbols:
            return None  # the long way says what is wrong
        if not self._lock.acquire(False):
            return None
        try:
            after = tuple([torch.empty(self._shape, dtype=dtype, device="cpu") for _ in states])
            source, before, behind = x.data_ptr(), [s.data_ptr() for s in states], [s.data_ptr() for s in after]
            if ids:
                source = self._layers[0].look_up(ids)
            for number, layer in enumerate(self._layers):
                offset = number * self._bytes
                layer(source, before, behind, offset)
                source = behind[0] + offset
            return after
        finally:
            self._lock.release()


def _is_memory(value: Tensor) -> bool:
    """Whether a tensor's numbers lie side by side at its address."""
    return value.is_contiguous() and value.is_cpu and not value.is_neg() and value.data_ptr() % value.itemsize == 0


class _Layer:
    """The prepared kernel of one layer."""

    def __init__(self, call: Call) -> None:
        run_forward(call, False)  # packs the weights
        kernels = call.kernels[False]
        finals = tuple(torch.empty_like(state) for state in call.states)
        y, seen = torch.empty_like(finals[0]), finals[0].new_empty(0)
        prepared = prepare_forward(call, call.schedule, call.states, finals, False, y, seen)
        place, states = kernels.forward.place, range(len(finals))
        self._kept = (call, prepared, y)
        self._values = kernels.forward.values(prepared.arguments, call.threads)
        self._address, self._threads = ctypes.addressof(self._values), call.threads
        self._x = place("x")
        self._table, self._width, self._symbols = call.vectors, call.vectors.shape[-1], call.inputs
        self._rows = (ctypes.c_int64 * call.batch).from_address(prepared.x_places.data_ptr())
        self._places = [(place(f"init_{state}"), place(f"final_{state}"), state) for state in states]
        self._run = kernels.forward.run

    def look_up(self, ids: list[int]) -> int:
        """Which rows of the table are read; where it begins."""
        none = self._symbols  # behind the last symbol's row comes one of zeros
        self._rows[:] = [self._width * (none if id < 0 else id) for id in ids]
        return self._table.data_ptr()

    def __call__(self, x: int, before: Sequence[int], behind: Sequence[int], offset: int) -> None:
        values = self._values
        values[self._x] = x
        for start, end, state in self._places:
            values[start] = before[state] + offset
            values[end] = behind[state] + offset
        self._run(self._address, self._threads)
