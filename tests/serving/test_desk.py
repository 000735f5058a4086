"""Work that grows with a request is done in threads, in order, and whatever it fails of is an answer."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from unrolled.errors import UserError
from unrolled.serving.desk import Desk
from unrolled.serving.refusals import Refused, brief


class Answer(BaseModel):
    text: str
    more: float | None = None


class PanicException(BaseException):
    """As Rust libraries raise it."""


def failure_of(work: Callable[[], Any]) -> Refused:
    """Why a piece of work was refused."""

    async def ask() -> None:
        await Desk("the server").run(work)

    with pytest.raises(Refused) as caught:
        asyncio.run(ask())
    return caught.value


def test_no_more_than_a_few_wait() -> None:
    async def crowd() -> list[object]:
        desk, release = Desk("the lab", at_once=1, waiting=1), threading.Event()
        work = [asyncio.create_task(desk.run(lambda: release.wait(30))) for _ in range(3)]
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)  # the third, at once
        release.set()
        return await asyncio.gather(*work, return_exceptions=True)

    first, second, third = asyncio.run(crowd())
    assert (first, second) == (True, True)
    assert isinstance(third, Refused)
    assert (third.status, third.retry_after) == (503, 1)
    assert third.reason == "the lab is busy: try again in a moment"


def test_work_begins_in_the_order_in_which_it_comes_and_in_other_threads() -> None:
    begun: list[int] = []

    async def crowd() -> None:
        desk = Desk("the server", at_once=1, waiting=100)
        await asyncio.gather(*(desk.run(lambda number=number: begun.append(number)) for number in range(50)))
        assert await desk.run(threading.get_ident) != threading.get_ident()

    asyncio.run(crowd())
    assert begun == list(range(50))


def test_an_answer_is_written_even_where_nothing_more_is_taken() -> None:
    async def write() -> tuple[bytes, bytes]:
        desk = Desk("the server", at_once=1, waiting=-1)
        with pytest.raises(Refused):
            await desk.run(int)
        build = lambda: Answer(text="ä")  # noqa: E731
        return await desk.written(build), await desk.written(build, brief=False)

    assert asyncio.run(write()) == ('{"text":"ä"}'.encode(), '{"text":"ä","more":null}'.encode())


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Refused(410, "gone"), 410, "gone"),
        (UserError("no such class"), 422, "no such class"),
        (MemoryError(), 503, "not enough memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            503,
            "not enough memory",
        ),
        (RuntimeError("secret"), 500, "its log says why"),
        (PanicException("secret"), 500, "its log says why"),
        (SystemExit(3), 500, "its log says why"),
        (KeyboardInterrupt(), 500, "its log says why"),
    ],
)
def test_every_failure_is_an_answer(error, status, words, caplog) -> None:
    with caplog.at_level(logging.ERROR, "unrolled.serving"):
        refused = failure_of(lambda: _raise(error))
    assert refused.status == status
    assert words in refused.reason
    assert "secret" not in refused.reason
    assert len(caplog.records) == (status >= 500)


def test_reasons_fit_into_the_frame_that_closes_a_websocket() -> None:
    assert brief("short") == "short"
    for reason in ("Ж" * 200, "a" + "Ж" * 200, "\ud800" * 200, "x" * 200):
        assert 120 <= len(brief(reason).encode()) <= 123
