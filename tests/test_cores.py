"""The cores that this process may use: affinity, and the quotas of both versions of control groups."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled import cores


def process(folder: Path, groups: str, *mounts: str) -> Path:
    """A process's folder in /proc, with its groups and its mounts."""
    place = folder / "self"
    place.mkdir()
    (place / "cgroup").write_text(groups)
    (place / "mountinfo").write_text("".join(f"{line}\n" for line in mounts))
    return place


def mounted(folder: Path, root: str = "/", kind: str = "cgroup2", options: str = "rw") -> str:
    return f"31 23 0:28 {root} {folder} rw,relatime shared:9 - {kind} {kind} {options}"


def group(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_the_smallest_quota_from_the_own_group_to_the_root_counts(tmp_path: Path) -> None:
    mount = group(tmp_path / "cg", cpu_max="max 100000\n")
    group(mount / "a", cpu_max="150000 100000\n")
    group(mount / "a/b", cpu_max="400000 100000\n")
    group(mount / "other", cpu_max="10000 100000\n")
    assert cores.quota(process(tmp_path, "0::/a/b\n", mounted(mount))) == 1.5


def test_version_one_has_two_files(tmp_path: Path) -> None:
    mount = group(tmp_path / "cpu,cpuacct", cpu_cfs_quota_us="-1\n", cpu_cfs_period_us="100000\n")
    group(mount / "docker/x", cpu_cfs_quota_us="250000\n", cpu_cfs_period_us="50000\n")
    elsewhere = group(tmp_path / "cpuset", cpu_cfs_quota_us="1\n", cpu_cfs_period_us="100000\n")
    place = process(
        tmp_path,
        "7:cpuset:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n",
        mounted(elsewhere, kind="cgroup", options="rw,cpuset"),
        mounted(mount, kind="cgroup", options="rw,cpu,cpuacct"),
    )
    assert cores.quota(place) == 5.0


@pytest.mark.parametrize("path", ["/docker/x", "/../../docker/x", "/"])
def test_a_container_sees_its_own_part_of_the_tree(tmp_path: Path, path: str) -> None:
    mount = group(tmp_path / "cg", cpu_max="200000 100000\n")
    assert cores.quota(process(tmp_path, f"0::{path}\n", mounted(mount, root="/docker/x"))) == 2.0


@pytest.mark.parametrize("text", ["max 100000", "", "many 100000", "100000 0", "0 100000", "-5 100000", "1", "\0"])
def test_what_says_nothing_limits_nothing(tmp_path: Path, text: str) -> None:
    mount = group(tmp_path / "cg", cpu_max=text)
    assert cores.quota(process(tmp_path, "0::/\n", mounted(mount))) is None


def test_without_proc_nothing_limits(tmp_path: Path) -> None:
    assert cores.quota(tmp_path / "none") is None


@given(st.text(max_size=80), st.text(max_size=200))
def test_whatever_the_system_says_is_survived(
    tmp_path_factory: pytest.TempPathFactory, groups: str, mounts: str
) -> None:
    folder = tmp_path_factory.mktemp("proc")
    (folder / "cgroup").write_text(f"0::{groups}", encoding="utf-8", errors="replace")
    (folder / "mountinfo").write_text(f"1 2 3 / /nowhere rw - {mounts}\n{mounts}", encoding="utf-8", errors="replace")
    assert cores.quota(folder) is None


@given(st.integers(1, 512), st.none() | st.floats(0.001, 1000))
def test_a_quota_is_rounded_up_and_never_adds(count: int, quota: float | None) -> None:
    found = cores.limit(count, quota)
    assert 1 <= found <= count
    assert quota is None or found - 1 < max(quota, 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_counts_and_changes_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cores.BINDING:
        monkeypatch.delenv(name, raising=False)
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(cores, "quota", lambda: None)
    monkeypatch.setattr(cores, "_answer", None)
    before = os.sched_getaffinity(0)
    assert cores.usable() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        now += cores.FRESH / 2
        assert cores.usable() == len(before)
        now += cores.FRESH
        assert cores.usable() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_thread_that_openmp_bound_to_a_core_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for name in cores.BINDING:
        monkeypatch.delenv(name, raising=False)
    assert cores.affinity() == 1
    monkeypatch.setenv("OMP_PROC_BIND", "false")
    assert cores.affinity() == 1
    monkeypatch.setenv("OMP_PROC_BIND", "close")
    assert cores.affinity() == 8
