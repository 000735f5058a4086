"""Runs what waits, together: sequences of many requests in one call of a model's layers, a bounded piece at a time.

A request is one or several rows, each one sequence. A row belongs to a group; rows of one group can run in one call. A
turn takes a group, from it a row of each request in rotation, and runs them for a bounded number of timesteps: a
recurrent state is a value, so a row that is not through goes back into the queue and others get their turn. So a text
of 20,000 symbols holds nobody up: a short one that comes later joins its next turn.

What cannot be cut (two directions, a beam search) runs whole. Where that is long, it goes to a lane of its own, a
second thread, and short ones pass it.

In the event loop live requests, in the lanes' threads rows. The two meet in `_Lane.put` and `Scheduler._settle`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from unrolled.serving.limits import Limits
from unrolled.serving.metrics import Metrics
from unrolled.serving.refusals import Refused, refusal_of

logger = logging.getLogger("unrolled.serving")


class Row(ABC):
    """One sequence of a request.

    Attributes:
        done: whether `answer` can be asked for.
        failure: what went wrong with it, instead.
        parked: whether it was blocked after its last turn, and so is in no queue.
    """

    done: bool = False
    parked: bool = False
    failure: BaseException | None = None

    @property
    @abstractmethod
    def group(self) -> Hashable:
        """Rows whose groups are equal run in one call. It may change from turn to turn."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Timesteps that the next turn can not cut; 1 where it can."""

    @property
    @abstractmethod
    def turn(self) -> Callable[[Sequence[Any], int], None]:
        """What runs rows of the group for at most so many timesteps times rows. When it raises, no row has changed."""

    @property
    def blocked(self) -> bool:
        """Whether it cannot go on now: whoever reads what it draws is too slow."""
        return False

    @abstractmethod
    def answer(self) -> Any:
        """What came out."""


class Running(NamedTuple):
    """What can be done to a row that runs: let it go on after it was parked, and end it, which has to be done."""

    resume: Callable[[], None]
    end: Callable[[], None]


class _Request:
    """Rows that are waited for together."""

    def __init__(self, rows: Sequence[Row], future: asyncio.Future[None], listener: Callable[[], None] | None) -> None:
        self.rows, self.future, self.listener = rows, future, listener
        self.left = len(rows)
        self.cancelled = False


class _Group:
    """What waits of one group: requests in rotation, each with its rows."""

    def __init__(self) -> None:
        self.requests: OrderedDict[int, tuple[_Request, deque[Row]]] = OrderedDict()
        self.since = time.monotonic()
        self.rows = 0

    def add(self, request: _Request, row: Row) -> None:
        if not self.rows:
            self.since = time.monotonic()
        self.requests.setdefault(id(request), (request, deque()))[1].append(row)
        self.rows += 1

    def take(self, most: int, positions: int) -> list[tuple[_Request, Row]]:
        """A row of each request in rotation, as often as there is room; of what cannot be cut at least one."""
        taken: list[tuple[_Request, Row]] = []
        room = positions
        while self.requests and len(taken) < most:
            key, (request, rows) = next(iter(self.requests.items()))
            if taken and rows[0].size > room:
                break
            row = rows.popleft()
            self.rows -= 1
            room -= row.size
            if rows:
                self.requests.move_to_end(key)
            else:
                del self.requests[key]
            if not request.cancelled:
                taken.append((request, row))
        return taken


