"""Why a request is not answered: a status, a reason in words, and when to come again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Refused(Exception):
    """A request that is refused.

    Args:
        status: 400, 401, 404, 408, 410, 413, 422, 429 or 503.
        reason: what was wrong and what to do.
        retry_after: seconds after which it may be tried again; None where that would not help.
    """

    def __init__(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


def wrong(reason: str) -> Refused:
    """422: what was sent cannot be used."""
    return Refused(422, reason)


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
