"""A native kernel that tells who ran it, for the tests of kernels in OpenMP threads."""

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from llvmlite import binding as llvm

from unrolled.recurrence import openmp

KERNEL = """
declare i32 @omp_get_thread_num()
declare i32 @omp_get_num_threads()

; arguments: the team's size as thread 0 sees it, a gate, room for n threads, n numbers, n sums
define void @parallel(ptr %a) {
  %i.32 = call i32 @omp_get_thread_num()
  %n.32 = call i32 @omp_get_num_threads()
  %i = sext i32 %i.32 to i64
  %n = sext i32 %n.32 to i64
  %gate = getelementptr i64, ptr %a, i64 1
  %room.at = getelementptr i64, ptr %a, i64 2
  %room = load i64, ptr %room.at
  %numbers = getelementptr i64, ptr %a, i64 3
  %sums = getelementptr i64, ptr %numbers, i64 %room
  %number.at = getelementptr i64, ptr %numbers, i64 %i
  %sum.at = getelementptr i64, ptr %sums, i64 %i
  %number = add i64 %i, 1
  store i64 %number, ptr %number.at
  %first = icmp eq i64 %i, 0
  br i1 %first, label %tell, label %wait
tell:
  store volatile i64 %n, ptr %a
  br label %wait
wait:
  %shut = load volatile i64, ptr %gate
  %waiting = icmp ne i64 %shut, 0
  br i1 %waiting, label %wait, label %look
look:
  %j = phi i64 [0, %wait], [%j, %look], [%j.next, %add]
  %sum = phi i64 [0, %wait], [%sum, %look], [%sum.next, %add]
  %other.at = getelementptr i64, ptr %numbers, i64 %j
  %other = load atomic i64, ptr %other.at acquire, align 8
  %missing = icmp eq i64 %other, 0
  br i1 %missing, label %look, label %add
add:
  %sum.next = add i64 %sum, %other
  %j.next = add i64 %j, 1
  %more = icmp slt i64 %j.next, %n
  br i1 %more, label %look, label %done
done:
  store i64 %sum.next, ptr %sum.at
  ret void
}

; on one thread: the same, and -1 for the team
define void @alone(ptr %a) {
  store i64 -1, ptr %a
  %room.at = getelementptr i64, ptr %a, i64 2
  %room = load i64, ptr %room.at
  %number.at = getelementptr i64, ptr %a, i64 3
  %sum.at = getelementptr i64, ptr %number.at, i64 %room
  store i64 1, ptr %number.at
  store i64 1, ptr %sum.at
  ret void
}
"""
ALONE = -1


@cache
def kernel() -> tuple[int, int, object]:
    """The addresses of `alone` and `parallel`, and what owns them. Without a runtime there is no `parallel` to link."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name, address in openmp.symbols().items():
        llvm.add_symbol(name, address)
    text = KERNEL if openmp.symbols() else KERNEL[KERNEL.index("; on one") :]
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    parallel = engine.get_function_address("parallel") if openmp.symbols() else 0
    return engine.get_function_address("alone"), parallel, engine


class Call:
    """One call of the kernel, and what it left behind."""

    def __init__(self, threads: int, gate: int = 0) -> None:
        self.threads = threads
        self.arguments = (ctypes.c_int64 * (3 + 2 * threads))(0, gate, threads)

    def run(self) -> "Call":
        openmp.run(*kernel()[:2], ctypes.addressof(self.arguments), self.threads)
        return self

    @property
    def team(self) -> int:
        return self.arguments[0]

    def check(self, team: int) -> None:
        """Every thread of the team wrote its number, and every one waited for all of them."""
        size = 1 if team == ALONE else team
        assert self.team == team
        assert self.arguments[3 : 3 + size] == list(range(1, size + 1))
        assert self.arguments[3 + self.threads : 3 + self.threads + size] == [size * (size + 1) // 2] * size

    @contextmanager
    def inside(self) -> Iterator[None]:
        """While another Python thread is held inside this call."""
        self.arguments[1] = 1
        other = threading.Thread(target=self.run)
        other.start()
        try:
            eventually(lambda: self.team != 0)
            yield
        finally:
            self.arguments[1] = 0
            other.join(120)
        assert not other.is_alive()


def eventually(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def torch_in_parallel() -> None:
    """Parallel regions of torch's own, with right answers."""
    ones = torch.ones(1 << 20)
    assert torch.equal(ones + ones, torch.full_like(ones, 2))
    square = torch.ones(256, 256)
    assert torch.equal(square @ square, torch.full_like(square, 256))


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def maps(*paths: str) -> str:
    """A memory map with two regions of each library."""
    regions = [f"7f00-7f01 {mode} 00000000 fe:00 1 {path}" for path in paths for mode in ("r--p", "r-xp")]
    return "\n".join([*regions, "7ffc-7ffd rw-p 00000000 00:00 0", "7ffe-7fff r-xp 00000000 00:00 0 [vdso]"]) + "\n"


def refusal() -> str | None:
    """Why this system's kernels run on one thread, if they do."""
    return openmp.refusal(sys.platform, openmp._c_library())
