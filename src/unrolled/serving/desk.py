"""Threads for what grows with a request: reading JSON, cutting texts into symbols, writing answers.

None of it runs in the event loop, where a large request would hold up everybody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import BaseModel

from unrolled.serving.refusals import Refused, refusal_of

Result = TypeVar("Result")


class Desk:
    """Runs work in threads, in the order in which it comes; refuses what would wait for long.

    Args:
        name: what is busy, in words. at_once: threads. waiting: how many pieces of work may wait for them.
    """

    def __init__(self, name: str, *, at_once: int = 2, waiting: int = 8) -> None:
        self._name, self._most, self._open = name, at_once + waiting, 0
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="unrolled-desk")

    async def run(self, work: Callable[[], Result]) -> Result:
        """What the work returns.

        Raises:
            Refused: too many wait, or the work failed, whatever it failed of.
        """
        if self._open >= self._most:
            raise Refused(503, f"{self._name} is busy: try again in a moment", retry_after=1)
        return await self._done(work)

    async def written(self, build: Callable[[], BaseModel], *, brief: bool = True) -> bytes:
        """An answer as JSON; where it is brief, what has no meaning for a task is left out.

        Never refused for want of room: what it answers has been done.

        Raises:
            Refused: it could not be built.
        """
        return await self._done(lambda: build().model_dump_json(exclude_none=brief).encode())

    async def _done(self, work: Callable[[], Result]) -> Result:
        self._open += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _answered, work)
        finally:
            self._open -= 1

    def stop(self) -> None:
        """Take no more work; what runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _answered(work: Callable[[], Result]) -> Result:
    try:
        return work()
    except BaseException as failure:  # a library's panic is no Exception, and would end the event loop's task
        raise refusal_of(failure) from None
