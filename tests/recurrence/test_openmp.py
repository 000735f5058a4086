"""Kernels in PyTorch's OpenMP threads: whole teams, torch's own pool, and one thread where it must."""

import ctypes
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from openmp_kernel import ALONE, Call, kernel, maps, refusal, threads, torch_in_parallel

from unrolled import cores
from unrolled.recurrence import openmp


@pytest.fixture
def two() -> Iterator[None]:
    """Two threads for torch, on a system whose runtime kernels can use."""
    if reason := refusal():
        pytest.skip(reason)
    with threads(2):
        yield


# A team


@pytest.mark.usefixtures("two")
def test_torchs_runtime_is_found_and_usable() -> None:
    found = openmp.state()
    assert found.usable, found.reason
    assert found.path in openmp.loaded()
    assert found.flavour in ("GNU", "LLVM")
    assert set(openmp.symbols()) == {"omp_get_thread_num", "omp_get_num_threads"}
    assert all(openmp.symbols().values())


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.usefixtures("two")
def test_every_thread_runs_and_sees_the_others(number: int) -> None:
    for _ in range(20):
        Call(number).run().check(number if number > 1 else ALONE)


@pytest.mark.usefixtures("two")
def test_arguments_may_be_an_array() -> None:
    call = Call(2)
    openmp.run(*kernel()[:2], call.arguments, 2)
    call.check(2)


@pytest.mark.usefixtures("two")
def test_torch_goes_on_before_between_and_after() -> None:
    for number in (2, 2, 4, 2):
        torch_in_parallel()
        Call(number).run().check(number)
    torch_in_parallel()


@pytest.mark.usefixtures("two")
def test_there_is_no_second_pool() -> None:
    Call(2).run()
    torch_in_parallel()
    before = set(os.listdir("/proc/self/task"))
    for _ in range(5):
        Call(2).run().check(2)
        torch_in_parallel()
    assert set(os.listdir("/proc/self/task")) <= before


@pytest.mark.usefixtures("two")
def test_of_two_python_threads_one_runs_alone() -> None:
    held, other = Call(2), Call(2)
    with held.inside():
        other.run().check(ALONE)
    held.check(2)
    Call(2).run().check(2)


@pytest.mark.usefixtures("two")
def test_a_lock_that_an_interrupt_left_taken_does_not_stop_its_thread() -> None:
    openmp._inside.acquire()
    try:
        Call(2).run().check(2)
    finally:
        openmp._inside.release()


