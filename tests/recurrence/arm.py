"""Runs the compiled engine with kernels for 64-bit ARM in an emulator, and compares it with the eager engine.

A kernel is translated by LLVM, linked with a small program by a cross compiler, and run by `qemu-aarch64`: the memory
that its arguments point to goes there and back in a file. Started by `test_arm.py`; by hand:
`python tests/recurrence/arm.py lstm`.
"""

import ctypes
import gc
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from llvmlite import ir
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cell_table import OF, given, states_of, x_of
from tolerances import assert_equal
from unrolled.nn import Recurrent
from unrolled.recurrence import native, openmp
from unrolled.recurrence.kernels import backward, forward, frame, machine, target

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
PAGE = 4096

PROGRAM = r"""
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

void alone(int64_t *);
void parallel(int64_t *);

static __thread int number;
static int team;
static int64_t *arguments;

int omp_get_thread_num(void) { return number; }
int omp_get_num_threads(void) { return team; }

static void *member(void *which) {
  number = (int)(intptr_t)which;
  parallel(arguments);
  return NULL;
}

static int64_t number_from(FILE *file) {
  int64_t value;
  if (fread(&value, 8, 1, file) != 1) exit(3);
  return value;
}

int main(int count, char **words) {
  FILE *file = fopen(words[1], "rb");
  int64_t regions = number_from(file), given = number_from(file);
  team = (int)number_from(file);
  char **memory = calloc(regions, sizeof *memory);
  int64_t *sizes = calloc(regions, 8);
  arguments = calloc(given + 1, 8);
  for (int64_t n = 0; n < regions; n++) {
    int64_t within = number_from(file);  /* where in a page it begins: what is aligned there is aligned here */
    sizes[n] = number_from(file);
    char *pages = aligned_alloc(4096, (within + sizes[n] + 8191) / 4096 * 4096);
    memory[n] = pages + within;
    if (fread(memory[n], 1, sizes[n], file) != (size_t)sizes[n]) exit(3);
  }
  for (int64_t n = 0; n < given; n++) {
    int64_t region = number_from(file), value = number_from(file);
    arguments[n] = region < 0 ? value : (int64_t)(memory[region] + value);
  }
  fclose(file);
  if (team == 1) alone(arguments);
  else {
    pthread_t members[16];
    for (int n = 0; n < team; n++) pthread_create(&members[n], NULL, member, (void *)(intptr_t)n);
    for (int n = 0; n < team; n++) pthread_join(members[n], NULL);
  }
  file = fopen(words[1], "wb");
  for (int64_t n = 0; n < regions; n++) fwrite(memory[n], 1, sizes[n], file);
  return fclose(file);
}
"""


def missing() -> str | None:
    """What this machine lacks to do that, if anything."""
    lacks = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    return f"there is no {' and no '.join(lacks)} here (Debian: qemu-user, gcc-aarch64-linux-gnu)" if lacks else None


class ArmKernel:
    """A kernel that runs in the emulator; like `machine.Kernel` to whoever calls it."""

    runs = 0

    def __init__(self, write: Callable[[], ir.Module], names: Sequence[str], key: str | None = None) -> None:
        self.names, self._folder = tuple(names), Path(tempfile.mkdtemp(dir=FOLDER))
        (self._folder / "kernel.s").write_text(machine.assembly(write(), target.NEON))
        (self._folder / "main.c").write_text(PROGRAM)
        command = [COMPILER, "-O1", "-static", "-pthread", "main.c", "kernel.s", "-o", "kernel"]
        subprocess.run(command, cwd=self._folder, check=True)

    def __call__(self, arguments: Mapping[str, int], threads: int) -> None:
        regions = list(memory())
        values = [threads, *(arguments[name] for name in self.names)]
        placed = [place_in(regions, value) for value in values]
        content = struct.pack("<3q", len(regions), len(values), threads)
        for start, size in regions:
            content += struct.pack("<2q", start % PAGE, size) + ctypes.string_at(start, size)
        content += b"".join(struct.pack("<2q", *pair) for pair in placed)
        path = self._folder / "memory"
        path.write_bytes(content)
        subprocess.run([EMULATOR, self._folder / "kernel", path], check=True, timeout=200)
        content, position = path.read_bytes(), 0
        for start, size in regions:
            ctypes.memmove(start, content[position : position + size], size)
            position += size
        ArmKernel.runs += 1


def memory() -> Iterator[tuple[int, int]]:
    """Where the memory of every tensor begins, and its bytes."""
    found = {}
    for value in gc.get_objects():
        if issubclass(type(value), Tensor) and value.device.type == "cpu" and value.layout is torch.strided:
            storage = value.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return ((start, size) for start, size in found.items() if start and size)


def place_in(regions: Sequence[tuple[int, int]], value: int) -> tuple[int, int]:
    """The region that an argument points into, and how far; -1 and the argument for a plain number."""
    if value < 2**32:
        return -1, value
    for slack in (0, 1):  # an empty buffer may begin where the memory ends
        for number, (start, size) in enumerate(regions):
            if start <= value < start + size + slack:
                return number, value - start
    raise AssertionError(f"{value:#x} is no tensor's")


def run(layer: Recurrent, steps: int, batch: int, lengths: Tensor | None) -> list[Tensor]:
    """The output, the final states and every gradient."""
    x, states = x_of(layer, steps, batch).requires_grad_(), states_of(layer, batch)
    states = tuple(state.requires_grad_() for state in states)
    layer.zero_grad()
    output, final = layer(x, given(states), lengths=lengths)
    final = final if isinstance(final, tuple) else (final,)
    torch.manual_seed(2)
    sum((value * torch.randn_like(value)).sum() for value in (output, *final)).backward()
    gradients = [value.grad for value in (x, *states, *layer.parameters())]
    return [value.detach().clone() for value in (output, *final, *gradients)]


def main(name: str) -> None:
    machine.Kernel = ArmKernel
    for module in (native, forward, backward):
        module.host = lambda: target.NEON
    native.SHARED_WORK = 0
    frame.SPINS = 20  # threads sleep for each other, too
    for threads in (1, 2):
        openmp.threads_for = lambda threads=threads: threads
        for dtype in (torch.float32, torch.float64):
            steps, batch, hidden, inputs = 3, 5, 11, 11 if OF[name].same_width else 6
            torch.manual_seed(1)
            layer = OF[name].layer(inputs, hidden, engine="compiled", dtype=dtype)
            for lengths in (None, torch.tensor([3, 0, 2, 1, 3])):
                before = ArmKernel.runs
                layer.engine = "compiled"
                ours = run(layer, steps, batch, lengths)
                assert ArmKernel.runs > before + 1, "nothing ran in the emulator"
                layer.engine = "eager"
                theirs = run(layer, steps, batch, lengths)
                for found, expected in zip(ours, theirs, strict=True):
                    assert_equal(found, expected)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        FOLDER = Path(folder)
        main(sys.argv[1])
