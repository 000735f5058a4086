"""What a classifier predicts: classes, stars (classes in an order), or a number; as kept in a run folder."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from unrolled.errors import UnknownLabel, UserError
from unrolled.files import atomic_write_text, is_number, is_text_list, read_json

LABELS = "labels.json"
KINDS = ("class", "stars", "number")
MOST_COUNTED = 2**53
FARTHEST = 1e200
"""The largest mean or deviation of a run folder: what is computed from it stays finite."""


@dataclass(frozen=True)
class Labels:
    """The classes of a training part, or the scale of its numbers.

    Attributes:
        kind: "class", "stars" or "number".
        names: the classes: stars by their value, others by the alphabet; none for numbers.
        counts: how many training examples each has.
        mean, deviation: of the numbers.
    """

    kind: str
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, kind: str, labels: Sequence[str], name: str) -> Self:
        """The labels of a training part.

        Raises:
            UserError: numbers are wanted and a label is none, or all labels are the same.
        """
        counts = Counter(labels)
        if len(counts) < 2:
            raise UserError(
                f"{name}: every example has the label {next(iter(counts), '')!r}: there is nothing to learn"
            )
        if kind == "class":
            names = sorted(counts)
            return cls(kind, tuple(names), tuple(counts[label] for label in names))
        values = {label: number_in(label, name) for label in counts}
        if kind == "stars":
            names = sorted(counts, key=lambda label: values[label])
            return cls(kind, tuple(names), tuple(counts[label] for label in names))
        mean = math.fsum(values[label] for label in labels) / len(labels)
        variance = math.fsum((values[label] - mean) ** 2 for label in labels) / len(labels)
        return cls(kind, mean=mean, deviation=math.sqrt(variance) or 1.0)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Class -> id."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def values(self) -> tuple[float, ...]:
        """The value of every number of stars."""
        return tuple(float(name) for name in self.names)

    def target(self, label: str, place: str) -> int | float:
        """A label as the model's target.

        Raises:
            UserError: the training part has no such class, or it is no number.
        """
        if self.kind == "number":
            return (number_in(label, place) - self.mean) / self.deviation
        if label not in self.ids:
            shown = ", ".join(self.names[:10]) + ", ..." * (len(self.names) > 10)
            raise UnknownLabel(
                f"{place}: the label {label!r} does not occur in the training part; its classes: {shown}"
            )
        return self.ids[label]

    def rare(self) -> list[str]:
        """The classes that have a single training example."""
        return [name for name, count in zip(self.names, self.counts, strict=True) if count == 1]

    def save(self, folder: Path) -> None:
        """Keep them in a run folder."""
        atomic_write_text(folder / LABELS, json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` kept; UserError where it is not whole."""
        path = folder / LABELS
        written = read_json(path)
        kind, names, counts, mean, deviation = (
            written.get(key) for key in ("kind", "names", "counts", "mean", "deviation")
        )
        if fault := _fault(kind, names, counts) or _scale_fault(mean, deviation):
            raise UserError(f"{path} is not whole ({fault}); copy the run folder again, or train anew")
        return cls(str(kind), tuple(names or ()), tuple(counts or ()), float(mean or 0), float(deviation or 1))


def _fault(kind: object, names: object, counts: object) -> str | None:
    """What is wrong with the classes of a run folder."""
    if kind not in KINDS:
        return f'"kind" must be one of {", ".join(KINDS)}'
    if not is_text_list(names) or not isinstance(names, list):
        return '"names" must be a list of different texts'
    if not isinstance(counts, list) or not all(type(one) is int and 0 < one <= MOST_COUNTED for one in counts):
        return '"counts" must be a list of whole numbers above 0'
    if len(counts) != len(names) or (kind == "number") == bool(names):
        return '"names" and "counts" must be of the same length, and empty for numbers only'
    if kind == "stars" and not _rise(names):
        return '"names" of stars must be numbers that rise'
    return None


def _rise(names: list[str]) -> bool:
    try:
        values = [float(name) for name in names]
    except ValueError:
        return False
    return all(map(math.isfinite, values)) and values == sorted(values)


def _scale_fault(mean: object, deviation: object) -> str | None:
    if not is_number(mean, -FARTHEST, FARTHEST) or not is_number(deviation, 1 / FARTHEST, FARTHEST):
        return '"mean" must be a number and "deviation" one above 0'
    return None


def number_in(label: str, place: str) -> float:
    """A label as a number.

    Raises:
        UserError: it is none.
    """
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f'{place}: the label {label!r} is no number; for classes: model.predicts = "class"')
    return value
