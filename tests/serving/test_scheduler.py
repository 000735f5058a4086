"""Whatever a turn or a lane fails of, every request is answered, and the next one is run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from unrolled.serving.limits import Limits
from unrolled.serving.metrics import Metrics
from unrolled.serving.refusals import Refused
from unrolled.serving.scheduler import Row, Scheduler


class PanicException(BaseException):
    """As Rust libraries raise it."""


class Sum(Row):
    """A row that is done after one turn, or fails in it.

    Attributes:
        fails: raised in its turn. ill: raised when a lane asks whether it is blocked, outside of any turn.
    """

    def __init__(self, fails: BaseException | None = None, ill: BaseException | None = None, size: int = 1) -> None:
        self.fails, self.ill, self._size = fails, ill, size

    @property
    def group(self) -> str:
        return "all"

    @property
    def size(self) -> int:
        return self._size

    @property
    def blocked(self) -> bool:
        if self.ill is not None:
            raise self.ill
        return False

    @property
    def turn(self) -> Callable[[Sequence[Any], int], None]:
        return _turn

    def answer(self) -> str:
        return "answered"


def _turn(rows: Sequence[Sum], most: int) -> None:
    for row in rows:
        if row.fails is not None:
            raise row.fails
    for row in rows:
        row.done = row.ill is None


def outcomes(*requests: list[Sum], metrics: Metrics | None = None) -> list[Any]:
    """What becomes of requests that come together, and then of one more."""

    async def ask() -> list[Any]:
        scheduler = Scheduler(Limits(request_seconds=30, long=512), metrics or Metrics())
        try:
            found = await asyncio.gather(*map(scheduler.answers, requests), return_exceptions=True)
            found.append(await scheduler.answers([Sum(), Sum(size=1000)]))
            assert scheduler.alive
            assert scheduler.waiting == 0
            return found
        finally:
            await asyncio.to_thread(scheduler.stop)
            assert not scheduler.alive

    return asyncio.run(ask())


FAILURES = [ValueError("secret"), MemoryError(), PanicException("secret"), SystemExit(3), KeyboardInterrupt()]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_turn_that_fails_is_answered_and_others_are_run(failure, caplog) -> None:
    with caplog.at_level(logging.ERROR, "unrolled.serving"):
        good, bad, several, after = outcomes([Sum()], [Sum(failure)], [Sum(), Sum(failure)])
    assert (good, after) == (["answered"], ["answered"] * 2)
    for refused, place in ((bad, ""), (several, "number 2 of 2: ")):
        assert isinstance(refused, Refused)
        assert refused.status == (503 if isinstance(failure, MemoryError) else 500)
        assert refused.reason.startswith(place + "the")
        assert "secret" not in refused.reason
    assert len(caplog.records) == 2


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_lane_that_dies_is_replaced_and_said(failure, size, caplog) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.ERROR, "unrolled.serving"):
        lost, after = outcomes([Sum(ill=failure, size=size)], metrics=metrics)
    assert isinstance(lost, Refused)
    assert (lost.status, lost.reason) == (500, "the thread that ran this failed and was replaced; send it again")
    assert after == ["answered"] * 2
    lane = "short" if size == 1 else "long"
    assert metrics.lanes_replaced.labels(lane)._value.get() == 1
    assert [record.message for record in caplog.records] == [f"the thread for {lane} sequences failed and was replaced"]


def test_all_that_waits_in_a_lane_that_dies_is_answered() -> None:
    *found, after = outcomes(*([Sum(ill=ValueError() if number == 7 else None)] for number in range(20)))
    assert all(one == ["answered"] or isinstance(one, Refused) for one in found)
    assert isinstance(found[7], Refused)
    assert after == ["answered"] * 2
