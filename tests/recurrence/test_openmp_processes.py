"""Kernels in OpenMP threads where the whole process is special: limits, second runtimes, forks.

Each test calls one function of this file, `in_...`, in a process of its own.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from openmp_kernel import ALONE, Call, maps, refusal, torch_in_parallel

from unrolled.recurrence import openmp

pytestmark = pytest.mark.skipif(refusal() is not None, reason=str(refusal()))


def elsewhere(function: Callable[..., None], *arguments: object, **environment: str) -> None:
    """Call a function of this file in a fresh process."""
    words = ", ".join(repr(str(argument)) for argument in arguments)
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    result = subprocess.run(
        [sys.executable, "-c", f"import test_openmp_processes; test_openmp_processes.{function.__name__}({words})"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr


def test_importing_tests_nothing_and_a_limit_of_one_thread_is_told() -> None:
    elsewhere(in_a_process_of_one_thread, OMP_THREAD_LIMIT="1")


def in_a_process_of_one_thread() -> None:
    assert openmp._runtime is None
    torch.set_num_threads(2)
    assert openmp.threads_for() == 1
    assert "OMP_THREAD_LIMIT" in openmp.state().reason
    Call(2).run().check(ALONE)


def test_a_smaller_team_than_asked_for_is_whole() -> None:
    elsewhere(in_a_process_of_two_threads, OMP_THREAD_LIMIT="2")


def in_a_process_of_two_threads() -> None:
    torch.set_num_threads(4)
    assert openmp.state().usable, openmp.state().reason
    Call(4).run().check(2)


def test_a_second_runtime_is_left_alone(tmp_path: Path) -> None:
    elsewhere(in_a_process_that_loads_another, copy_of_the_runtime(tmp_path))


def in_a_process_that_loads_another(copy: str) -> None:
    torchs = openmp.loaded()
    other = ctypes.CDLL(copy)
    assert set(openmp.loaded()) == {*torchs, copy}
    assert not openmp.is_torchs(other)
    # whichever comes first
    for order in ([copy, *torchs], [*torchs, copy]):
        found = openmp.search(maps(*order))
        assert found.state.usable, found.state.reason
        assert found.state.path in torchs
    # and a team of one with the symbols of the other is what the test is for
    start, symbols = found.start, found.symbols
    assert start is not None
    assert symbols is not None
    address = ctypes.cast(other.omp_get_num_threads, ctypes.c_void_p).value
    assert openmp.fault_of(start, {**symbols, "omp_get_num_threads": address or 0}, 2) is not None


def test_a_runtime_that_was_loaded_before_torchs_is_torchs(tmp_path: Path) -> None:
    copy = copy_of_the_runtime(tmp_path)
    elsewhere(in_a_process_that_preloads, copy, LD_PRELOAD=str(copy))


def in_a_process_that_preloads(copy: str) -> None:
    torch.set_num_threads(2)
    torch_in_parallel()
    assert openmp.state().usable, openmp.state().reason
    assert openmp.state().path == copy
    assert len(openmp.loaded()) == 2 or COPIED not in Path(copy).read_bytes()
    before = len(os.listdir("/proc/self/task"))
    Call(2).run().check(2)
    assert len(os.listdir("/proc/self/task")) == before


COPIED = b"\0libgcopy.so.\0"


def copy_of_the_runtime(folder: Path) -> Path:
    """Torch's runtime under another name, inside too: the loader then keeps the two apart."""
    path = openmp.state().path
    assert path is not None
    copy = folder / "libgomp-copy.so.1"
    shutil.copy(path, copy)
    copy.write_bytes(copy.read_bytes().replace(b"\0libgomp.so.1\0", COPIED))
    return copy


def test_a_forked_child_runs_alone_and_does_not_hang() -> None:
    elsewhere(in_a_process_that_forks)


def in_a_process_that_forks() -> None:
    torch.set_num_threads(2)
    torch_in_parallel()
    assert openmp._runtime is None
    in_a_child(lambda: check_forked(0))  # torch's pool exists, its runtime has not been looked for
    Call(2).run().check(2)
    in_a_child(lambda: check_forked(2))
    with Call(2).inside():  # another thread holds the lock while this one forks
        in_a_child(lambda: check_forked(2))
    Call(2).run().check(2)


def check_forked(known: int) -> None:
    assert openmp.threads_for() == 1
    assert "forked" in openmp.state().reason
    assert not openmp.state().usable
    assert len(openmp.symbols()) == known
    Call(2).run().check(ALONE)


def in_a_child(check: Callable[[], None]) -> None:
    """Check in a forked child, which an alarm ends should it hang."""
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        try:
            check()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
