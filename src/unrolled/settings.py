"""What a recipe's sections are made of: dataclass fields that carry their own limits and one line of help."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field
from typing import TypeVar

from unrolled.errors import short

Value = TypeVar("Value")

MOST_WHOLE = 2**31 - 1
"""The largest whole number where nothing else is said: sizes are multiplied with each other."""


@dataclass(frozen=True)
class Limits:
    """What a setting may be, beside its type; every number of a list is held to the same limits."""

    help: str
    minimum: float | None = None
    above: float | None = None
    below: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def complaint(self, value: object) -> str | None:
        """Say what is wrong with ``value`` (of the right type already), or None when nothing is."""
        if isinstance(value, tuple):
            return next((complaint for item in value if (complaint := self.complaint(item))), None)
        if isinstance(value, str):
            return self._word_complaint(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if isinstance(value, int) and self.maximum is None and value > MOST_WHOLE:
            return f"must be at most {MOST_WHOLE:,}, not {short(value)}"
        inside = (
            (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.maximum is None or value <= self.maximum)
        )
        return None if inside else f"must be {self._range()}, not {short(value)}"

    def _word_complaint(self, value: str) -> str | None:
        if not self.choices or value in self.choices:
            return None
        return f"must be one of {', '.join(self.choices)}, not {value!r}"

    def _range(self) -> str:
        bounds = {
            "at least": self.minimum,
            "above": self.above,
            "below": self.below,
            "at most": self.maximum,
        }
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)


def setting(
    default: Value,
    *,
    help: str,
    minimum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Value:
    """Declare one key of a recipe's section as a dataclass field; nothing else has to be told about a new key.

    >>> @dataclass(frozen=True)
    ... class Section:
    ...     hidden: int = setting(512, minimum=1, help="hidden units of a layer")
    """
    limits = Limits(help=help, minimum=minimum, above=above, below=below, maximum=maximum, choices=choices)
    return field(default=default, metadata={"limits": limits})


def limits_of(declared: "Field[object]") -> Limits:
    """Give the limits of a dataclass field; a field declared without ``setting`` has none."""
    metadata: Mapping[str, object] = declared.metadata
    limits = metadata.get("limits")
    return limits if isinstance(limits, Limits) else Limits(help="")
