"""Runs the compiled engine with every buffer of its own between two pages that may not be touched.

A kernel that reads or writes a number before or behind a buffer ends this process with a fault, whose place
`faulthandler` prints. Started by `test_guarded.py`; by hand: `python tests/recurrence/guarded.py lstm`.
"""

import ctypes
import faulthandler
import mmap
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cell_table import OF, given, states_of, x_of
from unrolled.nn import Recurrent
from unrolled.recurrence import native

PAGE = mmap.PAGESIZE
SHAPES = [(1, 1, 1, 1), (3, 2, 7, 3), (2, 9, 16, 5), (4, 3, 17, 16), (2, 7, 33, 40), (3, 13, 70, 66)]
"""Steps, batch, hidden size, input size."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

kept: dict[tuple[int, str], int] = {}
"""By arena and name, the address of a buffer: the backward pass finds what the forward pass left there."""

regions: list[tuple[int, int]] = []
"""Every mapping, given back after each case."""


def release() -> None:
    """Give all guarded memory back; nothing that lies in it may be used after this."""
    while regions:
        _libc.munmap(*regions.pop())
    kept.clear()


def guarded(size: int, at_end: bool) -> int:
    """The address of `size` bytes with a forbidden page on either side, touching the second one or the first."""
    pages = -(-max(size, 1) // PAGE)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    start = _libc.mmap(None, (pages + 2) * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    for page in (start, start + (pages + 1) * PAGE):
        if _libc.mprotect(page, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    regions.append((start, (pages + 2) * PAGE))
    return start + PAGE + (pages * PAGE - size if at_end else 0)


class Guard:
    """Puts the engine's allocations behind guards; at the end of their room, or at its beginning."""

    def __init__(self, at_end: bool) -> None:
        self.at_end = at_end

    def tensor(self, like: Tensor, *shape: int) -> Tensor:
        """A tensor of zeros in guarded memory, for as long as the process lives."""
        count = torch.Size(shape).numel()
        address = guarded(count * like.element_size(), self.at_end)
        kind = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double, torch.int64: ctypes.c_int64}[like.dtype]
        if not count:
            return like.new_empty(shape)
        return torch.frombuffer((kind * count).from_address(address), dtype=like.dtype).view(shape)

    def scratch(self, like: Tensor, purpose: str, *shape: int) -> Tensor:
        return self.tensor(like, *shape)

    def copy(self, value: Tensor) -> Tensor:
        return self.tensor(value, *value.shape).copy_(value)

    def addresses(self, arena: Tensor, sizes: Mapping[str, int]) -> dict[str, int]:
        found = {}
        for name, size in sizes.items():
            key = arena.data_ptr(), name
            if key not in kept or name == "bias" or name.startswith("packed"):
                kept[key] = guarded(size * arena.element_size(), self.at_end)
            found[name] = kept[key]
        return found


def run(layer: Recurrent, steps: int, batch: int, lengths: Tensor | None, guard: Guard) -> None:
    """Forwards and backwards, and forwards without a gradient."""
    x, states = guard.copy(x_of(layer, steps, batch)).requires_grad_(), states_of(layer, batch)
    states = tuple(guard.copy(state).requires_grad_() for state in states)
    output, _, seen = layer(x, given(states), lengths=lengths, observe=True)
    (output.sum() + seen.layer(0)[layer.cell.states[-1]].sum()).backward()
    with torch.no_grad():
        layer(x, given(states), lengths=lengths)


def main(name: str) -> None:
    faulthandler.enable()
    for at_end in (True, False):
        guard = Guard(at_end)
        native._empty = native._zeros = guard.tensor
        native._scratch = guard.scratch
        native._own = guard.tensor
        native._addresses = guard.addresses
        for steps, batch, hidden, inputs in SHAPES:
            for dtype in (torch.float32, torch.float64):
                inputs = hidden if OF[name].same_width else inputs
                layer = OF[name].layer(inputs, hidden, engine="compiled", dtype=dtype)
                for parameter in layer.parameters():
                    parameter.data = guard.copy(parameter.data)
                for lengths in (None, torch.arange(batch) % (steps + 1)):
                    print(name, at_end, dtype, steps, batch, hidden, inputs, lengths, flush=True)
                    run(layer, steps, batch, lengths, guard)
                del layer
                release()


if __name__ == "__main__":
    main(sys.argv[1])
