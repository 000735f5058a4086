"""Why a request is not answered: a status, a reason in words, and when to come again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from unrolled.errors import UserError

logger = logging.getLogger("unrolled.serving")
NO_MEMORY = ("can't allocate memory", "not enough memory")
"""What torch says, in a plain RuntimeError, when the CPU's memory is too small."""


class Refused(Exception):
    """A request that is refused.

    Args:
        status: 400, 401, 404, 408, 410, 413, 422, 429, 500 or 503.
        reason: what was wrong and what to do.
        retry_after: seconds after which it may be tried again; None where that would not help.
    """

    def __init__(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


def wrong(reason: str) -> Refused:
    """422: what was sent cannot be used."""
    return Refused(422, reason)


def refusal_of(failure: BaseException, place: str = "") -> Refused:
    """A failure as an answer; one that is ours is logged, with where it happened.

    Args:
        place: which of several sequences it was; stands before the reason.
    """
    if isinstance(failure, Refused):
        return Refused(failure.status, place + failure.reason, retry_after=failure.retry_after)
    if isinstance(failure, UserError):
        return wrong(f"{place}{failure}")
    if out_of_memory(failure):
        logger.error("not enough memory for a request: %s", str(failure).partition("\n")[0])
        return Refused(503, f"{place}there is not enough memory for this; send less at once", retry_after=5)
    logger.error("a request failed", exc_info=failure)
    return Refused(500, f"{place}the server failed on this request; its log says why")


def out_of_memory(failure: BaseException) -> bool:
    """Whether it says that memory is too small."""
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(words in str(failure) for words in NO_MEMORY)


def brief(reason: str) -> str:
    """As much of a reason as the frame that closes a WebSocket has room for: 123 bytes of UTF-8."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


def in_words(errors: Sequence[Any]) -> str:
    """What pydantic found, as one sentence for each place: first those that say most."""
    found: dict[str, str] = {}
    for one in errors:
        place = ".".join(str(part) for part in one["loc"] if part != "body" and not _is_a_kind(part)) or "the body"
        found.setdefault(place, str(one["msg"]))
    shown = [f"{place}: {words}" for place, words in list(found.items())[:5]]
    more = len(found) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _is_a_kind(part: object) -> bool:
    """Whether a part of a place is only the name of an alternative of a union."""
    return isinstance(part, str) and ("[" in part or part == "str")
