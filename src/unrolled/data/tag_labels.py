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

from unrolled.data.tag_schemes import OUTSIDE, SCHEMES, converted, faults, label_set, scheme_of, types_of
from unrolled.data.tag_spelling import Spelling, check_not_ioe, spelling_of
from unrolled.errors import UnknownLabel, UserError
from unrolled.files import atomic_write_text, is_text_list, read_json

LABELS = "labels.json"
PLAIN = "none"
"""The wish for labels that are no spans."""


@dataclass(frozen=True)
class TagLabels:
    """What a tagger predicts.

    Attributes:
        names: the labels that the model knows; of spans all that its scheme has for the types seen.
        scheme: the scheme that the model learns spans in; empty for labels that are no spans.
        written: the scheme of the files, in which it answers.
        spelling: how the files spell tags, as `Spelling.written` has it; empty for "B-person".
    """

    names: tuple[str, ...]
    scheme: str = ""
    written: str = ""
    spelling: str = ""

    @classmethod
    def of(
        cls, sequences: Sequence[Sequence[str]], name: str, scheme: str = "", rows: Sequence[Sequence[int]] = ()
    ) -> Self:
        """The labels of a training part, to be learned in a scheme; empty for the one they are written in, "none" for
        labels that are no spans whatever they look like. `rows` are the lines of their file, for messages.

        Raises:
            UserError: a scheme is wanted and the labels are no spans; or they are, and some are mistakes.
        """
        spelled = None if scheme == PLAIN else spelling_of(sequences)
        if spelled is None:
            if scheme not in ("", PLAIN):
                raise UserError(f'{name}: data.scheme = "{scheme}", but the labels are no spans; leave it out')
            counts = Counter(label for sequence in sequences for label in sequence)
            return cls(tuple(sorted(counts, key=lambda label: (-counts[label], label))))
        spelling, odd = spelled
        if odd:
            raise UserError(_odd(sequences, odd, spelling, name, rows))
        tags = [[spelling.canonical(label) or OUTSIDE for label in sequence] for sequence in sequences]
        check_not_ioe(tags, name)
        written = scheme_of(tags)
        learned = scheme or written
        return cls(label_set(types_of(tags), learned), learned, written, spelling.written())

    @cached_property
    def ids(self) -> dict[str, int]:
        """Label -> id."""
        return {name: number for number, name in enumerate(self.names)}

    @property
    def shown_spelling(self) -> str:
        """How the files spell tags, for people; empty for "B-person"."""
        return self._spelling.shown

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.read(self.spelling)

    def canonical(self, labels: Sequence[str]) -> list[str]:
        """Labels as files write them, as tags of the scheme `written`; what is no tag, and labels that are no spans,
        stay as they are."""
        if not self.scheme:
            return list(labels)
        return [self._spelling.canonical(label) or label for label in labels]

    def spelled(self, tags: Sequence[str]) -> tuple[str, ...]:
        """The way back from `canonical`."""
        return tuple(map(self._spelling.spelled, tags)) if self.scheme else tuple(tags)

    def targets(self, labels: Sequence[str], place: str, rows: Sequence[int] = ()) -> NDArray[np.int64]:
        """(T,) the ids of a sequence's labels; `rows` are the lines of its file, for messages.

        Raises:
            UserError: the training part has no such label, or they break their scheme.
        """
        tags = self.canonical(labels)
        if self.scheme:
            for position, fault in faults(tags, self.written)[:1]:
                row = f", line {rows[min(position, len(rows)) - 1]:,}" if rows else ""
                token = "" if rows else f", at token {position}"
                raise UserError(
                    f"{place}{row}: {fault}{token}; correct the row, or leave the sentence out (labels that are not "
                    'spans: data.scheme = "none")'
                )
            tags = converted(tags, self.written, self.scheme)
        for position, label in enumerate(tags):
            if label not in self.ids:
                row = f", line {rows[position]:,}" if rows else ""
                shown = ", ".join(self.names[:10]) + ", ..." * (len(self.names) > 10)
                raise UnknownLabel(
                    f"{place}{row}: the label {label!r} does not occur in the training part; it has: {shown}"
                )
        return np.array([self.ids[label] for label in tags], dtype=np.int64)

    def answer(self, ids: Sequence[int]) -> list[str]:
        """Labels as tags of the scheme that the files are written in; see `spelled`."""
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
        names, scheme, files, spelling = (written.get(key) for key in ("names", "scheme", "written", "spelling"))
        if fault := _fault(names, scheme, files):
            raise UserError(f"{path} is not whole ({fault}); copy the run folder again, or train anew")
        try:
            Spelling.read(spelling or "")
        except (TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is not whole: {error}; copy the run folder again, or train anew") from None
        return cls(tuple(names or ()), str(scheme), str(files), spelling or "")


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


def _odd(
    sequences: Sequence[Sequence[str]],
    odd: frozenset[str],
    spelling: Spelling,
    name: str,
    rows: Sequence[Sequence[int]],
) -> str:
    """What to say of labels that are no tags among labels that are: the first of them and its line."""
    places = [(s, t) for s, labels in enumerate(sequences) for t, label in enumerate(labels) if label in odd]
    sequence, step = places[0]
    line = f", line {rows[sequence][step]:,}" if len(rows) > sequence and rows[sequence] else ""
    usual = next(one for labels in sequences for one in labels if one not in odd and one != spelling.outside)
    more = f" ({len(places):,} rows have such labels)" if len(places) > 1 else ""
    return (
        f"{name}{line}: the label {sequences[sequence][step]!r} is not a tag of a span, as {usual!r} is{more}; correct "
        'the file, or, where labels are not spans, set data.scheme = "none"'
    )
