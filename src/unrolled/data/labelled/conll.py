"""CoNLL columns and CoNLL-U: a token a line, an empty line (or one of blanks alone) after every sentence."""

from __future__ import annotations

from pathlib import Path

from unrolled.data.labelled.example import BadRows, Content, Example
from unrolled.data.reading import TextFile, lines
from unrolled.errors import UserError

NAMES = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
"""The columns of CoNLL-U."""

DOCUMENT = "-DOCSTART-"


def read_conll(path: Path, format: str, text: str, label: str, bad: BadRows, labelled: bool) -> Content:
    """The sentences of a file, tokens and labels.

    Args:
        text, label: columns by number from 1 (-1 for the last) or CoNLL-U's name; empty: the first and the last, of
            CoNLL-U FORM and UPOS.

    Raises:
        UserError: a column by a name that there is not.
    """
    universal = format == "conllu"
    token = _column(text or ("FORM" if universal else "1"), universal, bad.name)
    tag = _column(label or ("UPOS" if universal else "-1"), universal, bad.name)
    examples: list[Example] = []
    words: list[str] = []
    tags: list[str] = []
    first, spoilt = 1, False
    for number, line in enumerate((*lines(TextFile(path).chunks()), ""), start=1):
        if not line.strip():
            if words and not spoilt:
                examples.append(Example(tuple(words), tuple(tags) if labelled else None, first))
            words, tags, first, spoilt = [], [], number + 1, False
            continue
        if (universal and line.startswith("#")) or line.startswith(DOCUMENT):
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        if universal and not fields[0].isdigit():  # 1-2 is a contraction of words, 1.1 a word that is not there
            continue
        found = _fields(fields, token, tag, labelled)
        if found is None:
            bad.add(number, f"at least {_least(token, tag, labelled)} columns", line)
            spoilt = True
            continue
        words.append(found[0])
        tags.append(found[1])
    said = (
        f"tokens {text or ('FORM' if universal else 1)}, labels {label or ('UPOS' if universal else 'the last column')}"
    )
    return Content(examples, text, label, said)


def _column(name: str, universal: bool, file: str) -> int:
    """The place of a column, counted from the end where it is negative."""
    if universal and name.upper() in NAMES:
        return NAMES.index(name.upper())
    try:
        number = int(name)
    except ValueError:
        number = 0
    if number == 0:
        there = f"{', '.join(NAMES)}, or " if universal else ""
        raise UserError(f"{file}: there is no column {name!r}; give {there}a number from 1, or -1 for the last")
    return number - 1 if number > 0 else number


def _least(token: int, tag: int, labelled: bool) -> int:
    places = [token, tag] if labelled else [token]
    if labelled and token != tag and min(places) < 0:
        return max(2, max(places) + 1)
    return max(place + 1 if place >= 0 else -place for place in places)


def _fields(fields: list[str], token: int, tag: int, labelled: bool) -> tuple[str, str] | None:
    if len(fields) < _least(token, tag, labelled) or not fields[token].strip():
        return None
    return fields[token], fields[tag] if labelled else ""
