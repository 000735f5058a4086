"""The labels of a tagger, and the scheme that spans are written in; as kept in a run folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from unrolled.data.tag_schemes import SCHEMES, check, converted, label_set, scheme_of, types_of
from unrolled.errors import UnknownLabel, UserError
from unrolled.files import atomic_write_text, is_text_list, read_json

LABELS = "labels.json"


@dataclass(frozen=True)
class TagLabels:
    """What a tagger predicts.

    Attributes:
        names: the labels that the model knows; of spans all that its scheme has for the types seen.
        scheme: the scheme that the model learns spans in; empty for labels that are no spans.
        written: the scheme of the files, in which it answers.
    """

    names: tuple[str, ...]
    scheme: str = ""
    written: str = ""

    @classmethod
    def of(cls, sequences: Sequence[Sequence[str]], name: str, scheme: str = "") -> Self:
        """The labels of a training part, to be learned in a scheme; empty for the one they are written in.

        Raises:
            UserError: a scheme is wanted and the labels are no spans.
        """
        written = scheme_of(sequences)
        if scheme and not written:
            raise UserError(f'{name}: data.scheme = "{scheme}", but the labels are no spans; leave it out')
        if not written:
            counts = Counter(label for sequence in sequences for label in sequence)
            return cls(tuple(sorted(counts, key=lambda label: (-counts[label], label))))
        learned = scheme or written
        return cls(label_set(types_of(sequences), learned), learned, written)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Label -> id."""
        return {name: number for number, name in enumerate(self.names)}

    def targets(self, labels: Sequence[str], place: str) -> NDArray[np.int64]:
        """(T,) the ids of a sequence's labels.

        Raises:
            UserError: the training part has no such label, or they break their scheme.
        """
        if self.scheme:
            if fault := check(labels, self.written):
                raise UserError(f"{place}: {fault}; correct the file, or leave the sentence out")
            labels = converted(labels, self.written, self.scheme)
        for label in labels:
            if label not in self.ids:
                shown = ", ".join(self.names[:10]) + ", ..." * (len(self.names) > 10)
                raise UnknownLabel(f"{place}: the label {label!r} does not occur in the training part; it has: {shown}")
        return np.array([self.ids[label] for label in labels], dtype=np.int64)

    def answer(self, ids: Sequence[int]) -> list[str]:
        """Labels as the files write them."""
        names = [self.names[id] for id in ids]
        return list(converted(names, self.scheme, self.written)) if self.scheme else names

    def save(self, folder: Path) -> None:
        """Keep them in a run folder."""
        atomic_write_text(folder / LABELS, json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` kept; UserError where it is not whole."""
        path = folder / LABELS
        written = read_json(path)
        names, scheme, files = (written.get(key) for key in ("names", "scheme", "written"))
        if fault := _fault(names, scheme, files):
            raise UserError(f"{path} is not whole ({fault}); copy the run folder again, or train anew")
        return cls(tuple(names or ()), str(scheme), str(files))


def _fault(names: object, scheme: object, written: object) -> str | None:
    """What is wrong with the labels of a run folder."""
    if not is_text_list(names) or not isinstance(names, list) or not names:
        return '"names" must be a list of different texts'
    if (scheme, written) == ("", ""):
        return None
    if scheme not in SCHEMES or written not in SCHEMES:
        return f'"scheme" and "written" must both be empty, or of {", ".join(SCHEMES)}'
    if set(names) != set(label_set(types_of([names]), str(scheme))):
        return f'"names" are not the labels of {scheme}'
    return None
