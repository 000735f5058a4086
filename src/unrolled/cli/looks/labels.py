"""`inspect --labels`: what a tagger thought of every label."""

from typing import TYPE_CHECKING, Any

from unrolled.cli.common import Common, table
from unrolled.cli.looks.look import Look, PictureOption, TopOption, say
from unrolled.cli.looks.sequence import sequence_given

if TYPE_CHECKING:
    from unrolled.inspecting.labels import LabelTable

LEAST = 0.001
"""A smaller probability is not worth a word."""
WHOLE = 12
"""Up to so many labels the transitions are shown as a matrix, otherwise the strongest of them."""
STRONGEST = 8


def show(
    common: Common,
    run: Any,
    text: str,
    *,
    picture: PictureOption = None,
    top: TopOption = 3,
) -> None:
    """Show and draw the probabilities, and of a CRF the transitions."""
    from unrolled.inspecting.labels import draw_labels

    found = run.label_table(sequence_given(run, text))
    if picture is not None:
        draw_labels(found, picture)
    say(common, found.as_dict(), labels_text(found, top), picture)


def labels_text(found: "LabelTable", others: int) -> str:
    """A line for each timestep, then the transitions."""
    rows = []
    for step, (symbol, chosen) in enumerate(zip(found.symbols, found.chosen, strict=True)):
        name = found.labels[chosen]
        rest = [(label, share) for label, share in found.ranked(step) if label != name and share >= LEAST][:others]
        told = "  ".join(f"{label} {share:.1%}" for label, share in rest)
        rows.append([symbol, name, f"{found.probabilities[step, chosen]:.1%}", told])
    parts = [table(rows, header=["symbol", "chosen", "P", "others"], right="--r-")]
    if found.transitions is not None:
        parts.append("the CRF's score of a label (row) before another (column); . is forbidden")
        parts.append(_matrix(found) if len(found.labels) <= WHOLE else _strongest(found))
    return "\n\n".join(parts)


def _matrix(found: "LabelTable") -> str:
    assert found.transitions is not None
    rows = [
        [name, *(_number(score) for score in row)]
        for name, row in zip((*found.labels, "(start)"), found.transitions.tolist(), strict=True)
    ]
    return table(rows, header=["", *found.labels, "(end)"], right="-" + "r" * (len(found.labels) + 1))


def _strongest(found: "LabelTable") -> str:
    assert found.transitions is not None
    before, after = (*found.labels, "(start)"), (*found.labels, "(end)")
    scores = [
        (score, f"{before[row]} → {after[column]}")
        for row, line in enumerate(found.transitions.tolist()) for column, score in enumerate(line) if score == score
    ]  # fmt: skip
    scores.sort(reverse=True)
    shown = [*scores[:STRONGEST], *scores[STRONGEST:][-STRONGEST:]]
    return table([[pair, f"{score:.2f}"] for score, pair in shown], right="-r")


def _number(score: float) -> str:
    return f"{score:.2f}" if score == score else "."


LABELS = Look(
    "labels", "Taggers: the probability of every label at each timestep, and a CRF's transitions.", show,
    tasks={"tag": "taggers"},
)  # fmt: skip
