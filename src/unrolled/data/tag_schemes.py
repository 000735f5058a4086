"""Spans written as a tag a token: IO, IOB1, IOB2, BIOES. From one scheme to another, and what each allows.

A tag is "O" or PREFIX-TYPE. In all schemes I- is inside a span. B- begins one: in IOB2 every span, in IOB1 only one
that follows another of its type at once, in IO none, so that neighbours of a type are one span. BIOES also says where a
span ends (E-), and that it is a single token (S-).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCHEMES = ("IO", "IOB1", "IOB2", "BIOES")
OUTSIDE = "O"
PREFIXES = {"IO": "I", "IOB1": "IB", "IOB2": "BI", "BIOES": "BIES"}
"""The prefixes that a scheme has."""


@dataclass(frozen=True, order=True)
class Span:
    """Tokens first to last (exclusive), of a type."""

    first: int
    last: int
    type: str


def parted(tag: str) -> tuple[str, str]:
    """Prefix and type; ("O", "") outside."""
    prefix, _, type = tag.partition("-")
    return prefix, type


def scheme_of(sequences: Iterable[Sequence[str]]) -> str:
    """The scheme that some sequences are written in, or "" where tags are no spans (parts of speech, for one).

    Where there is no B-, E- or S- at all, IO. Otherwise that of IOB2, IOB1 (B- only parts two neighbours) and BIOES
    which the fewest steps break: one mistake in a file is a mistake and not another scheme.
    """
    tags = [list(sequence) for sequence in sequences]
    kinds = {tag for sequence in tags for tag in sequence} - {OUTSIDE}
    if not kinds or not all(_is_span_tag(tag) for tag in kinds):
        return ""
    prefixes = {parted(tag)[0] for tag in kinds}
    if prefixes == {"I"}:
        return "IO"
    candidates = ("BIOES", "IOB2", "IOB1") if prefixes & {"E", "S"} else ("IOB2", "IOB1")
    return min(candidates, key=lambda scheme: sum(len(faults(sequence, scheme)) for sequence in tags))


def _is_span_tag(tag: str) -> bool:
    prefix, type = parted(tag)
    return prefix in ("B", "I", "E", "S") and bool(type)


def types_of(sequences: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The types of spans that occur, by the alphabet."""
    return tuple(sorted({parted(tag)[1] for sequence in sequences for tag in sequence} - {""}))


def may_follow(before: str, after: str, scheme: str) -> bool:
    """Whether a tag may follow another; "" stands for what is before the first and after the last."""
    (prefix, type), (next_prefix, next_type) = parted(before or OUTSIDE), parted(after or OUTSIDE)
    same = type == next_type
    if scheme == "IOB1":
        return next_prefix != "B" or (same and prefix in "BI")
    if scheme == "IOB2":
        return next_prefix != "I" or (same and prefix in "BI")
    if scheme == "BIOES":
        inside = prefix in "BI"
        return (next_prefix in "IE" and same) if inside else next_prefix not in "IE"
    return True


def faults(tags: Sequence[str], scheme: str) -> list[tuple[int, str]]:
    """What breaks the scheme: positions, from 1 (one past the last for the end), each with the step that cannot be."""
    found = []
    for position, tag in enumerate(tags, start=1):
        prefix, type = parted(tag)
        if tag != OUTSIDE and (prefix not in PREFIXES[scheme] or not type):
            found.append((position, f"{tag!r} is no tag of {scheme}"))
    for position, (before, after) in enumerate(zip(["", *tags], [*tags, ""], strict=True), start=1):
        if not may_follow(before, after, scheme):
            found.append((position, f"{after or 'the end'} after {before or 'the beginning'} in {scheme}"))
    return found


def check(tags: Sequence[str], scheme: str) -> str | None:
    """The first of `faults` in words, or None."""
    return next((f"{fault}, at token {position}" for position, fault in faults(tags, scheme)), None)


def spans_of(tags: Sequence[str], scheme: str) -> list[Span]:
    """The spans of a sequence that keeps to its scheme."""
    found: list[Span] = []
    first, type = 0, ""
    for position, tag in enumerate([*tags, OUTSIDE]):
        prefix, own = parted(tag)
        begins = prefix in ("B", "S") or (own != type and tag != OUTSIDE)
        if type and (begins or tag == OUTSIDE):
            found.append(Span(first, position, type))
            type = ""
        if begins:
            first, type = position, own
        if prefix in ("E", "S") and type:
            found.append(Span(first, position + 1, type))
            type = ""
    return found


def tags_of(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """The tags of spans that do not overlap. IO cannot part neighbours of one type: they become one."""
    tags = [OUTSIDE] * length
    before: Span | None = None
    for span in sorted(spans):
        touches = before is not None and before.last == span.first and before.type == span.type
        for position in range(span.first, span.last):
            prefix = _prefix(position == span.first, position == span.last - 1, touches, scheme)
            tags[position] = f"{prefix}-{span.type}"
        before = span
    return tags


def _prefix(first: bool, last: bool, touches: bool, scheme: str) -> str:
    if scheme == "BIOES" and last:
        return "S" if first else "E"
    if first and (scheme in ("IOB2", "BIOES") or (scheme == "IOB1" and touches)):
        return "B"
    return "I"


def converted(tags: Sequence[str], source: str, target: str) -> list[str]:
    """The same spans in another scheme."""
    return list(tags) if source == target else tags_of(spans_of(tags, source), len(tags), target)


def repaired(tags: Sequence[str], scheme: str) -> list[str]:
    """Predicted tags, of which some may break the scheme, as spans that keep to it.

    Read as the shared tasks' conlleval does: a tag that cannot go on with the span before it begins a new one.
    """
    loose: list[str] = []
    before = OUTSIDE
    for tag in tags:
        prefix, type = parted(tag)
        old_prefix, old_type = parted(before)
        goes_on = type == old_type and old_prefix in ("B", "I")
        if tag == OUTSIDE:
            loose.append(tag)
        elif scheme == "IO":
            loose.append(f"I-{type}")
        elif scheme == "IOB1":
            loose.append(f"{'B' if prefix == 'B' and type == old_type and old_prefix in ('B', 'I') else 'I'}-{type}")
        else:
            loose.append(f"{'I' if prefix in ('I', 'E') and goes_on else 'B'}-{type}")
        before = tag
    if scheme == "BIOES":
        return tags_of(spans_of(loose, "IOB2"), len(tags), "BIOES")
    return loose


def label_set(types: Iterable[str], scheme: str) -> tuple[str, ...]:
    """All tags of a scheme for some types, "O" first."""
    return (OUTSIDE, *(f"{prefix}-{type}" for type in types for prefix in PREFIXES[scheme]))


def transitions(labels: Sequence[str], scheme: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """(L, L) whether a label (row) may be followed by another (column), (L,) whether it may begin, may end."""
    allowed = np.array([[may_follow(before, after, scheme) for after in labels] for before in labels], dtype=bool)
    first = np.array([may_follow("", label, scheme) for label in labels], dtype=bool)
    last = np.array([may_follow(label, "", scheme) for label in labels], dtype=bool)
    return allowed, first, last
