"""`inspect --gradients`: how far back the loss of one timestep reaches."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, table
from unrolled.cli.looks.look import ClassOption, Given, Look, PictureOption, WithOption, say
from unrolled.cli.looks.sequence import sequence_given

if TYPE_CHECKING:
    from unrolled.inspecting.gradients import GradientDecay

SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Distances in the table."""
LengthOption = Annotated[int, typer.Option(min=2, help="So many timesteps of a sequence at most.")]
FreshOption = Annotated[
    str,
    typer.Option(
        metavar="CELLS",
        help="Also models of the recipe with weights just drawn, as in own,rnn,rnn:orthogonal,gru,lstm; a third part "
        "multiplies the weights on the state, as in rnn:orthogonal:1.5.",
    ),
]


def show(
    common: Common, run: Any, text: str | None, *, picture: PictureOption = None, others: WithOption = None,
    fresh: FreshOption = "", length: LengthOption = 100, label: ClassOption = None,
) -> None:  # fmt: skip
    """Show the norms of each run, and of fresh models, by distance, and draw them."""
    from unrolled.inspecting.gradients import draw_gradients

    runs = [run, *(common.load(folder, "inspect") for folder in others or [])]
    found = [one.gradients(sequence_given(one, text), length=length, label=label) for one in runs]
    wishes = [wish.strip() for wish in fresh.split(",") if wish.strip()]
    found += [run.gradients(sequence_given(run, text), length=length, fresh=wish, label=label) for wish in wishes]
    if picture is not None:
        draw_gradients(found, picture)
    say(common, [one.as_dict() for one in found], gradients_text(found), picture)


def gradients_text(found: "list[GradientDecay]") -> str:
    """A line for each: the median norm at some distances, what a timestep more does, where a hundredth is left."""
    longest = max(one.distances[-1] for one in found)
    distances = [distance for distance in SHOWN if distance <= longest]
    rows = []
    for one in found:
        known = dict(zip(one.distances, one.median.tolist(), strict=True))
        norms = [f"{known[distance]:.2e}" if distance in known else "" for distance in distances]
        factor = "" if math.isnan(one.factor) else f"{one.factor:.3f}"
        rows.append([one.name, *norms, factor, f"{one.reach}" if one.reach else "further"])
    header = ["‖∂L⟨t⟩/∂a⟨s⟩‖, t - s =", *map(str, distances), "a step", "1/100 at"]
    return table(rows, header=header, right="-" + "r" * (len(header) - 1))


GRADIENTS = Look(
    "gradients", "How far back a timestep's loss reaches: vanishing and exploding gradients, by distance.", show,
    tasks={
        "language-model": "language models", "generate": "generators", "classify": "classifiers", "tag": "taggers",
    },
    given=Given.may,
)  # fmt: skip
