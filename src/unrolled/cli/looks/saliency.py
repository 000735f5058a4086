"""`inspect --saliency`: which timesteps speak for a class."""

from typing import TYPE_CHECKING, Any

from unrolled.cli.common import Common, bar, table
from unrolled.cli.looks.colours import painted, signed
from unrolled.cli.looks.look import ClassOption, Look, PictureOption, say
from unrolled.cli.looks.sequence import sequence_given

if TYPE_CHECKING:
    from unrolled.inspecting.saliency import Saliency


def show(
    common: Common,
    run: Any,
    text: str,
    *,
    picture: PictureOption = None,
    label: ClassOption = None,
) -> None:
    """Show and draw both measures."""
    from unrolled.inspecting.saliency import draw_saliency

    found = run.saliency(sequence_given(run, text), label=label)
    if picture is not None:
        draw_saliency(found, picture)
    between = " " if run.recipe.data.level == "word" else ""
    say(common, found.as_dict(), saliency_text(found, between), picture)


def saliency_text(found: "Saliency", between: str) -> str:
    """The text by occlusion, and a line for each timestep."""
    largest = max(float(abs(found.occlusion).max()), 1e-12)
    pieces = []
    for place, (symbol, fall) in enumerate(zip(found.symbols, found.occlusion.tolist(), strict=True)):
        pieces += [(between if place else "", ""), (symbol, signed(fall / largest))]
    rows = [
        [symbol, f"{fall:+.3f}", f"{product:+.3f}", _bar(fall / largest)]
        for symbol, fall, product in zip(
            found.symbols, found.occlusion.tolist(), found.gradient_input.tolist(), strict=True
        )
    ]
    head = f"{found.label}: log P {found.log_probability:.3g}, score {found.score:.3g}"
    if not found.label:
        head = f"the number, less the training part's mean: {found.score:+.4g}"
    header = ["symbol", "occlusion", "gradient × input", ""]
    return f"{head}\n\n{painted(pieces)}\n\n{table(rows, header=header, right='-rr-')}"


def _bar(share: float) -> str:
    """A bar, after a minus where the timestep speaks against the class; nothing where it hardly matters."""
    return "" if abs(share) < 0.02 else "-" * (share < 0) + bar(abs(share))


SALIENCY = Look(
    "saliency", "Classifiers: which symbols speak for a class, by the gradient and by leaving them out.", show,
    tasks={"classify": "classifiers"},
)  # fmt: skip
