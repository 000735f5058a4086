"""Why a request is not answered: a status, a reason in words, and when to come again."""

from __future__ import annotations


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
