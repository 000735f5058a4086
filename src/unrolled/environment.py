"""Environment variables: foreign words, checked where they are read, and kept from libraries that would stumble."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from unrolled.errors import UserError


@contextmanager
def without(*names: str) -> Iterator[None]:
    """The environment without some variables, and without those that begin with one of the names that end in "_"."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if any(name == one or (one.endswith("_") and name.startswith(one)) for one in names)
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def whole_number(name: str, *, minimum: int, what: str) -> int:
    """A variable that must be a whole number; `what` says who sets it.

    Raises:
        UserError: it is missing, something else, or less than the minimum.
    """
    text = os.environ.get(name)
    if text is not None and text.isascii() and text.isdigit() and int(text[:20]) >= minimum:
        return int(text[:20])
    given = "missing" if text is None else f"{text!r}"
    raise UserError(
        f"the environment variable {name} is {given}, and must be a whole number of at least {minimum}; {what}"
    )
