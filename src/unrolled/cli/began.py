"""When the program began: a budget in minutes counts from there."""

import time

_began: float | None = None


def begin_now() -> None:
    """Note that the program begins now."""
    global _began
    _began = time.monotonic()


def spent() -> float:
    """Seconds since the program began; 0 where nobody noted it."""
    return 0.0 if _began is None else time.monotonic() - _began
