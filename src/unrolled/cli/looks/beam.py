"""`inspect --beam`: who is to blame for wrong translations?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, path_of, say_json, table
from unrolled.cli.looks.look import Given, Look, MostOption, WidthOption
from unrolled.cli.search import AlphaOption, search_of

if TYPE_CHECKING:
    from unrolled.decoding.error_analysis import Analysis, Judged

SHOWN = 3
"""Examples of each fault."""


def show(
    common: Common,
    run: Any,
    data: str | None,
    *,
    width: WidthOption = None,
    alpha: AlphaOption = None,
    wider: Annotated[
        int | None, typer.Option(min=2, help="The wider beam to compare with; otherwise four times the width.")
    ] = None,
    most: MostOption = 0,
) -> None:
    """Judge every wrong answer."""
    file = None if data is None else path_of(data)
    found = run.blame(file, wider=wider, most=most, **search_of(run, beam=width, alpha=alpha))
    if common.json:
        say_json(found.as_dict())
    else:
        print(analysis_text(found))


def analysis_text(found: "Analysis") -> str:
    """The analysis as people read it."""
    beam, shares = found.beam, found.shares()
    parts = [
        f"{found.name}: {len(found.judged):,} sources, beam {beam.width}, alpha {beam.alpha:g}, BLEU {found.bleu:.2f}",
        table(
            [
                ["right", f"{shares['right']:.1%}", "the answer is a reference"],
                ["the search's fault", f"{shares['search']:.1%}", "P(y*) > P(ŷ): the reference scores higher"],
                ["the model's fault", f"{shares['model']:.1%}", "P(y*) ≤ P(ŷ): the model likes its answer better"],
            ],
            right="-r-",
        ),
        _lengths(found),
        _change(found),
    ]
    for verdict, title in (("search", "the search's worst faults"), ("model", "the model's worst faults")):
        if worst := found.worst(verdict, SHOWN):
            parts.append(f"{title}\n\n" + "\n\n".join(map(_example, worst)))
    return "\n\n".join(parts)


def _lengths(found: "Analysis") -> str:
    rows = [
        [own["words"], f"{own['sources']:,}", *(f"{own[verdict]:.1%}" for verdict in ("right", "search", "model"))]
        for own in found.by_length()
    ]
    return table(rows, header=["words of the source", "sources", "right", "search", "model"], right="-rrrr")


def _change(found: "Analysis") -> str:
    change, wide = found.change(), found.wider
    faults = f"{change['found']:,} of the search's {change['faults']:,} faults are found"
    return (
        f"with a beam of {wide}: {change['differs']:,} answers differ, {change['higher']:,} of them score higher; "
        f"{faults}; {change['mended']:,} wrong answers become right, {change['spoilt']:,} right ones wrong; "
        f"BLEU {found.wider_bleu:.2f}"
    )


def _example(one: "Judged") -> str:
    rows: list[list[Any]] = [
        ["source", "", "", one.source],
        ["y*", f"{one.reference_log_probability:.2f}", f"{one.reference_score:.3f}", one.reference],
        ["ŷ", f"{one.log_probability:.2f}", f"{one.score:.3f}", one.answer],
    ]
    if one.wider_answer != one.answer:
        rows.append(["wider beam", "", f"{one.wider_score:.3f}", one.wider_answer])
    return table(rows, header=["", "log P", "score", ""], right="-rr-")


BEAM = Look(
    "beam", "Translators: where an answer is wrong, blame the search or the model.", show,
    tasks={"translate": "translators"}, given=Given.may,
)  # fmt: skip
