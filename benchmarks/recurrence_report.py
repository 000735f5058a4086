"""The measurements of `recurrence` as text."""

from collections.abc import Sequence
from typing import Any

from benchmarks.measuring import busy_mark, table
from benchmarks.peers import PEERS, Shape

Record = dict[str, Any]


def shape_of(record: Record) -> Shape:
    """The shape of a record."""
    return Shape(record["batch"], record["input"], record["hidden"], record["steps"])


def ratio_table(records: Sequence[Record], targets: bool) -> str:
    """A line a measurement: ours in ms, GF/s and percent of the peak, and the time of each peer divided by ours."""
    peers = [name for name in PEERS if name != "ours" and any(name in record["contestants"] for record in records)]
    headings = ["cell", "mode", "shape", "threads", "ours, ms", "GF/s", "% of peak", *peers]
    lines = [_line(record, peers) for record in records]
    if targets:
        headings.append("targets")
        lines = [[*line, _verdicts(record)] for line, record in zip(lines, records, strict=True)]
    notes = ["Peers: their time divided by ours. * marks lines during which other processes were busy."]
    if targets:
        words = [one["verdict"] for record in records for one in record["contestants"].values()]
        notes.append(f"Targets: {words.count('met')} met, {words.count('missed')} missed.")
    return "\n".join([table(headings, lines), *notes])


def _line(record: Record, peers: Sequence[str]) -> list[str]:
    found = record["contestants"]
    line = [
        record["cell"] + busy_mark(record["others' cores"]),
        record["mode"],
        str(shape_of(record)),
        str(record["threads"]),
    ]
    if "ours" not in found:
        return [*line, "-", "-", "-", *("-" for _ in peers)]
    ours = found["ours"]
    line += [f"{1e3 * ours['seconds']:.3f}", f"{ours['GF/s']:.1f}", f"{100 * ours['fraction of peak']:.0f}"]
    return line + [f"{found[name]['their time / ours']:.2f}" if name in found else "-" for name in peers]


def _verdicts(record: Record) -> str:
    """ "met", or what was missed and by what."""
    judged = {name: one for name, one in record["contestants"].items() if one["verdict"]}
    missed = [
        f"{'peak' if name == 'ours' else name} {_reached(name, one):.2f} < {one['asked for']:.2f}"
        for name, one in judged.items()
        if one["verdict"] == "missed"
    ]
    return "missed: " + ", ".join(missed) if missed else "met" if judged else ""


def _reached(name: str, figures: Record) -> float:
    return float(figures["fraction of peak" if name == "ours" else "their time / ours"])


def lengths_table(results: Sequence[Record]) -> str:
    """A line a measurement with lengths: the time relative to that without."""
    headings = ["cell", "mode", "shape", "threads", "without, ms", "with, ms", "ratio", "target"]
    return table(
        headings,
        [
            [
                record["cell"] + busy_mark(record["others' cores"]),
                record["mode"],
                str(shape_of(record)),
                str(record["threads"]),
                *(f"{1e3 * record[name]['seconds']:.3f}" for name in ("without", "with")),
                f"{record['ratio']:.3f}",
                record["verdict"],
            ]
            for result in results
            for record in result["lengths"]
        ],
    )


def skipped_text(records: Sequence[Record]) -> str:
    """Who was not timed, and why: each reason once, with its cells and modes."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for name, reason in record["skipped"].items():
            reasons.setdefault((name, reason), []).append(f"{record['cell']} {record['mode']}")
    return "\n".join(
        f"without {name}: {reason} ({', '.join(dict.fromkeys(where))})" for (name, reason), where in reasons.items()
    )
