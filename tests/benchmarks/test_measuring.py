"""Turns, rounds, medians; the machine and its versions; text in columns."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import measuring
from benchmarks.measuring import (
    Neighbours,
    Plan,
    alternate,
    busy_mark,
    calmest,
    machine,
    rounds_for,
    table,
    wait_for_quiet,
    write_json,
)

QUICK = Plan(rounds=3, most=3, budget=0.0, turn=0.0)


def test_contestants_take_turns_and_every_one_begins_some_round() -> None:
    torch.set_num_threads(1)
    calls: list[str] = []
    timings = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, QUICK)
    # three calls each to warm up, then a call that is not counted and one that is, each turn
    assert "".join(calls) == "aaabbb" + "aabb" + "bbaa" + "aabb"
    assert timings["a"].rounds == 3
    assert timings["a"].calls == 1
    assert timings["a"].best <= timings["a"].low <= timings["a"].seconds <= timings["a"].high


class Clock:
    """What `measuring` knows of time, moved by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.busy = 0.0
        monkeypatch.setattr(measuring, "time", self)

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.busy

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.busy += seconds


def test_short_calls_are_repeated_to_fill_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    clock, plan = Clock(monkeypatch), Plan(rounds=1, most=1, budget=0.0, turn=1.0)
    timing = alternate({"short": lambda: clock.work(0.0625)}, plan)["short"]
    assert (timing.calls, timing.seconds, timing.cores) == (16, 0.0625, 1.0)


@pytest.mark.parametrize(
    ("seconds", "rounds"), [(10.0, 11), (0.1, 15), (0.05, 31), (1e-6, 31), (0.125, 13)], ids=lambda value: str(value)
)
def test_short_rounds_are_more_and_always_an_odd_number(seconds: float, rounds: int) -> None:
    assert rounds_for(seconds, Plan(rounds=11, most=31, budget=1.55)) == rounds


def test_what_a_call_computed_on_is_counted_in_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    clock = Clock(monkeypatch)

    def half_asleep() -> None:
        clock.work(0.25)
        clock.sleep(0.75)

    assert alternate({"half": half_asleep}, QUICK)["half"].cores == 0.25


def test_the_machine_names_its_processor_and_every_version() -> None:
    about = machine()
    assert about["processor"]
    assert about["cores"] >= 1
    assert about["versions"]["torch"] == torch.__version__
    assert {"unrolled", "numpy", "jax", "onnxruntime", "python"} <= set(about["versions"])


@pytest.mark.parametrize(("busy", "kept", "tried"), [([1.0, 0.5, 2.0, 0.0], 0.5, 3), ([1.0, 0.0], 0.0, 2)])
def test_the_calmest_time_counts(busy: list[float], kept: float, tried: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    left = list(busy)
    monkeypatch.setattr(Neighbours, "__exit__", lambda self, *_: setattr(self, "cores", left.pop(0)))
    _, cores = calmest({"a": lambda: None}, Plan(rounds=1, most=1, budget=0.0, turn=0.0, again=2))
    assert (cores, len(busy) - len(left)) == (kept, tried)


def test_a_table_is_as_wide_as_its_widest_cells() -> None:
    text = table(["name", "ms"], [["a", "1.5"], ["long one", "12.25"]])
    assert text.splitlines() == ["name         ms", "--------  -----", "a           1.5", "long one  12.25"]


def test_json_can_be_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"a": [1, 2.5]})
    assert json.loads((tmp_path / "result.json").read_text()) == {"a": [1, 2.5]}


def test_neighbours_are_seen_and_waiting_for_them_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(measuring, "_busy", lambda: 2 * clock.now)  # all cores together
    with Neighbours() as others:
        clock.work(0.5)
    assert others.cores == 1.0
    assert wait_for_quiet(0.0, look=0.25) == 2.0
    assert wait_for_quiet(3.0, look=0.25) == 2.0
    assert clock.now < 0.5 + 0.25 + 3.0 + 0.5
    assert (busy_mark(0.0), busy_mark(1.0)) == ("", "*")
