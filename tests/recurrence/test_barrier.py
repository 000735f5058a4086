"""The barrier between levels: nobody passes before all are there, however long a partner does not run."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from openmp_kernel import refusal, threads

from unrolled.recurrence import openmp
from unrolled.recurrence.kernels import frame, machine
from unrolled.recurrence.kernels.builder import Builder
from unrolled.recurrence.kernels.target import host

pytestmark = pytest.mark.skipif(refusal() is not None, reason=str(refusal()))
NAMES = ["rounds", "board", "wrong"]
MOST = 8


def kernel() -> machine.Kernel:
    """In every round each thread writes the round's number, waits, and counts the threads that have not written it."""
    module = machine.new_module("rounds", host())
    b = Builder(module, "rounds", host(), "float32", NAMES)
    with b.loop(1, b.add(b.argument("rounds"), 1)) as turn:
        b.store_integer(turn.index, b.address("board"), b.thread)
        b.ir.call(frame.barrier(b), [b.threads])
        with b.loop(0, b.threads) as other:
            written = b.integer_at(b.address("board"), other.index)
            with b.when(b.ir.icmp_signed("!=", written, turn.index)):
                before = b.integer_at(b.address("wrong"), b.thread)
                b.store_integer(b.add(before, 1), b.address("wrong"), b.thread)
        b.ir.call(frame.barrier(b), [b.threads])
    b.finish()
    machine.add_entries(module, b.function)
    return machine.Kernel(lambda: module, NAMES)


def run(made: machine.Kernel, team: int, rounds: int) -> tuple[list[int], list[int]]:
    """The last round of each thread, and how often each found another behind."""
    board, wrong = (ctypes.c_int64 * MOST)(), (ctypes.c_int64 * MOST)()
    made({"rounds": rounds, "board": ctypes.addressof(board), "wrong": ctypes.addressof(wrong)}, team)
    return list(board), list(wrong)


@contextmanager
def one_core() -> Iterator[None]:
    """All threads of the process on one core, so that only one of them runs at a time."""
    tasks = [int(name) for name in os.listdir("/proc/self/task")]
    before = os.sched_getaffinity(0)
    for task in tasks:
        os.sched_setaffinity(task, {min(before)})
    try:
        yield
    finally:
        for task in tasks:
            os.sched_setaffinity(task, before)


@pytest.mark.parametrize("spins", [1, 50, frame.SPINS])
@pytest.mark.parametrize("team", [2, 3])
def test_nobody_passes_before_all_are_there(team: int, spins: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "SPINS", spins)
    made = kernel()
    with threads(team):
        for _ in range(3):
            assert run(made, team, 200) == ([200] * team + [0] * (MOST - team), [0] * MOST)


@pytest.mark.parametrize("team", [2, 4])
def test_threads_that_share_a_core_let_each_other_run(team: int) -> None:
    made = kernel()
    with threads(team):
        run(made, team, 1)  # the threads are there
        with one_core():
            assert run(made, team, 200) == ([200] * team + [0] * (MOST - team), [0] * MOST)


def test_threads_beyond_the_number_asked_for_return() -> None:
    made = kernel()
    with threads(4):
        before = set(os.listdir("/proc/self/task"))
        torch.ones(1 << 20).add_(1)
        assert run(made, 2, 50) == ([50, 50] + [0] * (MOST - 2), [0] * MOST)
        during = set(os.listdir("/proc/self/task"))
        torch.ones(1 << 20).add_(1)
        assert run(made, 2, 50)[1] == [0] * MOST
        assert set(os.listdir("/proc/self/task")) == during
        assert len(during) >= len(before)


def test_a_kernel_alone_waits_for_nobody() -> None:
    assert openmp.threads_for(1) == 1
    assert run(kernel(), 1, 20) == ([20] + [0] * (MOST - 1), [0] * MOST)
