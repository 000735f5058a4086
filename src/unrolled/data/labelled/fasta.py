"""FASTA: a line ">id ...", then lines of the sequence. Labels come from a table beside it, or follow the id."""

from __future__ import annotations

from pathlib import Path

from unrolled.data.labelled.example import BadRows, Content, Example
from unrolled.data.reading import TextFile, lines
from unrolled.errors import UserError


def read_fasta(path: Path, beside: Path | None, bad: BadRows, labelled: bool) -> Content:
    """The sequences of a file.

    Raises:
        UserError: an id comes twice, or text before the first ">".
    """
    table = {} if beside is None else _labels(beside)
    examples: list[Example] = []
    seen: dict[str, int] = {}
    for line, head, sequence in _records(path, bad.name):
        id, *words = head.split() or [""]
        if id in seen:
            raise UserError(f"{bad.name}, line {line:,}: the id {id!r} is that of line {seen[id]:,}; drop one of them")
        seen[id] = line
        label = table.get(id) if beside is not None else (words[0] if words else None)
        if not sequence and not labelled:
            bad.blank(line)
        elif not sequence:
            bad.add(line, "a sequence", f">{head}")
        elif labelled and label is None:
            bad.add(line, "a label " + (f"of the id in {beside.name}" if beside else "after the id"), f">{head}")
        else:
            examples.append(Example(sequence, label, line))
    where = "the word after the id" if beside is None else beside.name
    return Content(examples, note=f"labels from {where}")


def _records(path: Path, name: str) -> list[tuple[int, str, str]]:
    records: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        if line.startswith(">"):
            records.append((number, line[1:].strip(), []))
        elif line.strip() and not line.startswith(";"):
            if not records:
                raise UserError(f'{name}, line {number:,}: a FASTA file begins with ">", found {line[:40]!r}')
            records[-1][2].append("".join(line.split()))
    return [(line, head, "".join(parts)) for line, head, parts in records]


def _labels(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines(TextFile(path).chunks()), start=1):
        if not line.strip():
            continue
        id, tab, label = line.partition("\t")
        if not tab or not label.strip():
            raise UserError(f"{path}, line {number:,}: expected an id, a TAB and a label, found {line[:60]!r}")
        found[id.strip()] = label.strip()
    return found
