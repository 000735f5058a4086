"""What can this machine do at most? Its rate of float32 multiply-adds, and of reading from the caches and from memory.

    python -m benchmarks.peak --threads 1 2

The rate is measured, not taken from a data sheet: by a loop of nothing but multiply-adds in registers, as many
independent ones as hide their latency, as wide as the processor allows.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import machine, table, write_json
from unrolled.recurrence import openmp
from unrolled.recurrence.kernels.builder import IR, Builder
from unrolled.recurrence.kernels.machine import Kernel, add_entries, new_module
from unrolled.recurrence.kernels.target import host

UNROLL = 4
"""How often the loop's body stands there, so that counting turns costs nothing."""

TURNS = 40_000
"""Turns of one measurement, over all threads: about a millisecond."""


def _finish(b: Builder, sums: list[IR], result: IR) -> None:
    """Store the sum of the accumulators, a vector a thread: what nobody could read, LLVM would not compute."""
    total = sums[0]
    for value in sums[1:]:
        total = b.fadd(total, value)
    b.store(total, b.at(result, b.mul(b.thread, b.lanes)))
    b.finish()


def accumulators() -> int:
    """Independent sums: three quarters of the registers, more than two units of four cycles can have in flight."""
    return host().registers * 3 // 4


@cache
def _multiply_adds() -> Kernel:
    """Each thread does its share of the turns: `UNROLL` times, every accumulator times a factor plus a term."""
    names = ["turns", "numbers", "result"]
    module = new_module("peak", host())
    b = Builder(module, "peak", host(), "float32", names)
    numbers = b.address("numbers")
    factor, term = (b.load(b.at(numbers, place * b.lanes)) for place in (0, 1))
    start = [b.load(b.at(numbers, place * b.lanes)) for place in range(accumulators())]
    first, last = _share(b, b.argument("turns"))
    with b.loop(first, last, carry=start) as loop:
        sums = loop.carried
        for _ in range(UNROLL):
            sums = [b.fma(value, factor, term) for value in sums]
        loop.next = sums
    _finish(b, loop.out, b.address("result"))
    add_entries(module, b.function)
    return Kernel(lambda: module, names)


@cache
def _reads() -> Kernel:
    """Each thread reads its share of a buffer again and again, and adds it up."""
    names = ["passes", "vectors", "buffer", "result"]
    module = new_module("reads", host())
    b = Builder(module, "reads", host(), "float32", names)
    buffer, streams = b.address("buffer"), 8
    first, last = _share(b, b.div(b.argument("vectors"), streams))
    zeros = [b.splat(0.0) for _ in range(streams)]
    with b.loop(0, b.argument("passes"), carry=zeros) as again:
        with b.loop(first, last, carry=again.carried) as loop:
            places = [b.mul(b.add(b.mul(loop.index, streams), place), b.lanes) for place in range(streams)]
            values = [b.load(b.at(buffer, place)) for place in places]
            loop.next = [b.fadd(total, value) for total, value in zip(loop.carried, values, strict=True)]
        again.next = loop.out
    _finish(b, again.out, b.address("result"))
    add_entries(module, b.function)
    return Kernel(lambda: module, names)


def _share(b: Builder, count: IR) -> tuple[IR, IR]:
    """This thread's part of a range."""
    return tuple(b.div(b.mul(count, thread), b.threads) for thread in (b.thread, b.add(b.thread, 1)))


def flops(turns: int = TURNS) -> int:
    """Floating-point operations of so many turns, a multiply-add being two."""
    return 2 * turns * UNROLL * accumulators() * host().lanes("float32")


def multiply_adds(threads: int, turns: int = TURNS) -> Callable[[], np.ndarray]:
    """A call that does `flops(turns)` operations on some threads and nothing else: a contestant like any other.

    It returns a vector a thread, the sum of its accumulators.
    """
    kernel, lanes, team = _multiply_adds(), host().lanes("float32"), openmp.threads_for(threads)
    # Factors below 1 and small terms: the sums stay of the order of 1, far from the slow subnormal numbers.
    numbers = np.full(accumulators() * lanes, 0.5, np.float32)
    result = np.zeros(max(team, 1) * lanes, np.float32)

    def call() -> np.ndarray:
        kernel({"turns": turns, "numbers": numbers.ctypes.data, "result": result.ctypes.data}, team)
        return result

    return call


def reads(threads: int, size: int) -> Callable[[int], np.ndarray]:
    """A call that reads a buffer of `size` bytes, all ones, so many times, split over some threads.

    It returns a vector a thread; together they add up to what was read.
    """
    kernel, lanes, team = _reads(), host().lanes("float32"), openmp.threads_for(threads)
    buffer, result = np.ones(size // 4, np.float32), np.zeros(max(team, 1) * lanes, np.float32)

    def call(passes: int) -> np.ndarray:
        places = {"buffer": buffer.ctypes.data, "result": result.ctypes.data}
        kernel({"passes": passes, "vectors": buffer.size // lanes, **places}, team)
        return result

    return call


def cache_size(level: int) -> int:
    """Bytes of the first core's cache of a level, or 0 if the system does not say."""
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with contextlib.suppress(OSError, ValueError):
            if int((folder / "level").read_text()) == level and (folder / "type").read_text().strip() != "Instruction":
                size = (folder / "size").read_text().strip()
                return int(size.rstrip("KM")) * {"K": 1 << 10, "M": 1 << 20}[size[-1]]
    return 0


def measure(threads: int, rounds: int = 11, most: int = 1 << 30) -> dict[str, float]:
    """Peak GF/s, and GB/s read from buffers that fit the second-level caches, and from one that fits none."""
    fits = (cache_size(2) or 1 << 20) // 2 * threads
    beyond = min(most, max(1 << 28, 2 * cache_size(3)))
    return {
        "GF/s": flops() / _median(multiply_adds(threads), rounds) / 1e9,
        "GB/s from L2": _bandwidth(threads, fits, rounds),
        "GB/s from memory": _bandwidth(threads, beyond, rounds),
        "L2 buffer, bytes": fits,
        "memory buffer, bytes": beyond,
    }


def _bandwidth(threads: int, size: int, rounds: int) -> float:
    call, passes = reads(threads, size), max(1, (1 << 27) // size)
    return passes * size / _median(lambda: call(passes), rounds) / 1e9


def _median(call: Callable[[], object], rounds: int) -> float:
    call()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    arguments = parser.parse_args()
    found = {}
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        found[threads] = measure(threads, arguments.rounds)
    about = machine()
    print(f"{about['processor']}, {about['instruction set']}; {about['openmp']}")
    figures = ["GF/s", "GB/s from L2", "GB/s from memory"]
    print(table(["threads", *figures], [[str(n), *(f"{found[n][figure]:.1f}" for figure in figures)] for n in found]))
    if arguments.json:
        write_json(arguments.json, {"machine": about, "threads": found})


if __name__ == "__main__":
    main()
