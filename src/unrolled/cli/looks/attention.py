"""`inspect --attention`: where each symbol of an answer looked."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, bar, refuse_unless, table
from unrolled.cli.looks.look import Look, PictureOption, say
from unrolled.cli.looks.sequence import sequence_given

if TYPE_CHECKING:
    from unrolled.inspecting.attention import AttentionMap

LEAST = 0.01
"""A smaller weight is not worth a word."""


def show(
    common: Common,
    run: Any,
    text: str,
    *,
    picture: PictureOption = None,
    answer: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Translators: the translation; otherwise the best one.")
    ] = None,
) -> None:
    """Show and draw the weights."""
    from unrolled.inspecting.attention import draw_attention

    refuse_unless(run, answer is not None, "--answer", translate="translators")
    pooled = run.recipe.task == "classify"
    found = run.attention(sequence_given(run, text)) if pooled else run.attention(text, answer)
    if picture is not None:
        draw_attention(found, picture)
    say(common, found.as_dict(), pooling_text(found) if pooled else attention_text(found), picture)


def attention_text(found: "AttentionMap") -> str:
    """A line for each symbol that was written: what it looked at, the most first."""
    rows = []
    for symbol, best in zip(found.target, found.most(), strict=True):
        looked = [f"{found.source[place]} {weight:.0%}" for place, weight in best if weight >= LEAST]
        rows.append([symbol, "  ".join(looked)])
    return table(rows, header=["written", "looked at"])


def pooling_text(found: "AttentionMap") -> str:
    """A line for each timestep: how much it counted."""
    weights = found.weights[0].tolist()
    largest = max(weights)
    rows = [[symbol, f"{w:.1%}", bar(w / largest)] for symbol, w in zip(found.source, weights, strict=True)]
    return f"predicted: {found.target[0]}\n\n" + table(rows, header=["read", "weight", ""], right="-r-")


ATTENTION = Look(
    "attention", "Where each symbol of a translation looked; what a classifier's pooling looked at.", show,
    tasks={"translate": "translators", "classify": "classifiers"},
)  # fmt: skip
