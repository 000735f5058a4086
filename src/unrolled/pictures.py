"""What every picture shares: how it is begun, that its texts are no formulas, that its file is replaced as a whole."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from unrolled.environment import without
from unrolled.errors import UserError
from unrolled.files import atomic_write_bytes
from unrolled.lettering import lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Given = ParamSpec("Given")
ENDINGS = ("png", "svg")
LITERAL: dict[Any, Any] = {  # Any: the key type that matplotlib asks for differs between its versions
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "svg.fonttype": "none",
}
"""Texts are drawn as they are written; in an SVG they are text, which any viewer can search and has fonts for."""
COLOURS = ("#2a6f97", "#d1495b", "#6a994e", "#c98a1b", "#7b5ea7", "#3d9a9a", "#8c564b", "#5c677d")
"""Of curves beside each other."""


def picture_kind(path: Path) -> str:
    """Which kind of picture a file's ending asks for, "png" or "svg".

    Raises:
        UserError: neither.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in ENDINGS:
        raise UserError(f"{path}: a picture is written as .png or .svg")
    return kind


def drawing(draw: Callable[Given, None]) -> Callable[Given, None]:
    """Make a function that draws a picture at its argument `path` one in which dollars, underscores and signs of any
    script are no formulas, whatever the user's own settings of Matplotlib are."""
    signature = inspect.signature(draw)

    @functools.wraps(draw)
    def drawn(*args: Given.args, **named: Given.kwargs) -> None:
        kind = picture_kind(signature.bind(*args, **named).arguments["path"])
        with matplotlib().rc_context({**LITERAL, "savefig.format": kind}), warnings.catch_warnings():
            # Of an SVG's texts, which its viewer has other fonts for, only the widths are guessed.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            draw(*args, **named)

    return drawn


def matplotlib() -> Any:
    """Matplotlib, which refuses to be imported where MPLBACKEND names none of its backends; pictures need none."""
    new = "matplotlib" not in sys.modules
    with without("MPLBACKEND"):
        import matplotlib as found
    if new and (backend := os.environ.get("MPLBACKEND")):
        with suppress(ValueError):
            found.rcParams["backend"] = backend  # as the import would have done, for who draws besides us
    return found


def legend(axes: Axes, curves: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """A legend of some curves, names as they are: Matplotlib itself leaves out those that begin with an underscore."""
    letters = lettering(names)
    made = axes.legend(list(curves), [str(place) for place in range(len(curves))], fontsize=8, **options)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(letters(name))
        text.set_fontfamily(letters.families)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that touches no window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes) -> None:
    """Without a frame, on a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e9f0")
    axes.set_axisbelow(True)


def powers_of_ten(axes: Axes) -> None:
    """A logarithmic axis upwards, whose numbers are no formulas."""
    from matplotlib.ticker import LogFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))


def curve_style(place: int) -> tuple[str, str]:
    """The colour and the line of the curve of a number: when the colours are used up, they come again, broken."""
    return COLOURS[place % len(COLOURS)], "-" if place < len(COLOURS) else "--"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the file's ending.

    Raises:
        UserError: the ending is another, or the file cannot be written.
    """
    kind = picture_kind(path)
    picture = BytesIO()
    figure.savefig(picture, format=kind)
    atomic_write_bytes(path, picture.getvalue())
