"""The built-in data of translation: dates as people write them in many languages, to ISO 8601. Made, not shipped."""

from __future__ import annotations

import random
from datetime import date, timedelta

from unrolled.errors import UserError

DATES = "dates in words, to ISO 8601 (made with Babel)"
LOCALES = ("en_US", "en_GB", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "fi", "pl", "cs", "tr", "id", "ru", "el")
PATTERNS = (
    "medium", "long", "full", "d MMMM y", "d MMM y", "MMMM d, y", "EEEE d MMMM y", "EEE, d MMM y", "d. MMMM y",
    "MMM d y",
)  # fmt: skip
"""Babel's formats by name, and patterns. "short" is left out: 3/4/05 is another day in London than in New York."""
FIRST, DAYS = date(1900, 1, 1), 73_413
"""Up to the end of 2100."""
COUNTS = (20_000, 1_000, 1_000)
"""Pairs for training, validation and test; no written date is in two of them."""


def made_dates(seed: int = 0) -> tuple[list[tuple[str, str]], ...]:
    """Pairs of a written date and its ISO form, for each part; the same ones for the same version of Babel.

    Raises:
        UserError: Babel is not installed.
    """
    draw, seen = random.Random(seed), set[str]()
    parts = tuple([] for _ in COUNTS)  # type: tuple[list[tuple[str, str]], ...]
    for part, count in zip(parts, COUNTS, strict=True):
        while len(part) < count:
            day = FIRST + timedelta(days=draw.randrange(DAYS))
            written = written_date(day, draw.choice(PATTERNS), draw.choice(LOCALES))
            if written not in seen:
                seen.add(written)
                part.append((written, day.isoformat()))
    return parts


def written_date(day: date, pattern: str, locale: str) -> str:
    """A day as people of a locale write it, in lower case, with single blanks."""
    try:
        from babel.dates import format_date
    except ImportError:
        raise UserError("the built-in dates are written by Babel: pip install 'unrolled[dates]'") from None
    return " ".join(format_date(day, pattern, locale=locale).split()).lower()
