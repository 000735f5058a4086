"""One door for all formats: by the file's name, else by its first lines, or as the user says."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path

from unrolled.data.labelled.arrays import read_npz
from unrolled.data.labelled.conll import read_conll
from unrolled.data.labelled.example import BadRows, Content, Example, Labelled
from unrolled.data.labelled.fasta import read_fasta
from unrolled.data.labelled.frames import read_frame_rows, read_ts, width_of
from unrolled.data.labelled.tables import read_lines, read_parallel, read_table
from unrolled.data.reading import TextFile, lines
from unrolled.errors import UserError

EXTENSIONS = {
    ".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".conll": "conll",
    ".iob": "conll", ".conllu": "conllu", ".ts": "ts", ".npz": "npz", ".fasta": "fasta", ".fa": "fasta",
}  # fmt: skip
"""What a file's extension, below .gz or .xz, says of its format."""

FITTING = {
    "classify": ("tsv", "csv", "jsonl", "parquet", "ts", "frames-csv", "npz", "fasta"),
    "generate": ("tsv", "csv", "jsonl", "parquet", "fasta", "lines"),
    "translate": ("tsv", "csv", "jsonl", "parquet", "parallel"),
    "tag": ("conll", "conllu", "npz"),
}
"""The formats that can hold what a task learns from."""

LOOKED_AT = 50
"""Lines that a guess rests on."""


def read_labelled(
    path: Path, kind: str, *, format: str = "", text: str = "", label: str = "", beside: Path | None = None,
    skip_bad_rows: int = 0, labelled: bool = True,
) -> Labelled:  # fmt: skip
    """The labelled sequences of a file, plain or packed with gzip or xz.

    Args:
        kind: "classify", "tag", "translate" or "generate": what an example is.
        format: how it is written; empty: by its name, or by its first lines.
        text, label: columns by name or number from 1; text may be several names ("title,text"), or of CSV that holds
            frames "frames:D", D numbers each. Empty: a guess, which the description says.
        beside: the other side of parallel text, or a FASTA file's table of labels.
        skip_bad_rows: tolerate so many rows that cannot be read.
        labelled: whether labels must be there; otherwise those that are not are None, and every row of the file is an
            example, blank lines and rows that were skipped as well: what is said of rows must stay beside them.

    Raises:
        UserError: the file, its format, a column or a row cannot be read; the message says where and what to do.
    """
    TextFile(path)  # says what is wrong with it
    name = "/".join(path.absolute().parts[-2:]).lstrip("/")
    format = format_of(path, kind, format, text, beside)
    if format not in FITTING[kind]:
        fitting = ", ".join(FITTING[kind])
        raise UserError(f"{name}: {format} cannot hold what the task {kind} learns from, but {fitting}; see --format")
    bad = BadRows(name, skip_bad_rows)
    content = _content(path, kind, format, text, label, beside, bad, labelled)
    skipped = bad.told()
    examples = content.examples if labelled else _every_row(content.examples, bad.empty)
    if not examples:
        raise UserError(f"{name}: it holds no example; read as {format}: {content.note}")
    description = _description(format, kind, content, len(skipped))
    digest = _digest(path, beside)
    return Labelled(name, format, content.text, content.label, tuple(examples), skipped, digest, description)


def _content(
    path: Path, kind: str, format: str, text: str, label: str, beside: Path | None, bad: BadRows, labelled: bool
) -> Content:
    if format == "parallel" and beside is not None:
        return read_parallel(path, beside, bad)
    if format in ("conll", "conllu"):
        return read_conll(path, format, text, label, bad, labelled)
    if format == "ts":
        return read_ts(path, bad, labelled)
    if format == "frames-csv":
        return read_frame_rows(path, text, bad, labelled)
    if format == "npz":
        return read_npz(path, kind, bad, labelled)
    if format == "fasta":
        return read_fasta(path, beside, bad, labelled)
    if format == "lines":
        return read_lines(path, bad)
    return read_table(path, format, kind, text, label, bad, labelled)


def _every_row(examples: list[Example], empty: set[int]) -> list[Example]:
    """The examples, and at the place of each row without one an example of nothing."""
    nothing = "" if not examples else examples[0].x[:0]
    rows = [*examples, *(Example(nothing, None, line) for line in empty - {example.line for example in examples})]
    return sorted(rows, key=lambda example: example.line)


def format_of(path: Path, kind: str, format: str, text: str, beside: Path | None) -> str:
    """How a file is written."""
    if format:
        return format
    if kind == "translate" and beside is not None:
        return "parallel"
    extension = Path(path.name.removesuffix(".gz").removesuffix(".xz")).suffix.lower()
    found = EXTENSIONS.get(extension) or _sniffed(path, kind)
    return "frames-csv" if found == "csv" and width_of(text) else found


def _sniffed(path: Path, kind: str) -> str:
    """The format that the first lines of a text look like.

    Raises:
        UserError: they look like none.
    """
    first = list(islice(lines(TextFile(path).chunks(1 << 16)), LOOKED_AT))
    there = [line for line in first if line.strip()]
    if there and there[0].startswith(">"):
        return "fasta"
    if any(line.startswith("@") for line in there[:20]) and there[0][:1] in "@#":
        return "ts"
    if there and there[0].startswith("{"):
        return "jsonl"
    if kind == "tag":
        tabs = [line.split("\t") for line in there if not line.startswith("#")]
        return "conllu" if tabs and all(len(row) == 10 for row in tabs) else "conll"
    if there and all("\t" in line for line in there):
        return "tsv"
    if kind == "generate":
        return "lines"
    if there and all("," in line for line in there):
        return "csv"
    raise UserError(
        f"{path}: neither its name nor its first lines say how it is written; say so: --format tsv (or csv, jsonl, "
        "conll, conllu, ts, frames-csv, npz, fasta, parquet)"
    )


def _description(format: str, kind: str, content: Content, skipped: int) -> str:
    unit = "sentences" if format in ("conll", "conllu") else "rows"
    parts = [f"read as {format.upper()}: {content.note}", f"{len(content.examples):,} {unit}"]
    if kind == "tag":
        labels = {tag for example in content.examples if example.y is not None for tag in example.y}
        steps = sum(len(example.x) for example in content.examples)
        parts += [f"{steps:,} timesteps", f"{len(labels)} labels"]
    elif kind in ("classify", "generate"):
        classes = {example.y for example in content.examples if example.y is not None}
        parts += [f"{len(classes):,} classes"] if classes else []
    if skipped:
        parts.append(f"{skipped} bad rows skipped")
    return "; ".join(parts)


def _digest(path: Path, beside: Path | None) -> str:
    files = [path] if beside is None else [path, beside]
    return hashlib.sha256(" ".join(TextFile(file).digest() for file in files).encode()).hexdigest()