@pytest.mark.usefixtures("two")
def test_many_python_threads_at_once_are_all_right() -> None:
    calls = [[Call(2) for _ in range(200)] for _ in range(3)]
    workers = [threading.Thread(target=lambda mine=mine: [call.run() for call in mine]) for mine in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert not worker.is_alive()
    for mine in calls:
        for call in mine:
            call.check(call.team)
            assert call.team in (2, ALONE)


@pytest.mark.usefixtures("two")
def test_how_many_threads_a_call_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable", lambda: 8)
    assert [openmp.threads_for(wanted) for wanted in (None, 1, 2, 3, 0)] == [2, 1, 2, 2, 1]
    with threads(1):
        assert openmp.threads_for() == openmp.threads_for(8) == 1


@pytest.mark.usefixtures("two")
def test_never_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    with threads(8):
        for usable in (3, 2, 1):
            monkeypatch.setattr(cores, "usable", lambda usable=usable: usable)
            assert [openmp.threads_for(wanted) for wanted in (None, 1, 2, 16)] == [usable, 1, min(2, usable), usable]


# One thread where it must be


@pytest.mark.parametrize(
    ("maps", "reason"),
    [
        ("", "has loaded no OpenMP runtime"),
        ("7f00-7f01 r-xp 00000000 fe:00 1    /usr/lib/libc.so.6\n", "has loaded no OpenMP runtime"),
        ("7f00-7f01 r-xp 00000000 fe:00 1    /gone/libgomp.so.1 (deleted)\n", "/gone/libgomp.so.1 was replaced"),
    ],
)
def test_no_runtime(maps: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel()
    monkeypatch.setattr(openmp, "_maps", lambda: maps)
    monkeypatch.setattr(openmp, "_runtime", None)
    with threads(2):
        Call(2).run().check(ALONE)
        assert openmp.threads_for() == 1
    assert openmp.symbols() == {}
    if refusal() is None:
        assert reason in openmp.state().reason
    assert (openmp.state().path, openmp.state().flavour, openmp.state().usable) == (None, "none", False)


@pytest.mark.parametrize(
    ("platform", "c_library", "reason"),
    [
        ("darwin", "", "on Linux only, and this is darwin"),
        ("win32", "", "on Linux only, and this is win32"),
        ("linux", "", "the GNU C library only"),
    ],
)
def test_systems_that_nobody_has_measured(platform: str, c_library: str, reason: str) -> None:
    refused = openmp.refusal(platform, c_library)
    assert refused is not None
    assert reason in refused
    # not even a runtime that would do is looked at
    assert openmp.search(openmp._maps(), refused) == openmp.Runtime(openmp.OpenMP(None, "none", False, refused))


def test_gnu_linux_is_not_refused() -> None:
    assert openmp.refusal("linux", "glibc 2.36") is None


class Library:
    """A runtime's entry points, as a library object has them; torch sees a number of threads set through it or not."""

    def __init__(self, without: str = "", torchs: bool = True) -> None:
        self.number = 3
        self.omp_get_max_threads = torch.get_num_threads if torchs else lambda: self.number
        self.omp_set_num_threads = torch.set_num_threads if torchs else lambda number: setattr(self, "number", number)
        for name in openmp.NEEDED:
            if name != without:
                setattr(self, name, None)


def test_whose_runtime_it_is_shows_in_torchs_number_of_threads() -> None:
    for number in (1, 2, 5):
        with threads(number):
            other = Library(torchs=False)
            assert openmp.is_torchs(Library())
            assert not openmp.is_torchs(other)
            assert torch.get_num_threads() == number
            assert other.number == 3


def test_why_each_runtime_is_left_out() -> None:
    found = openmp.search(
        maps("/intel/libiomp5.so", "/other/libgomp-1.so.1"),
        opened={
            "/intel/libiomp5.so": Library(without="GOMP_parallel"),
            "/other/libgomp-1.so.1": Library(torchs=False),
        }.get,
    )
    assert found.start is None
    assert found.state.reason == (
        "/intel/libiomp5.so has no GOMP_parallel; /other/libgomp-1.so.1 is not the one that torch uses"
    )


@pytest.mark.usefixtures("two")
def test_a_file_that_is_not_loaded_stays_so(tmp_path: Path) -> None:
    copy = shutil.copy(str(openmp.state().path), tmp_path / "libgomp-other.so.1")
    assert openmp._opened(str(copy)) is None
    assert str(copy) not in openmp.loaded()


def test_runtimes_are_known_by_their_file_names() -> None:
    runtimes = [
        "/a b/libgomp.so.1",
        "/x/libgomp-a34b3233.so.1.0.0",
        "/x/libiomp5.so",
        "/x/libomp.so.5",
        "/libomp-14.so",
    ]
    others = ["/x/libomptarget.so", "/libgomp/libc.so.6", "/x/libtorch_cpu.so"]
    assert openmp.loaded(maps(*others, *runtimes)) == runtimes


# A test that fails when it should


@pytest.mark.usefixtures("two")
def test_a_team_whose_threads_do_not_run_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    start, symbols = openmp._bound().start, openmp.symbols()
    assert start is not None
    assert openmp.fault_of(start, symbols, 2) is None
    monkeypatch.setattr(openmp, "TURNS", 1000)
    number = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 2)
    another = {**symbols, "omp_get_num_threads": ctypes.cast(number, ctypes.c_void_p).value or 0}

    def one_after_the_other(function: int, arguments: Any, threads: int, flags: int) -> None:
        for _ in range(2):
            start(function, arguments, 1, flags)

    fault = openmp.fault_of(one_after_the_other, another, 2)
    assert fault == "the threads of its team do not run at once, or have no numbers of their own"


@pytest.mark.usefixtures("two")
def test_a_team_that_is_smaller_than_two_is_noticed() -> None:
    start = openmp._bound().start
    assert start is not None

    def one(function: int, arguments: Any, threads: int, flags: int) -> None:
        start(function, arguments, 1, flags)

    assert "a team of 2 threads was asked for, and 1 ran" in str(openmp.fault_of(one, openmp.symbols(), 2))