class _Lane:
    """A thread that takes turns."""

    def __init__(self, name: str, scheduler: Scheduler) -> None:
        self._scheduler, self._limits = scheduler, scheduler.limits
        self._groups: OrderedDict[Hashable, _Group] = OrderedDict()
        self._condition = threading.Condition()
        self._stopping = False
        self._taken: list[tuple[_Request, Row]] = []
        self._together = 1  # rows of the turn before: a hint whether waiting for others is worth it
        self.name = name
        self._thread = threading.Thread(target=self._live, name=f"unrolled-{name}", daemon=True)
        self._thread.start()

    def put(self, request: _Request, rows: Sequence[Row]) -> None:
        """Rows wait from now on."""
        with self._condition:
            for row in rows:
                self._groups.setdefault(row.group, _Group()).add(request, row)
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(timeout=30)

    @property
    def alive(self) -> bool:
        """Whether turns are taken."""
        return self._thread.is_alive()

    def _live(self) -> None:
        """Take turns; when something other than a row's turn fails, begin afresh without the rows that were here."""
        while not self._stopping:
            try:
                self._work()
            except BaseException as failure:  # a panic of a library is no Exception
                with suppress(BaseException):  # not even too little memory for these lines ends the thread
                    self._lose(failure)

    def _lose(self, failure: BaseException) -> None:
        """Answer for all rows that are here: whatever failed, it was not the turn of one of them."""
        with self._condition:
            queued = [
                (request, row)
                for group in self._groups.values()
                for request, rows in group.requests.values()
                for row in rows
            ]
            lost = {row: request for request, row in (*self._taken, *queued) if not row.done and row.failure is None}
            self._groups.clear()
        for row in lost:
            row.failure = Refused(500, "the thread that ran this failed and was replaced; send it again")
        self._scheduler.settle([*lost.values()], [*lost])
        self._scheduler.metrics.lanes_replaced.labels(self.name).inc()
        logger.error("the thread for %s sequences failed and was replaced", self.name, exc_info=failure)

    def _take(self) -> list[tuple[_Request, Row]]:
        """The rows of the next turn; waits for some. None are given only when the lane stops."""
        limits = self._limits
        with self._condition:
            while True:
                while not self._groups and not self._stopping:
                    self._condition.wait()
                if self._stopping:
                    return []
                key, group = next(iter(self._groups.items()))
                late = group.since + limits.wait_seconds - time.monotonic()
                if len(self._groups) == 1 and group.rows < min(self._together, limits.batch) and late > 0:
                    self._condition.wait(late)  # callers that were answered together come again together
                    continue
                taken = group.take(limits.batch, 4 * limits.turn_positions)
                if group.rows:
                    self._groups.move_to_end(key)
                else:
                    del self._groups[key]
                if taken:
                    return taken

    def _work(self) -> None:
        # inference_mode would be quicker still, but what it makes cannot be saved for a gradient by other threads
        with torch.no_grad():
            while taken := self._take():
                self._taken = taken
                self._together = len(taken)
                started = time.perf_counter()
                self._run(taken)
                self._scheduler.metrics.turn(len(taken), time.perf_counter() - started)
                for request, row in taken:
                    if row.done or row.failure is not None:
                        continue
                    if row.blocked:
                        row.parked = True  # before its listener is told, who may resume it at once
                    else:
                        self.put(request, [row])
                self._scheduler.settle([request for request, _ in taken], [row for _, row in taken])

    def _run(self, taken: Sequence[tuple[_Request, Row]]) -> None:
        rows = [row for _, row in taken]
        try:
            rows[0].turn(rows, self._limits.turn_positions)
        except BaseException as failure:  # a panic of a library is no Exception, and shall not end the thread
            if len(rows) == 1:
                rows[0].failure = failure
            else:  # whoever is to blame shall not spoil it for the others
                for one in taken:
                    self._run([one])


class Scheduler:
    """Takes requests of a running event loop and answers them."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._lanes = _Lane("short", self), _Lane("long", self)

    @property
    def waiting(self) -> int:
        """Rows that wait or run."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether what waits will be run."""
        return all(lane.alive for lane in self._lanes)

    async def answers(self, rows: Sequence[Row]) -> list[Any]:
        """The answers of rows, in their order.

        Raises:
            Refused: the queue is full, the time is up, or one of them cannot be answered.
        """
        request, most = self._enter(rows, None), self.limits.request_seconds
        try:
            async with asyncio.timeout(most):
                await request.future
        except TimeoutError:
            raise Refused(503, f"no answer within {most:g} s; send less at once, or later", retry_after=5) from None
        finally:
            self._leave(request)
        for number, row in enumerate(rows):
            if row.failure is not None:
                raise refusal_of(row.failure, f"number {number + 1} of {len(rows)}: " if len(rows) > 1 else "")
        return [row.answer() for row in rows]

    def begin(self, row: Row, listener: Callable[[], None]) -> Running:
        """Run one row whose results are read while it runs.

        Args:
            listener: called in the event loop after each of its turns.

        Raises:
            Refused: the queue is full.
        """
        request = self._enter([row], listener)
        return Running(lambda: self._lane(row).put(request, [row]), lambda: self._leave(request))

    def stop(self) -> None:
        """End the threads; what waits is not run any more."""
        for lane in self._lanes:
            lane.stop()

    def _lane(self, row: Row) -> _Lane:
        return self._lanes[row.size > self.limits.long]

    def _enter(self, rows: Sequence[Row], listener: Callable[[], None] | None) -> _Request:
        if self._waiting + len(rows) > self.limits.queue:
            raise Refused(
                503, f"the server is busy: {self._waiting} sequences wait, and {self.limits.queue} may", retry_after=1
            )
        request = _Request(rows, self._loop.create_future(), listener)
        self._waiting += len(rows)
        by_lane: dict[_Lane, list[Row]] = {}
        for row in rows:
            by_lane.setdefault(self._lane(row), []).append(row)
        for lane, own in by_lane.items():
            lane.put(request, own)
        return request

    def _leave(self, request: _Request) -> None:
        if not request.cancelled:
            request.cancelled = True
            self._waiting -= len(request.rows)

    def settle(self, requests: Sequence[_Request], rows: Sequence[Row]) -> None:
        """Called by a lane after a turn."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, requests, rows)

    def _settle(self, requests: Sequence[_Request], rows: Sequence[Row]) -> None:
        for request, row in zip(requests, rows, strict=True):
            if request.listener is not None:
                request.listener()
            if row.done or row.failure is not None:
                request.left -= 1
                if (not request.left or row.failure is not None) and not request.future.done():
                    request.future.set_result(None)
